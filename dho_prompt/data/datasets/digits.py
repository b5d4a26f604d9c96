"""The embedded default: scikit-learn's handwritten digits with four shifted test sets."""

from __future__ import annotations

from typing import Any

from dho_prompt.data.datasets.base import NamedClasses, data_root
from dho_prompt.data.fetch.digits_images import write_digits
from dho_prompt.data.layouts.contents import Contents, ListedImage
from dho_prompt.files import read_json


class Digits(NamedClasses):
    """1,797 real digits, split in train, val and test (see :mod:`dho_prompt.data.fetch.digits_images`).

    The image files are written below ``DATASET.ROOT/digits`` when they are not there.
    """

    test_split = "test"

    def __init__(self, cfg: Any) -> None:
        root = data_root(cfg) / "digits"
        write_digits(root)
        content = read_json(root / "splits.json")
        classnames = content["classnames"]

        def items(split: str) -> list[ListedImage]:
            return [ListedImage(f"{root}/", name, label, classnames[label]) for name, label in content["splits"][split]]

        parts = (items(split) for split in ("train", "val", self.test_split))
        super().__init__(Contents(classnames, list(classnames), root, *parts), cfg)


class DigitsV2(Digits):
    """Fresh held-out digits, as ImageNet-V2 is to ImageNet."""

    test_split = "v2"


class DigitsSketch(Digits):
    """Outlines, as ImageNet-Sketch."""

    test_split = "sketch"


class DigitsR(Digits):
    """Renditions in other inks on other backgrounds, as ImageNet-R."""

    test_split = "r"


class DigitsA(Digits):
    """Digits that a plain supervised model gets wrong, as ImageNet-A was filtered."""

    test_split = "a"
