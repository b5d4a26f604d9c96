"""Which CLIPs a host builds, seen where it gives their weights to OpenAI's builder."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

BUILDER = "build_model"  # how the builder's name begins in OpenAI's model.py and in the copies that hosts carry
BESIDE = "convert_weights"  # what else that file defines
FIRST = "conv1.weight"  # of an image tower, ViT or ResNet


@contextmanager
def clips_seen() -> Iterator[list[dict[str, Tensor]]]:
    """While inside, the weights (in OpenAI's format) that any copy of OpenAI's builder is called with are kept."""
    seen: list[dict[str, Tensor]] = []
    builders = list(_builders())

    def seeing(build: Any) -> Any:
        @wraps(build)
        def build_and_keep(state_dict: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
            seen.append(dict(state_dict))  # the builder takes entries out
            return build(state_dict, *args, **kwargs)

        return build_and_keep

    try:
        for module, name, build in builders:
            setattr(module, name, seeing(build))
        yield seen
    finally:
        for module, name, build in builders:
            setattr(module, name, build)


def _builders() -> Iterator[tuple[Any, str, Any]]:
    """Every copy of the builder, wherever a module has it: (module, its name there, the function)."""
    for module in list(sys.modules.values()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if name.startswith(BUILDER) and BESIDE in getattr(value, "__globals__", ()):
                yield module, name, value


def weights_in(seen: Sequence[dict[str, Tensor]], tower: nn.Module) -> dict[str, Tensor] | None:
    """Those of the weights whose image tower ``tower`` is, or is built around; None if there are none.

    A host may build several CLIPs, such as a teacher of its own. Their first layers are compared, in half precision,
    to which hosts round.
    """
    own = [value for name, value in tower.state_dict().items() if name == FIRST or name.endswith(f".{FIRST}")]
    for weights in seen:
        first = weights.get(f"visual.{FIRST}")
        if first is not None and any(_same(first, value) for value in own):
            return weights
    return None


def _same(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first.cpu().half(), second.detach().cpu().half())
