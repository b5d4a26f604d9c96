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
        notes: what was passed over, in words.
    """

    classnames: list[str]
    class_ids: list[str]
    root: Path
    train: list[ListedImage]
    val: list[ListedImage]
    test: list[ListedImage]
    base: int | None = None
    unlabelled: Sequence[ListedImage] = ()
    notes: Sequence[str] = ()


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
        return {entry.name for entry in os.scandir(folder) if is_file(entry)}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a file or a link to one; a link to itself is neither."""
    try:
        return entry.is_file()
    except OSError:
        return False


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a folder or a link to one; a link to itself is neither."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
