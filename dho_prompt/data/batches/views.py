"""One crop of an image seen by two models, each at its own size and normalisation."""

from __future__ import annotations

import difflib
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F

SHARED_TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")


class View(NamedTuple):
    """How a model sees an image: side length in pixels and the mean and standard deviation of its normalisation."""

    size: int
    mean: Tuple[float, ...]
    std: Tuple[float, ...]


class SharedCrop:
    """Crop and flip an image once and give it to student and teacher (Sec. 4.1; Table 6 for the scale).

    Each view is resized from the same crop of the original pixels, never from the other view.

    Args:
        student: the view under the key ``img``.
        teacher: the view under ``img_teacher``; None, or one equal to ``student``, adds no key: the models then share
            the tensor.
        transforms: names of Dassl's ``INPUT.TRANSFORMS``, among random_resized_crop, random_flip and normalize.
        scale: range of the crop's share of the image area.
        interpolation: Dassl's ``INPUT.INTERPOLATION``.

    Raises:
        ValueError: a transform that cannot be shared is asked for.

    Shapes:
        PIL image -> {"img": (3, size, size)[, "img_teacher": (3, size_t, size_t)]}, float32.
    """

    def __init__(
        self,
        student: View,
        teacher: Optional[View] = None,
        transforms: Sequence[str] = SHARED_TRANSFORMS,
        scale: Tuple[float, float] = (0.08, 1.0),
        interpolation: str = "bicubic",
    ) -> None:
        for name in transforms:
            if name not in SHARED_TRANSFORMS:
                near = difflib.get_close_matches(name, SHARED_TRANSFORMS, 1)
                raise ValueError(
                    f"INPUT.TRANSFORMS has {name!r}, which cannot be shared by student and teacher; allowed are "
                    f"{', '.join(SHARED_TRANSFORMS)}" + (f" (did you mean {near[0]!r}?)" if near else "")
                )
        self.views: Dict[str, View] = {"img": student}
        if teacher is not None:
            self.show("img_teacher", teacher)
        self.crop = "random_resized_crop" in transforms
        self.flip = "random_flip" in transforms
        self.normalize = "normalize" in transforms
        self.scale = tuple(scale)
        self.interpolation = InterpolationMode(interpolation)

    def show(self, key: str, view: View) -> None:
        """Give the crop in a further view from now on, unless it is the student's own."""
        if view != self.views["img"]:
            self.views[key] = view

    def hide(self, key: str) -> None:
        """Give the crop in that view no longer."""
        self.views.pop(key, None)

    def __call__(self, image: Image.Image) -> Dict[str, Tensor]:
        if self.crop:
            top, left, height, width = RandomResizedCrop.get_params(image, list(self.scale), [3 / 4, 4 / 3])
        flipped = self.flip and bool(torch.rand(1) < 0.5)
        seen = {}
        for key, view in self.views.items():
            size = [view.size, view.size]
            if self.crop:
                pixels = F.resized_crop(image, top, left, height, width, size, self.interpolation)
            else:
                pixels = F.center_crop(F.resize(image, view.size, self.interpolation), size)
            tensor = F.to_tensor(F.hflip(pixels) if flipped else pixels)
            seen[key] = F.normalize(tensor, view.mean, view.std) if self.normalize else tensor
        return seen
