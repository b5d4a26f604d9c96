"""Images and their labels as plain lists, and what every data set offers."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any

from .registry import Registry

DATASET_REGISTRY = Registry("DATASET")


def build_dataset(cfg: Any) -> DatasetBase:
    """Build the data set that ``DATASET.NAME`` names.

    Raises:
        ValueError: no data set goes by that name; the message names the nearest.
    """
    return DATASET_REGISTRY.build(cfg.DATASET.NAME, cfg, verbose=cfg.VERBOSE)


class Datum:
    """One image: where it is and what it shows. Read-only.

    Args:
        impath: path of the image file.
        label: class index from 0.
        domain: domain index from 0.
        classname: the class in words.

    Raises:
        FileNotFoundError: there is no such image.
    """

    def __init__(self, impath: str = "", label: int = 0, domain: int = 0, classname: str = "") -> None:
        if not os.path.isfile(impath):
            raise FileNotFoundError(f"there is no image {impath!r}; has the data set moved since its split was made?")
        self._impath, self._label, self._domain, self._classname = impath, label, domain, classname

    @property
    def impath(self) -> str:
        return self._impath

    @property
    def label(self) -> int:
        return self._label

    @property
    def domain(self) -> int:
        return self._domain

    @property
    def classname(self) -> str:
        return self._classname

    def __repr__(self) -> str:
        return f"Datum({self.impath!r}, label={self.label}, classname={self.classname!r})"


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

    dataset_dir = ""  # folder below DATASET.ROOT
    domains: Sequence[str] = ()

    def __init__(
        self,
        train_x: Sequence[Datum] | None = None,
        train_u: Sequence[Datum] | None = None,
        val: Sequence[Datum] | None = None,
        test: Sequence[Datum] | None = None,
    ) -> None:
        self._train_x, self._train_u, self._val, self._test = train_x, train_u, val, test
        self._num_classes = self.get_num_classes(train_x)
        self._lab2cname, self._classnames = self.get_lab2cname(train_x)

    @property
    def train_x(self):
        return self._train_x

    @property
    def train_u(self):
        return self._train_u

    @property
    def val(self):
        return self._val

    @property
    def test(self):
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

    @staticmethod
    def get_num_classes(data_source: Sequence[Datum] | None) -> int:
        """Highest label plus one."""
        if not data_source:
            raise ValueError("the labelled training set is empty; check DATASET.ROOT and the split")
        return max(item.label for item in data_source) + 1

    @staticmethod
    def get_lab2cname(data_source: Sequence[Datum]) -> tuple[dict[int, str], list[str]]:
        """Label to class name, and the names by rising label."""
        names = {item.label: item.classname for item in data_source}
        return names, [names[label] for label in sorted(names)]

    def generate_fewshot_dataset(
        self, *data_sources: Sequence[Datum], num_shots: int = -1, repeat: bool = False
    ) -> Sequence[Datum] | list[list[Datum]]:
        """Draw ``num_shots`` images of each class from each source with Python's ``random``.

        The draws are Dassl's: after the same seed the same images are picked.

        Args:
            data_sources: one or more lists.
            num_shots: images per class; below 1 everything is kept.
            repeat: draw with replacement from classes that have too few; otherwise those give all they have.

        Returns:
            The drawn list, or one list for each source when several are given.
        """
        if num_shots < 1:
            return data_sources[0] if len(data_sources) == 1 else data_sources
        print(f"Creating a {num_shots}-shot dataset")
        drawn = []
        for source in data_sources:
            picked: list[Datum] = []
            for items in self.split_dataset_by_label(source).values():
                if len(items) >= num_shots:
                    items = random.sample(items, num_shots)
                elif repeat:
                    items = random.choices(items, k=num_shots)
                picked.extend(items)
            drawn.append(picked)
        return drawn[0] if len(drawn) == 1 else drawn

    def split_dataset_by_label(self, data_source: Sequence[Datum]) -> dict[int, list[Datum]]:
        """The images of each label, labels in order of their first appearance."""
        groups: dict[int, list[Datum]] = {}
        for item in data_source:
            groups.setdefault(item.label, []).append(item)
        return groups
