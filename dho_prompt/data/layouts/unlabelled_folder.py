"""All images below a folder, however deep, through links too, but never round in a circle or back into the data set."""

from __future__ import annotations

import os
from pathlib import Path

from dho_prompt.data.layouts.class_folders import is_image
from dho_prompt.data.layouts.contents import ListedImage, is_file, is_folder, some

Identity = tuple[int, int]  # device and number of a folder


def images_below(folder: Path, dataset: Path) -> tuple[list[ListedImage], list[str]]:
    """The images below ``folder``, hidden ones excepted, in the order of their folders and names.

    Links to folders are followed, except into the data set, whose test images would join the unlabelled ones, to a
    folder that contains it, and to one that was listed before.

    Args:
        folder: need not exist.
        dataset: the folder of the data set, which contains ``folder``.

    Returns:
        The images, and notes on what was passed over.
    """
    walk = _Walk(os.path.realpath(dataset))
    if folder.is_dir():
        walk.seen.add(_identity(str(folder)))
        walk.add(str(folder))
    notes = []
    if walk.not_followed:
        notes.append(
            f"{len(walk.not_followed)} links below {folder} are not followed, for they lead into the data set, to a "
            f"folder that contains it, or to one that is listed already: {some(walk.not_followed)}"
        )
    if walk.dead:
        notes.append(f"{len(walk.dead)} links below {folder} lead nowhere: {some(walk.dead)}")
    return walk.images, notes


class _Walk:
    """What was found so far below a folder of the data set ``dataset``, a real path."""

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self.seen: set[Identity] = set()
        self.images: list[ListedImage] = []
        self.not_followed: list[str] = []
        self.dead: list[str] = []

    def add(self, folder: str) -> None:
        with os.scandir(folder) as entries:
            inside = [entry for entry in entries if not entry.name.startswith(".")]
        folders = []
        for entry in sorted(inside, key=lambda entry: entry.name):
            if is_folder(entry):
                folders.append(entry)
            elif is_file(entry):
                self.images += [ListedImage(f"{folder}/", entry.name)] if is_image(entry.name) else []
            elif entry.is_symlink():
                self.dead.append(entry.path)
        for entry in folders:
            self._follow(entry)

    def _follow(self, entry: os.DirEntry[str]) -> None:
        identity = _identity(entry.path)
        if identity in self.seen or (entry.is_symlink() and _meet(os.path.realpath(entry.path), self.dataset)):
            self.not_followed.append(entry.path)
            return
        self.seen.add(identity)
        self.add(entry.path)


def _identity(folder: str) -> Identity:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _meet(target: str, dataset: str) -> bool:
    """Whether one of two real paths contains the other."""
    first, second = os.path.join(target, ""), os.path.join(dataset, "")
    return first.startswith(second) or second.startswith(first)
