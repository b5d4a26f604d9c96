"""Image transforms by Dassl's names, made of torchvision's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

from .registry import unknown_name

INTERPOLATION_MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST,
}


class Cutout:
    """Blank squares of an image tensor (DeVries and Taylor, 2017).

    Args:
        holes: number of squares, anywhere; they may overlap and hang over the edge.
        length: side in pixels.
    """

    def __init__(self, holes: int, length: int) -> None:
        self.holes, self.length = holes, length

    def __call__(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        keep = torch.ones(height, width, dtype=image.dtype)
        half = self.length // 2
        for _ in range(self.holes):
            row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
            keep[max(row - half, 0) : row + half, max(column - half, 0) : column + half] = 0
        return image * keep


class GaussianNoise:
    """Add normal noise to an image tensor."""

    def __init__(self, mean: float, std: float) -> None:
        self.mean, self.std = mean, std

    def __call__(self, image: Tensor) -> Tensor:
        return image + self.mean + self.std * torch.randn_like(image)


def instance_norm(image: Tensor) -> Tensor:
    """Give each channel of an image ``(channels, height, width)`` mean 0 and standard deviation 1."""
    std, mean = torch.std_mean(image, dim=(1, 2), keepdim=True)
    return (image - mean) / (std + 1e-8)


# Each table is in the order of application: geometry first, then images, then tensors.
_CROPS: dict[str, Callable[[Any, Any], Any]] = {
    "random_translation": lambda cfg, mode: T.RandomChoice(
        [
            T.Resize(cfg.SIZE, interpolation=mode),
            T.Compose(
                [
                    T.Resize([round(side * 1.125) for side in cfg.SIZE], interpolation=mode),
                    T.RandomCrop(cfg.SIZE),
                ]
            ),
        ]
    ),
    "random_crop": lambda cfg, mode: T.RandomCrop(cfg.SIZE, padding=cfg.CROP_PADDING),
    "random_resized_crop": lambda cfg, mode: T.RandomResizedCrop(cfg.SIZE, scale=cfg.RRCROP_SCALE, interpolation=mode),
}
_ON_IMAGES: dict[str, Callable[[Any], Any]] = {
    "random_flip": lambda cfg: T.RandomHorizontalFlip(),
    "imagenet_policy": lambda cfg: T.AutoAugment(T.AutoAugmentPolicy.IMAGENET),
    "cifar10_policy": lambda cfg: T.AutoAugment(T.AutoAugmentPolicy.CIFAR10),
    "svhn_policy": lambda cfg: T.AutoAugment(T.AutoAugmentPolicy.SVHN),
    "randaugment": lambda cfg: T.RandAugment(cfg.RANDAUGMENT_N, cfg.RANDAUGMENT_M),
    "colorjitter": lambda cfg: T.ColorJitter(
        cfg.COLORJITTER_B, cfg.COLORJITTER_C, cfg.COLORJITTER_S, cfg.COLORJITTER_H
    ),
    "randomgrayscale": lambda cfg: T.RandomGrayscale(cfg.RGS_P),
    "gaussian_blur": lambda cfg: T.RandomApply([T.GaussianBlur(cfg.GB_K)], p=cfg.GB_P),
}
_ON_TENSORS: dict[str, Callable[[Any], Any]] = {
    "cutout": lambda cfg: Cutout(cfg.CUTOUT_N, cfg.CUTOUT_LEN),
    "normalize": lambda cfg: T.Normalize(cfg.PIXEL_MEAN, cfg.PIXEL_STD),
    "gaussian_noise": lambda cfg: T.RandomApply([GaussianNoise(cfg.GN_MEAN, cfg.GN_STD)], p=0.5),
    "instance_norm": lambda cfg: instance_norm,
}
_TEST_ONLY = "center_crop"  # always part of the test transform; naming it is allowed and changes nothing


def build_transform(cfg: Any, is_train: bool = True, choices: Sequence[str] | None = None) -> Callable | None:
    """The transform from PIL image to tensor that the ``INPUT`` section describes.

    Training applies the named transforms. The test transform resizes the smaller edge to ``max(SIZE)``, crops the
    centre and normalises when ``normalize`` is named.

    Args:
        cfg: the run's config.
        is_train: whether to augment.
        choices: names in place of ``INPUT.TRANSFORMS``.

    Returns:
        The transform, or None with ``INPUT.NO_TRANSFORM``.

    Raises:
        ValueError: a name or the interpolation is unknown; the message names the nearest.
    """
    if cfg.INPUT.NO_TRANSFORM:
        print("Note: no transform is applied!")
        return None
    choices = cfg.INPUT.TRANSFORMS if choices is None else choices
    allowed = [*_CROPS, *_ON_IMAGES, *_ON_TENSORS, _TEST_ONLY]
    for name in choices:
        if name not in allowed:
            raise ValueError(unknown_name("transform in INPUT.TRANSFORMS", name, allowed))
    steps = _train_steps(cfg.INPUT, choices) if is_train else _test_steps(cfg.INPUT, choices)
    print(f"Building transform_{'train' if is_train else 'test'}")
    for step in steps:
        print(f"+ {step.__name__ if hasattr(step, '__name__') else step}")
    return T.Compose(steps)


def plain_transform(cfg: Any) -> Callable:
    """Resize and normalise without augmentation or crop (``img0``)."""
    resize = T.Resize(cfg.INPUT.SIZE, interpolation=_interpolation(cfg.INPUT))
    return T.Compose([resize, T.ToTensor(), *_tensor_steps(cfg.INPUT, cfg.INPUT.TRANSFORMS, ["normalize"])])


def _train_steps(node: Any, choices: Sequence[str]) -> list:
    mode = _interpolation(node)
    steps: list = []
    if "random_crop" not in choices and "random_resized_crop" not in choices:
        steps.append(T.Resize(node.SIZE, interpolation=mode))
    steps += [build(node, mode) for name, build in _CROPS.items() if name in choices]
    steps += [build(node) for name, build in _ON_IMAGES.items() if name in choices]
    return [*steps, T.ToTensor(), *_tensor_steps(node, choices, _ON_TENSORS)]


def _test_steps(node: Any, choices: Sequence[str]) -> list:
    resize = T.Resize(max(node.SIZE), interpolation=_interpolation(node))
    tensor_steps = _tensor_steps(node, choices, ["normalize", "instance_norm"])
    return [resize, T.CenterCrop(node.SIZE), T.ToTensor(), *tensor_steps]


def _tensor_steps(node: Any, choices: Sequence[str], wanted: Any) -> list:
    return [build(node) for name, build in _ON_TENSORS.items() if name in choices and name in wanted]


def _interpolation(node: Any) -> InterpolationMode:
    if node.INTERPOLATION not in INTERPOLATION_MODES:
        raise ValueError(unknown_name("INPUT.INTERPOLATION", node.INTERPOLATION, INTERPOLATION_MODES))
    return INTERPOLATION_MODES[node.INTERPOLATION]
