"""Images and their labels as plain lists, and what every data set offers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dho_prompt.engine.embedded.registry import Registry

DATASET_REGISTRY = Registry("DATASET")


def build_dataset(cfg: Any) -> DatasetBase:
    """Build the data set that ``DATASET.NAME`` names.

    Raises:
        ValueError: no data set goes by that name; the message names the nearest.
    """
    return DATASET_REGISTRY.build(cfg.DATASET.NAME, cfg, verbose=cfg.VERBOSE)


@dataclass(frozen=True, eq=False)
class Datum:
    """One image: where it is and what it shows.

    Args:
        impath: path of the image file.
        label: class index from 0.
        domain: domain index from 0.
        classname: the class in words.

    Raises:
        FileNotFoundError: there is no such image.
    """

    impath: str = ""
    label: int = 0
    domain: int = 0
    classname: str = ""

    def __post_init__(self) -> None:
        if not os.path.isfile(self.impath):
            raise FileNotFoundError(
                f"there is no image {self.impath!r}; has the data set moved since its split was made?"
            )


class DatasetBase:
    """Lists of :class:`Datum` for training, validation and test.

    Args:
        train_x: labelled training images; they define the classes.
        train_u: unlabelled training images, or None.
        val: validation images, or None.
        test: test images.

    Attributes:
        num_classes: highest label plus one.
        lab2cname: label to class name; a label without a training image is missing.
        classnames: the names in the order of the labels present.

    Raises:
        ValueError: ``train_x`` is empty.
    """

    def __init__(
        self,
        train_x: Sequence[Datum] | None = None,
        train_u: Sequence[Datum] | None = None,
        val: Sequence[Datum] | None = None,
        test: Sequence[Datum] | None = None,
    ) -> None:
        if not train_x:
            raise ValueError("the labelled training set is empty; check DATASET.ROOT and the split")
        self._train_x, self._train_u, self._val, self._test = train_x, train_u, val, test
        self._num_classes = max(item.label for item in train_x) + 1
        self._lab2cname = {item.label: item.classname for item in train_x}
        self._classnames = [self._lab2cname[label] for label in sorted(self._lab2cname)]

    # Read-only, as in Dassl; our data sets replace what is behind them

    @property
    def train_x(self) -> Sequence[Datum]:
        return self._train_x

    @property
    def train_u(self) -> Sequence[Datum] | None:
        return self._train_u

    @property
    def val(self) -> Sequence[Datum] | None:
        return self._val

    @property
    def test(self) -> Sequence[Datum]:
        return self._test

    @property
    def num_classes(self) -> int:
        return self._num_classes

    @property
    def lab2cname(self) -> dict[int, str]:
        return self._lab2cname

    @property
    def classnames(self) -> list[str]:
        return self._classnames
