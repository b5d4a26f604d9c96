"""The crop of each view of each image: drawn from the image's name and the view's number alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from dho_prompt.data.batches.read_image import read_image
from dho_prompt.data.batches.views import Crop, SharedCrop

UNREADABLE = Crop(0, 0, -1, 0, 0)


def drawn_crop(transform: SharedCrop, image: Image.Image, name: str, view: int) -> Crop:
    """The crop of one view, the same in every process and every store; torch's random numbers stay where they are."""
    seed = int.from_bytes(hashlib.sha256(f"{view}/{name}".encode("utf-8", "surrogateescape")).digest()[:7], "big")
    state = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)
        return transform.draw(image)
    finally:
        torch.set_rng_state(state)


class ViewsOfImages(Dataset):
    """Views of images with the crops that show them, for the tower that a store is made of.

    An item is asked for by (image, first view, last view + 1) and has ``crop`` (views, 5), ``place`` (views, 2: view
    and image) and the views of the transform, (views, 3, size, size). An unreadable image is black.

    Args:
        paths, names: of the images.
        transform: shows them in the views of the tower.
    """

    def __init__(self, paths: Sequence[Any], names: Sequence[str], transform: SharedCrop) -> None:
        self.paths, self.names, self.transform = paths, names, transform

    def __getitem__(self, asked: tuple[int, int, int]) -> dict[str, Any]:
        place, first, end = asked
        views = range(first, end)
        sample: dict[str, Any] = {"place": torch.tensor([(view, place) for view in views]), "why": []}
        try:
            image = read_image(self.paths[place])
            crops = [drawn_crop(self.transform, image, self.names[place], view) for view in views]
        except OSError as error:
            image, sample["why"] = Image.new("RGB", (8, 8)), [str(error)]
            crops = [UNREADABLE] * len(views)
        shown = [self.transform.cut(image, crop if crop.height >= 0 else Crop(0, 0, 0, 0, 0)) for crop in crops]
        sample["crop"] = torch.tensor(crops, dtype=torch.int32)
        return {**sample, **{key: torch.stack([views[key] for views in shown]) for key in shown[0]}}


def joined(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Items of :class:`ViewsOfImages` as one batch."""
    return {
        key: torch.cat([item[key] for item in items])
        if isinstance(value, Tensor)
        else sum((item[key] for item in items), [])
        for key, value in items[0].items()
    }
