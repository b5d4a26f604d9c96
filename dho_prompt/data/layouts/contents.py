"""What a data set holds: classes and named images, read from its folder and checked on the way.

Nothing here knows a configuration or an engine: the data set classes and the command ``check`` read by the same code,
so that both give the same message.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from dho_prompt.files import PathLike


class ListedImage:
    """One image, with the attributes of Dassl's Datum. It was seen in a listing, so the disk is not asked again.

    A million of them share the text of their folders.

    Args:
        folder: path of the folder, with a slash at its end.
        name: the file's name in it, possibly with sub-folders.
        label: class index from 0; -1 where it is not known.
        classname: the class in words.
    """

    __slots__ = ("folder", "name", "label", "classname")
    domain = 0

    def __init__(self, folder: str, name: str, label: int = -1, classname: str = "") -> None:
        self.folder, self.name, self.label, self.classname = folder, name, label, classname

    @property
    def impath(self) -> str:
        """Path of the image file."""
        return self.folder + self.name

    def __repr__(self) -> str:
        return f"ListedImage({self.impath!r}, label={self.label}, classname={self.classname!r})"


class Contents(NamedTuple):
    """A data set as it lies on the disk.

    Args:
        classnames: position = label. Names may repeat (ImageNet has two such pairs).
        class_ids: position = label; what a class is called in every data set that has it: the wnid for ImageNet and
            its relatives, else the name of the class (or of its folder).
        root: the folder that names are relative to.
        train, val, test: ``train is test`` for a set that exists for testing alone, ``val is test`` where the test
            images are offered for validation too, as CoOp does for ImageNet.
        base: classes of the base half, where it is not the first half of the list.
        unlabelled: further training images without a label.
    """

    classnames: list[str]
    class_ids: list[str]
    root: Path
    train: list[ListedImage]
    val: list[ListedImage]
    test: list[ListedImage]
    base: int | None = None
    unlabelled: Sequence[ListedImage] = ()


def absent(root: Path, names: Iterable[str]) -> list[str]:
    """Those ``names`` that are no files below ``root``. Every folder is listed once; no file is asked for by itself."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folder, _, base = name.rpartition("/")
        by_folder[folder].append(base)
    missing = []
    for folder, bases in by_folder.items():
        present = _files_of(os.path.join(root, folder))
        missing += [f"{folder}/{base}" if folder else base for base in bases if base not in present]
    return missing


def _files_of(folder: str) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(folder) if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def refuse_unreadable(contents: Contents, tolerated: int = 0, sample: int = 8) -> None:
    """Open a few images spread over every part.

    Args:
        contents: what was read.
        tolerated: unreadable training images that a run passes over (DATALOADER.MAX_UNREADABLE).
        sample: images per part.

    Raises:
        OSError: a test or validation image of the sample, or more than ``tolerated`` (or all) of the training images
            of the sample, cannot be read.
    """
    tried = []
    for name in ("test", "val", "train"):
        images = getattr(contents, name)
        if not images or any(images is other for other in tried):
            continue
        tried.append(images)
        step = max(1, len(images) // sample)
        chosen = images[::step][:sample]
        bad = [f"{item.impath} ({why})" for item in chosen for why in [why_unreadable(item.impath)] if why]
        if len(bad) > (min(tolerated, len(chosen) - 1) if name == "train" else 0):
            raise OSError(
                f"{len(bad)} of {len(chosen)} {name} images that were tried cannot be read: {some(bad, 3)}. Replace "
                "them, or unpack the images again"
            )


def why_unreadable(path: PathLike) -> str:
    """Why an image cannot be decoded, in words; "" if it can."""
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all three on damaged files
        return str(error).replace(f" {str(path)!r}", "") or type(error).__name__
    return ""
