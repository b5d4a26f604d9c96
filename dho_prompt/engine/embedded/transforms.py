"""Image transforms by Dassl's names, made of torchvision's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

from dho_prompt.engine.utils import unknown_name

TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")  # in the order of application
INTERPOLATION_MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST,
}


def build_transform(cfg: Any, is_train: bool = True) -> Callable:
    """The transform from PIL image to tensor that the ``INPUT`` section describes.

    Training applies the named transforms. The test transform resizes the smaller edge to ``max(SIZE)``, crops the
    centre and normalises when ``normalize`` is named.

    Args:
        cfg: the run's config.
        is_train: whether to augment.

    Raises:
        ValueError: a name or the interpolation is unknown (the message names the nearest), or NO_TRANSFORM is set.
    """
    node = cfg.INPUT
    for name in node.TRANSFORMS:
        if name not in TRANSFORMS:
            raise ValueError(f"{unknown_name('transform in INPUT.TRANSFORMS', name, TRANSFORMS)} (Dassl has more)")
    if node.INTERPOLATION not in INTERPOLATION_MODES:
        raise ValueError(unknown_name("INPUT.INTERPOLATION", node.INTERPOLATION, INTERPOLATION_MODES))
    if node.NO_TRANSFORM:
        raise ValueError(
            "INPUT.NO_TRANSFORM is True, but the embedded engine makes tensors of all images; set it to False"
        )
    mode = INTERPOLATION_MODES[node.INTERPOLATION]
    if not is_train:
        steps: list = [T.Resize(max(node.SIZE), interpolation=mode), T.CenterCrop(node.SIZE)]
    elif "random_resized_crop" in node.TRANSFORMS:
        steps = [T.RandomResizedCrop(node.SIZE, scale=node.RRCROP_SCALE, interpolation=mode)]
    else:
        steps = [T.Resize(node.SIZE, interpolation=mode)]
    if is_train and "random_flip" in node.TRANSFORMS:
        steps.append(T.RandomHorizontalFlip())
    steps.append(T.ToTensor())
    if "normalize" in node.TRANSFORMS:
        steps.append(T.Normalize(node.PIXEL_MEAN, node.PIXEL_STD))
    print(f"Building transform_{'train' if is_train else 'test'}")
    for step in steps:
        print(f"+ {step}")
    return T.Compose(steps)
