"""A user's own images in class folders, without code."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from dho_prompt.data.layouts.class_folders import class_folder_stamps, is_image, list_class_folders
from dho_prompt.data.layouts.contents import Contents, ListedImage, is_file, some
from dho_prompt.data.layouts.text import first_word, numbered_lines
from dho_prompt.data.layouts.unlabelled_folder import images_below

SHARES = {"train": 0.5, "val": 0.2, "test": 0.3}  # CoOp's, for the data sets that it splits itself
UNLABELLED = ("unlabelled", "unlabeled")
TREE = """\
  train/<class>/*    training images
  test/<class>/*     test images
  val/<class>/*      validation images (may be missing)
  unlabelled/**      further training images without labels (may be missing)
  classnames.txt     lines '<class folder><tab or space><name>' (may be missing: the folders' names are the classes)
or, to be split into train, val and test (50, 20 and 30 % of each class):
  <class>/*"""

Classes = dict[str, list[str]]  # class folder -> names of its images below the data set's folder


def read_own_folder(folder: Path) -> Contents:
    """Class folders, either below ``train``, ``test`` and perhaps ``val``, or alone and then split by a hash.

    The split follows from the file names alone, so it is the same everywhere and does not change with other classes.
    Hidden files are passed over. So are files that are no images by their ending, images outside of class folders and
    folders within class folders; the notes of what is returned name them.

    Args:
        folder: see the tree in :data:`TREE`.

    Raises:
        FileNotFoundError: the folder, ``test`` or a class's training images are missing.
        ValueError: a class of another part is not among those of ``train``, or ``classnames.txt`` is malformed.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; a data set of your own looks like\n{TREE}")
    if (folder / "train").is_dir():
        if not (folder / "test").is_dir():
            raise FileNotFoundError(
                f"{folder} has the folder train, but no folder test. Add it, or give the class folders alone to have "
                f"them split; a data set of your own looks like\n{TREE}"
            )
        found, notes = {}, []
        for part in SHARES:
            found[part], besides = _listed(folder, part)
            notes += besides
    else:
        classes, notes = _listed(folder, "")
        found = _split(classes)
        counts = {part: sum(map(len, classes.values())) for part, classes in found.items()}
        print(
            f"{folder} has class folders alone: {counts['train']} of their images are for training, {counts['val']} "
            f"for validation and {counts['test']} for testing, chosen by a hash of their names"
        )
    ids = sorted(found["train"])
    _check_classes(folder, ids, found, notes)
    names = _names(folder / "classnames.txt", ids)

    def items(part: str) -> list[ListedImage]:
        return [
            ListedImage(f"{folder}/", name, label, names[label])
            for label, class_id in enumerate(ids)
            for name in found[part].get(class_id, [])
        ]

    train, val, test = (items(part) for part in SHARES)
    unlabelled: list[ListedImage] = []
    for name in UNLABELLED:
        images, besides = images_below(folder / name, folder)
        unlabelled += images
        notes += besides
    return Contents(names, ids, folder, train, val, test, unlabelled=unlabelled, notes=notes)


def _listed(folder: Path, part: str) -> tuple[Classes, list[str]]:
    """The images of each class, sorted, and notes on what lies there besides."""
    where = folder / part
    if not where.is_dir():
        return {}, []
    stamps = class_folder_stamps(where)
    if not part:
        stamps = {name: stamp for name, stamp in stamps.items() if name not in UNLABELLED}
    listing = list_class_folders(where, stamps)
    classes = {
        name: [(Path(part) / name / file).as_posix() for file in files] for name, files in listing.images.items()
    }
    notes = listing.notes(where)
    with os.scandir(where) as entries:
        flat = sorted(
            entry.name for entry in entries if is_image(entry.name) and entry.name[0] != "." and is_file(entry)
        )
    if flat:
        notes.append(
            f"{len(flat)} images lie in {where} itself and belong to no class: {some(flat)}. Move them into the "
            "folders of their classes, or into unlabelled"
        )
    return classes, notes


def _split(classes: Classes) -> dict[str, Classes]:
    """Each class's images in the order of their hash: the first half is for training. Each part has one at least."""
    found: dict[str, Classes] = {part: {} for part in SHARES}
    for name, files in classes.items():
        if 0 < len(files) < 3:
            raise ValueError(
                f"the class {name} has {len(files)} images; a split into train, val and test takes 3 at least"
            )
        ranked = sorted(files, key=lambda file: hashlib.sha256(file.encode()).hexdigest())
        val = max(1, round(SHARES["val"] * len(files)))
        test = max(1, round(SHARES["test"] * len(files)))
        found["val"][name] = sorted(ranked[:val])
        found["test"][name] = sorted(ranked[val : val + test])
        found["train"][name] = sorted(ranked[val + test :])
    return found


def _check_classes(folder: Path, ids: list[str], found: dict[str, Classes], notes: Sequence[str]) -> None:
    besides = "".join(f". {note}" for note in notes)
    if not ids:
        raise FileNotFoundError(f"{folder} has no class folders{besides}; a data set of your own looks like\n{TREE}")
    empty = [name for name in ids if not found["train"][name]]
    if empty:
        raise FileNotFoundError(f"{len(empty)} classes of {folder} have no training image: {some(empty)}{besides}")
    for part in ("val", "test"):
        unknown = sorted(set(found[part]) - set(ids))
        if unknown:
            raise ValueError(
                f"{folder / part} has {len(unknown)} classes that {folder / 'train'} has not: {some(unknown)}"
            )
    if not any(found["test"].values()):
        raise FileNotFoundError(f"{folder / 'test'} has no images in class folders{besides}")


def _names(path: Path, ids: Sequence[str]) -> list[str]:
    """The names of the classes, in their order."""
    if not path.is_file():
        return list(ids)
    names: dict[str, str] = {}
    for number, line in numbered_lines(path):
        class_id, name = (part.strip() for part in line.split("\t", 1)) if "\t" in line else first_word(line)
        if class_id not in ids or class_id in names or not name:
            reason = "stands twice" if class_id in names else "is no class folder" if name else "has no name"
            raise ValueError(f"{path} line {number}: {class_id!r} {reason}; each line is '<class folder><tab><name>'")
        names[class_id] = name
    missing = [class_id for class_id in ids if class_id not in names]
    if missing:
        raise ValueError(f"{path} does not name {len(missing)} class folders: {some(missing)}")
    return [names[class_id] for class_id in ids]
