"""Image networks without a text tower: torchvision's and timm's, by name, without their classifier."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dho_prompt.data.batches.views import View
from dho_prompt.students.base import Student

CLASSIFIERS = ("fc", "classifier", "head", "heads")  # what torchvision calls the last part of a network
SHORT = {"resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v2"}  # need no "torchvision:" before them
DINO = "dino"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class NetworkName(NamedTuple):
    """A network and its weights.

    Attributes:
        package: torchvision or timm.
        model: the library's name of it.
        tag: which weights: torchvision's name of them, ``dino``, or timm's tag; "" starts from scratch.
    """

    package: str
    model: str
    tag: str


def parse_network(name: str) -> NetworkName | None:
    """Read a name; None if it is no network's but may be a CLIP's.

    ``resnet18``, ``torchvision:resnet18`` and ``timm:resnet18`` start from scratch; weights are named by
    ``torchvision:resnet18:IMAGENET1K_V1``, ``torchvision:resnet50:dino`` (Caron et al., 2021) and
    ``timm:vit_small_patch16_224.augreg_in1k``.

    Raises:
        ValueError: the library has no such network or no such weights; the message names the nearest.
    """
    library, _, rest = name.partition(":")
    if name in SHORT:
        library, rest = "torchvision", name
    if library == "torchvision":
        model, _, tag = rest.partition(":")
        return _torchvision(name, model, tag)
    if library == "timm":
        model, _, tag = rest.partition(".")
        return _timm(name, model, tag)
    return None


def _torchvision(name: str, model: str, tag: str) -> NetworkName:
    from torchvision import models

    known = models.list_models(module=models)
    if model not in known:
        raise ValueError(f"torchvision has no network {model!r} ({name!r}); nearest are: {_nearest(model, known)}")
    tags = [weights.name for weights in models.get_model_weights(model)] + ([DINO] if model == "resnet50" else [])
    if tag and tag not in tags:
        raise ValueError(f"torchvision's {model} has no weights {tag!r} ({name!r}); known are: {', '.join(tags)}")
    return NetworkName("torchvision", model, tag)


def _timm(name: str, model: str, tag: str) -> NetworkName:
    import timm

    if not timm.is_model(model):
        near = _nearest(model, timm.list_models())
        raise ValueError(f"timm has no network {model!r} ({name!r}); nearest are: {near}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{model}.*")]
    if tag and tag not in tags:
        raise ValueError(f"timm's {model} has no weights {tag!r} ({name!r}); known are: {', '.join(tags) or 'none'}")
    return NetworkName("timm", model, tag)


def _nearest(name: str, known: list[str]) -> str:
    return ", ".join(difflib.get_close_matches(name, known, n=4, cutoff=0.4)) or ", ".join(known[:4])


def build_network(name: NetworkName, size: int, drop_path: float = 0.0) -> tuple[nn.Module, int]:
    """The architecture with random weights, ending in its pooled features, and how many these are.

    Args:
        size: side of the square images, in pixels.
        drop_path: rate of stochastic depth, for timm's networks that have it.

    Raises:
        ValueError: the network cannot be built so; the message says why.
    """
    if name.package == "timm":
        network = _build_timm(name.model, size, drop_path)
        return network, _feature_size(network, size, name)
    from torchvision import models

    if drop_path:
        raise ValueError(
            f"TRAINER.FINETUNE.DROP_PATH is {drop_path:g}, but torchvision's {name.model} takes none; set it to 0 or "
            f"take timm:{name.model}"
        )
    network = models.get_model(name.model, weights=None)
    part = next((part for part in CLASSIFIERS if hasattr(network, part)), None)
    if part is None:
        raise ValueError(f"torchvision's {name.model} does not end in a classifier; take timm:{name.model}")
    setattr(network, part, nn.Identity())
    return network, _feature_size(network, size, name)


def _build_timm(model: str, size: int, drop_path: float) -> nn.Module:
    import timm

    options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    fixed = timm.get_pretrained_cfg(model)
    if fixed is not None and fixed.fixed_input_size and tuple(fixed.input_size[1:]) != (size, size):
        options["img_size"] = size
    try:
        return timm.create_model(model, pretrained=False, num_classes=0, **options)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        shown = ", ".join(f"{key}={value}" for key, value in options.items()) or "no options"
        raise ValueError(f"timm cannot build {model} with {shown}: {error}") from error


def _feature_size(network: nn.Module, size: int, name: NetworkName) -> int:
    """How many features the network gives for an image; it is run once."""
    try:
        with torch.no_grad():
            features = network.eval()(torch.zeros(1, 3, size, size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ValueError(f"{name.model} does not take images of {size} x {size} (INPUT.SIZE): {error}") from error
    network.train()
    if not isinstance(features, Tensor) or features.dim() != 2:
        raise ValueError(f"{name.package}'s {name.model} does not end in one vector per image; take another network")
    return features.shape[1]


class NetworkStudent(Student):
    """A network that is trained.

    Args:
        backbone: (batch, 3, size, size) -> (batch, embed_dim).
        view: how it sees images.
        embed_dim: length of its features.
    """

    def __init__(self, backbone: nn.Module, view: View, embed_dim: int) -> None:
        super().__init__()
        self.backbone, self.view, self.embed_dim = backbone, view, embed_dim

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone(images)

    def trainable(self) -> dict[str, nn.Module]:
        return {"backbone": self.backbone}


def has_batch_statistics(network: nn.Module) -> bool:
    """Whether the images of a batch influence each other's features in training."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in network.modules())
