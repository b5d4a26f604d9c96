"""The embedded stage of 100 classes: two handwritten digits in a picture, with three shifted test sets."""

from __future__ import annotations

from typing import Any

from dho_prompt.data.datasets.base import NamedClasses, data_root
from dho_prompt.data.fetch.digit_pairs_images import write_digit_pairs
from dho_prompt.data.layouts.contents import Contents, ListedImage
from dho_prompt.files import read_json


class DigitPairs(NamedClasses):
    """Pairs of real digits, split in train, val and test (see :mod:`dho_prompt.data.fetch.digit_pairs_images`).

    The image files are written below ``DATASET.ROOT/digit_pairs`` when they are not there.
    """

    test_split = "test"

    def __init__(self, cfg: Any) -> None:
        root = data_root(cfg) / "digit_pairs"
        write_digit_pairs(root)
        content = read_json(root / "splits.json")
        names, splits = content["classnames"], content["splits"]
        kept = self.classes(names, [label for _, label in splits[self.test_split]])
        position = {label: i for i, label in enumerate(kept)}

        def items(split: str) -> list[ListedImage]:
            listed = [(name, label) for name, label in splits[split] if label in position]
            return [ListedImage(f"{root}/", name, position[label], names[label]) for name, label in listed]

        classnames = [names[label] for label in kept]
        parts = (items(split) for split in ("train", "val", self.test_split))
        super().__init__(Contents(classnames, list(classnames), root, *parts), cfg)

    @staticmethod
    def classes(names: list[str], tested: list[int]) -> list[int]:
        """Labels of the data set's classes; all of them but where a subclass has fewer."""
        return list(range(len(names)))


class DigitPairsV2(DigitPairs):
    """Fresh held-out digits, as ImageNet-V2 is to ImageNet."""

    test_split = "v2"


class DigitPairsR(DigitPairs):
    """Renditions in other inks on other backgrounds, as ImageNet-R."""

    test_split = "r"


class DigitPairsA(DigitPairs):
    """Digits that a plain model finds hard, 30 of the classes, predicted among these alone as on ImageNet-A."""

    test_split = "a"

    @staticmethod
    def classes(names: list[str], tested: list[int]) -> list[int]:
        return sorted(set(tested))
