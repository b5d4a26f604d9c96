"""The architecture of a CLIP in OpenAI's format, read from the shapes of its weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

HEAD_WIDTH = 64  # of every attention head, which no shape shows: OpenAI's builder fixes it
SMALLEST = 32  # by how much a ResNet's grid is smaller than its image


def architecture_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """open_clip's model configuration of weights in OpenAI's format, which run QuickGELU.

    Args:
        state: a state dict as OpenAI's archives hold it, ViT or ResNet.

    Raises:
        ValueError: it is of another format; the message names what is missing.
    """
    image = _resnet(state) if "visual.attnpool.c_proj.weight" in state else _vit(state)
    vocabulary, width = _shape(state, "token_embedding.weight")
    return {
        "embed_dim": _shape(state, "text_projection")[1],
        "quick_gelu": True,
        "vision_cfg": image,
        "text_cfg": {
            "context_length": _shape(state, "positional_embedding")[0],
            "vocab_size": vocabulary,
            "width": width,
            "heads": width // HEAD_WIDTH,
            "layers": _blocks(state, "transformer.resblocks."),
        },
    }


def _vit(state: Mapping[str, Tensor]) -> dict[str, Any]:
    width, _, _, patch = _shape(state, "visual.conv1.weight")
    grid = math.isqrt(_shape(state, "visual.positional_embedding")[0] - 1)
    return {
        "image_size": grid * patch,
        "layers": _blocks(state, "visual.transformer.resblocks."),
        "width": width,
        "head_width": HEAD_WIDTH,
        "patch_size": patch,
    }


def _resnet(state: Mapping[str, Tensor]) -> dict[str, Any]:
    grid = math.isqrt(_shape(state, "visual.attnpool.positional_embedding")[0] - 1)
    return {
        "image_size": grid * SMALLEST,
        "layers": [_blocks(state, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)],
        "width": _shape(state, "visual.layer1.0.conv1.weight")[0],
        "head_width": HEAD_WIDTH,
    }


def _blocks(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered modules there are below a prefix."""
    pattern = re.compile(rf"{re.escape(prefix)}(\d+)\.")
    return len({match[1] for match in map(pattern.match, state) if match})


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in state:
        raise ValueError(
            f"these weights have no {name}, so they are no CLIP in OpenAI's format; they hold "
            f"{', '.join(sorted(state)[:4])}"
        )
    return tuple(state[name].shape)
