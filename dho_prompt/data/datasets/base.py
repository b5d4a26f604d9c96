"""What our data sets share: a full class list, base and new halves, the choice of the labelled images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from dho_prompt.data.choose.host_few_shot import HostFolder
from dho_prompt.data.choose.labelled import choose_labelled, names_images
from dho_prompt.data.choose.splits import few_shot
from dho_prompt.data.layouts.contents import Contents, ListedImage
from dho_prompt.data.layouts.try_images import refuse_unreadable
from dho_prompt.engine import DatasetBase

HALVES = ("all", "base", "new")


class NamedClasses(DatasetBase):
    """A Dassl data set whose class list is given, not read off the training images.

    Dassl counts the classes that have a training image, so that one missing folder shifts all later names. Here a
    class keeps its index and name whether it has images or not.

    Args:
        contents: the classes and the images of each part.
        cfg: gives DATASET.NUM_SHOTS, SPLIT_FEWSHOT, LABELED_PERCENT, LABELED_LIST, VAL_SHOTS and SUBSAMPLE_CLASSES,
            DATALOADER.MAX_UNREADABLE and SEED.
        host: the data set's folder, if it is one of CoOp's (SPLIT_FEWSHOT coop).

    Attributes:
        class_ids: position = label; what the class is called in every data set that has it: the wnid for ImageNet and
            its relatives, else the name. Use these, not the names, to match classes: names may repeat.
        labelled_by: how the labelled images were chosen, in words; "" for a set that exists for testing alone.
        root: the folder that file names are relative to.
        training_images: every training image, labelled or not (Alg. 1 line 7).

    Raises:
        ValueError: a key does not fit the images.
        OSError: an image of those that are tried cannot be read.
    """

    def __init__(self, contents: Contents, cfg: Any, host: HostFolder | None = None) -> None:
        for note in contents.notes:
            print(f"Note: {note}")
        refuse_unreadable(contents, cfg.DATALOADER.MAX_UNREADABLE)
        self.root = Path(contents.root)
        kept = class_half(len(contents.classnames), cfg.DATASET.SUBSAMPLE_CLASSES, contents.base)
        train, val, test = contents.train, contents.val, contents.test
        tested = relabel(test, kept)
        images = tested if train is test else relabel(train, kept)
        if train is test:
            labelled, self.labelled_by = tested, ""
        elif names_images(cfg):
            chosen, self.labelled_by = choose_labelled(train, cfg, self.root, host)
            labelled = relabel(chosen, kept)
        else:
            labelled, self.labelled_by = choose_labelled(images, cfg, self.root)
        shots = cfg.DATASET.VAL_SHOTS
        validated = tested if val is test else few_shot(relabel(val, kept), shots, cfg.SEED, self.root)
        self.training_images = [*images, *contents.unlabelled] if contents.unlabelled else images
        unlabelled = self.training_images if contents.unlabelled else None
        super().__init__(train_x=labelled, train_u=unlabelled, val=validated, test=tested)
        self._num_classes = len(kept)
        self._classnames = [contents.classnames[label] for label in kept]
        self._lab2cname = dict(enumerate(self._classnames))
        self.class_ids = [contents.class_ids[label] for label in kept]


def class_half(count: int, half: str, middle: int | None = None) -> range:
    """The labels of ``all`` classes, the ``base`` half or the ``new`` half.

    Args:
        count: number of classes.
        half: all, base or new.
        middle: classes of the base half; default ``ceil(count / 2)``, CoOp's.
    """
    if half not in HALVES:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES is {half!r}; allowed are {', '.join(HALVES)}")
    middle = math.ceil(count / 2) if middle is None else middle
    return {"all": range(count), "base": range(middle), "new": range(middle, count)}[half]


def relabel(items: list[Any], kept: range) -> list[Any]:
    """The items whose label is in ``kept``, labelled from 0. The same list if nothing changes."""
    if kept.start == 0 and all(item.label < kept.stop for item in items):
        return items
    return [
        ListedImage("", item.impath, item.label - kept.start, item.classname) for item in items if item.label in kept
    ]


def data_root(cfg: Any) -> Path:
    """DATASET.ROOT as an absolute path; a ValueError if it is not set."""
    if not cfg.DATASET.ROOT:
        raise ValueError("the folder of the data sets is not set; pass --root FOLDER (scripts: DATA=FOLDER)")
    return Path(cfg.DATASET.ROOT).expanduser().absolute()
