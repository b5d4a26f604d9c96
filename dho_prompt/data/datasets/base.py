"""What our data sets share: a full class list, base and new halves, few-shot labelled sets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, List, Sequence, Tuple

from dho_prompt.data.labelled import choose_labelled
from dho_prompt.data.splits import few_shot
from dho_prompt.engine import DatasetBase, Datum

HALVES = ("all", "base", "new")


class NamedClasses(DatasetBase):
    """A Dassl data set whose class list is given, not read off the training images.

    Dassl counts the classes that have a training image, so that one missing folder shifts all later names. Here a
    class keeps its index and name whether it has images or not.

    Args:
        classnames: the names, in the order of the labels. Names may repeat (ImageNet has two such pairs).
        root: the folder that file names are relative to.
        train, val, test: Datum lists. ``val`` may be empty.
            A ``train`` that is ``test`` itself stays whole, as in the sets that exist for testing alone.
        cfg: gives DATASET.NUM_SHOTS, LABELED_PERCENT, LABELED_LIST, SUBSAMPLE_CLASSES, and SEED.

    Attributes:
        labelled_by: how the labelled images were chosen, in words.
    """

    def __init__(
        self,
        classnames: Sequence[str],
        root: Path,
        train: List[Datum],
        val: List[Datum],
        test: List[Datum],
        cfg: Any,
    ) -> None:
        self.root = Path(root)
        half = cfg.DATASET.SUBSAMPLE_CLASSES
        kept = class_half(len(classnames), half)
        tested = relabel(test, kept)
        if train is test:  # a set for testing alone
            labelled, self.labelled_by = tested, ""
        else:
            labelled, self.labelled_by = self._labelled(train, kept, cfg)
        # CoOp's few-shot protocol draws at most 4 validation images per class; a test set offered as one stays whole
        shots = min(cfg.DATASET.NUM_SHOTS, 4)
        validated = tested if val is test else few_shot(relabel(val, kept), shots, cfg.SEED, self.root)
        super().__init__(train_x=labelled, val=validated, test=tested)
        self._num_classes = len(kept)
        self._classnames = [classnames[label] for label in kept]
        self._lab2cname = dict(enumerate(self._classnames))

    def _labelled(self, train: List[Datum], kept: range, cfg: Any) -> Tuple[List[Datum], str]:
        if not cfg.DATASET.LABELED_LIST:
            return choose_labelled(relabel(train, kept), cfg, self.root)
        chosen, how = choose_labelled(train, cfg, self.root)  # the list may be of all classes
        return relabel(chosen, kept), how


def class_half(count: int, half: str) -> range:
    """The labels of ``all`` classes, the ``base`` half (the first ``ceil(count / 2)``) or the ``new`` half."""
    if half not in HALVES:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES is {half!r}; allowed are {', '.join(HALVES)}")
    middle = math.ceil(count / 2)
    return {"all": range(count), "base": range(middle), "new": range(middle, count)}[half]


def relabel(items: List[Datum], kept: range) -> List[Datum]:
    """The items whose label is in ``kept``, labelled from 0. The same list if nothing changes."""
    if kept.start == 0 and all(item.label < kept.stop for item in items):
        return items
    return [
        Datum(impath=item.impath, label=item.label - kept.start, domain=item.domain, classname=item.classname)
        for item in items
        if item.label in kept
    ]


def data_root(cfg: Any) -> Path:
    """DATASET.ROOT as an absolute path; a ValueError if it is not set."""
    if not cfg.DATASET.ROOT:
        raise ValueError("the folder of the data sets is not set; pass --root FOLDER (scripts: DATA=FOLDER)")
    return Path(cfg.DATASET.ROOT).expanduser().absolute()
