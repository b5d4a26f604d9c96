"""Students of the paper's published code: which network a checkpoint is of, and our names for its weights.

Its files hold ``model_state_dict`` with ``backbone``, ``ce_head`` and ``kd_head``, and ``alpha`` and ``beta``. Networks
of torchvision are there as a list of their parts without the classifier, CLIP's image tower under its own names.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from torch import Tensor

RESNET_PARTS = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
HEADS = ("ce_head", "kd_head")


class Published(NamedTuple):
    """A student of the published code.

    Attributes:
        network: what MODEL.BACKBONE.NAME calls it.
        size: side of its images in pixels, where the network fixes it; None else.
        kd_head: the kind of its KD head, as TRAINER.DHO.HEAD has it.
        models: checkpoint folder -> state dict, under our names.
        alpha, beta: the mix that is stored with it.
    """

    network: str
    size: int | None
    kd_head: str
    models: dict[str, dict[str, Tensor]]
    alpha: float
    beta: float

    @property
    def classes(self) -> int:
        return len(self.models["ce_head"]["weight"])


def read_published(checkpoint: dict[str, Any], path: str) -> Published:
    """Take a checkpoint of the published code apart.

    Args:
        checkpoint: its content.
        path: its file, for messages.

    Raises:
        ValueError: it is none, or of a network that the published code does not train.
    """
    state = checkpoint.get("model_state_dict")
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(
            f"{path} has no model_state_dict of tensors, as checkpoints of the paper's published code do; its entries "
            f"are {', '.join(map(str, list(checkpoint)[:6])) or 'none'}"
        )
    state = {key.removeprefix("module."): value for key, value in state.items()}
    parts: dict[str, dict[str, Tensor]] = {"backbone": {}, **{head: {} for head in HEADS}}
    for key, value in state.items():
        part, _, name = key.partition(".")
        if part not in parts:
            raise ValueError(f"{path} has {key}, which belongs to none of {', '.join(parts)}")
        parts[part][name] = value
    missing = [head for head in HEADS if set(parts[head]) != {"weight", "bias"}]
    if missing:
        raise ValueError(f"{path} has no weight and bias of {' and '.join(missing)}, the paper's two linear heads")
    network, size, backbone = _network(parts["backbone"], path)
    alpha, beta = (float(checkpoint.get(key, default)) for key, default in (("alpha", 0.5), ("beta", 1.0)))
    if not (0 <= alpha <= 1 and 0 < beta < float("inf")):
        raise ValueError(f"{path} has alpha {alpha} and beta {beta}, which is no mix")
    models = {**parts, "backbone": backbone}
    return Published(network, size, "scaled" if size else "linear", models, alpha, beta)


def _network(backbone: dict[str, Tensor], path: str) -> tuple[str, int | None, dict[str, Tensor]]:
    """Name, size and state dict of a tower."""
    if "class_embedding" in backbone:
        width, patch = len(backbone["class_embedding"]), backbone["conv1.weight"].shape[-1]
        side = round((len(backbone["positional_embedding"]) - 1) ** 0.5)
        known = {(768, 16, 14): "ViT-B/16", (768, 32, 7): "ViT-B/32", (1024, 14, 16): "ViT-L/14"}
        known[1024, 14, 24] = "ViT-L/14@336px"
        if (width, patch, side) not in known:
            raise ValueError(
                f"{path} holds a ViT of width {width} with {side} x {side} patches of {patch} pixels; known are those "
                f"of {', '.join(known.values())}"
            )
        return known[width, patch, side], side * patch, backbone
    if "attnpool.positional_embedding" in backbone:
        if backbone["attnpool.c_proj.weight"].shape[0] != 1024 or "layer1.3.conv1.weight" in backbone:
            raise ValueError(f"{path} holds a CLIP ResNet other than RN50, which the published code does not train")
        return "RN50", 224, backbone
    if "0.0.0.weight" in backbone:
        return "mobilenet_v2", None, {re.sub(r"^0\.", "features.", key): value for key, value in backbone.items()}
    if "4.0.conv1.weight" in backbone:
        renamed = {}
        for key, value in backbone.items():
            number, _, rest = key.partition(".")
            if number not in RESNET_PARTS:
                raise ValueError(f"{path} has backbone.{key}, which no ResNet of torchvision has")
            renamed[f"{RESNET_PARTS[number]}.{rest}"] = value
        return ("resnet50" if "layer1.0.conv3.weight" in renamed else "resnet18"), None, renamed
    raise ValueError(
        f"{path} holds a network of another kind (backbone.{next(iter(backbone), '?')}, ...); the published code "
        "trains CLIP's ViTs and RN50, ResNet-18, ResNet-50 and MobileNetV2"
    )
