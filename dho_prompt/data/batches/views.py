"""One crop of an image seen by two models, each at its own size and normalisation."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F

SHARED_TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")


class View(NamedTuple):
    """How a model sees an image: side length in pixels and the mean and standard deviation of its normalisation."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, clip: Any) -> View:
        """The view of a :class:`~dho_prompt.clip.loading.LoadedCLIP`."""
        return cls(clip.image_size, tuple(clip.mean), tuple(clip.std))


class Crop(NamedTuple):
    """A part of an image in pixels, and whether it is mirrored; height 0 is the centre of the whole image."""

    top: int
    left: int
    height: int
    width: int
    flipped: int


class SharedCrop:
    """Crop and flip an image once and give it to student and teacher (Sec. 4.1; Table 6 for the scale).

    Each view is resized from the same crop of the original pixels, never from the other view.

    Args:
        student: the view under the key ``img``; :meth:`show` adds those of teachers.
        transforms: names of Dassl's ``INPUT.TRANSFORMS``, among random_resized_crop, random_flip and normalize.
        scale: range of the crop's share of the image area.
        interpolation: Dassl's ``INPUT.INTERPOLATION``.
        fast: crop and resize tensors of 8 bits by torchvision instead of Pillow's images, in a third of the time; crops
            and flips are the same, pixels differ by rounding (``docs/speed.md``).

    Raises:
        ValueError: a transform that cannot be shared is asked for.

    Attributes:
        bytes: give the pixels as they are, uint8, and leave the rest to :meth:`finished`, which the reader of a batch
            calls on its device: a quarter of the memory, and no arithmetic in the processes that read images. False
            where a host's own step reads the batch.

    Shapes:
        PIL image -> {"img": (3, size, size)[, "img_teacher": (3, size_t, size_t), "img_teacher2": ...]}, float32 or
        uint8.
    """

    def __init__(
        self,
        student: View,
        transforms: Sequence[str] = SHARED_TRANSFORMS,
        scale: tuple[float, float] = (0.08, 1.0),
        interpolation: str = "bicubic",
        fast: bool = False,
    ) -> None:
        for name in transforms:
            if name not in SHARED_TRANSFORMS:
                near = difflib.get_close_matches(name, SHARED_TRANSFORMS, 1)
                raise ValueError(
                    f"INPUT.TRANSFORMS has {name!r}, which cannot be shared by student and teacher; allowed are "
                    f"{', '.join(SHARED_TRANSFORMS)}" + (f" (did you mean {near[0]!r}?)" if near else "")
                )
        self.views: dict[str, View] = {"img": student}
        self.crop = "random_resized_crop" in transforms
        self.flip = "random_flip" in transforms
        self.normalize = "normalize" in transforms
        self.scale = tuple(scale)
        self.interpolation = InterpolationMode(interpolation)
        self.fast, self.bytes = fast, False

    def show(self, view: View) -> None:
        """Give the crop in a teacher's view too from now on; models whose views are equal share the tensor."""
        if view not in self.views.values():
            number = len(self.views)
            self.views[f"img_teacher{number if number > 1 else ''}"] = view

    def show_student_only(self) -> None:
        """Give the teachers' views no longer."""
        self.views = {"img": self.views["img"]}

    def show_alone(self, views: Sequence[View]) -> None:
        """Give no other views than these any longer."""
        self.views = {key: view for key, view in self.views.items() if view in views}

    def key_of(self, view: View) -> str:
        """Under which key a view that is shown stands."""
        return next(key for key, shown in self.views.items() if shown == view)

    def draw(self, image: Image.Image) -> Crop:
        """What to show of an image, drawn from torch's random numbers."""
        box = RandomResizedCrop.get_params(image, list(self.scale), [3 / 4, 4 / 3]) if self.crop else (0, 0, 0, 0)
        return Crop(*box, int(self.flip and bool(torch.rand(1) < 0.5)))

    def cut(self, image: Image.Image, crop: Crop) -> dict[str, Tensor]:
        """One crop of an image in every view."""
        kind, source = _tensor_of(image) if self.fast else (F, image)
        seen = {}
        for key, view in self.views.items():
            size = [view.size, view.size]
            if crop.height:
                pixels = kind.resized_crop(source, *crop[:4], size, self.interpolation)
            else:
                pixels = kind.center_crop(kind.resize(source, [view.size], self.interpolation), size)
            pixels = kind.hflip(pixels) if crop.flipped else pixels
            # contiguous: a batch of permuted tensors would be laid out in another order
            pixels = (pixels if isinstance(pixels, Tensor) else F.pil_to_tensor(pixels)).contiguous()
            seen[key] = pixels if self.bytes else self.finished(pixels, view)
        return seen

    def __call__(self, image: Image.Image) -> dict[str, Tensor]:
        return self.cut(image, self.draw(image))

    def finished(self, pixels: Tensor, view: View) -> Tensor:
        """What the model of a view takes, on the device of its pixels.

        Args:
            pixels: (..., 3, size, size), uint8; those that are finished are returned as they are.
            view: one that is shown.

        Returns:
            (..., 3, size, size) float32 in [0, 1], or normalised with ``normalize``; the same to the last bit wherever
            and in whatever batch it is computed.
        """
        if pixels.dtype != torch.uint8:
            return pixels
        white, mean, std = _constants(view, pixels.device)
        values = pixels.to(torch.float32).div_(white)
        return values.sub_(mean).div_(std) if self.normalize else values


@lru_cache(maxsize=64)
def _constants(view: View, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """255, mean and standard deviation on a device; a number there is divided by, one elsewhere multiplied by."""
    with torch.inference_mode(False):
        return (
            torch.tensor([255.0], device=device),
            torch.tensor(view.mean, device=device).view(-1, 1, 1),
            torch.tensor(view.std, device=device).view(-1, 1, 1),
        )


def _tensor_of(image: Image.Image) -> tuple[Any, Tensor]:
    """Functions that keep 8 bits while they resize, and the pixels (3, height, width) in the order that they like."""
    from torchvision.transforms.v2 import functional

    return functional, torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
