"""A user's own images in class folders, without code."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from dho_prompt.data.layouts.class_folders import class_folder_stamps, list_class_folders
from dho_prompt.data.layouts.contents import Contents, ListedImage, some

SHARES = {"train": 0.5, "val": 0.2, "test": 0.3}  # CoOp's, for the data sets that it splits itself
TREE = """\
  train/<class>/*    training images
  test/<class>/*     test images
  val/<class>/*      validation images (may be missing)
  unlabelled/**      further training images without labels (may be missing)
  classnames.txt     lines '<class folder><tab or space><name>' (may be missing: the folders' names are the classes')
or, to be split into train, val and test (50, 20 and 30 % of each class):
  <class>/*"""


def read_own_folder(folder: Path) -> Contents:
    """Class folders, either below ``train``, ``test`` and perhaps ``val``, or alone and then split by a hash.

    The split follows from the file names alone, so it is the same everywhere and does not change with other classes.
    Files that are no images by their ending, and hidden ones, are passed over.

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
        found = {part: _listed(folder, part) for part in SHARES}
    else:
        found = _split(_listed(folder, ""))
        counts = {part: sum(map(len, classes.values())) for part, classes in found.items()}
        print(
            f"{folder} has class folders alone: {counts['train']} of their images are for training, {counts['val']} "
            f"for validation and {counts['test']} for testing, chosen by a hash of their names"
        )
    ids = sorted(found["train"])
    _check_classes(folder, ids, found)
    names = _names(folder / "classnames.txt", ids)

    def items(part: str) -> list[ListedImage]:
        return [
            ListedImage(f"{folder}/", name, label, names[label])
            for label, class_id in enumerate(ids)
            for name in found[part].get(class_id, [])
        ]

    train, val, test = (items(part) for part in SHARES)
    return Contents(names, ids, folder, train, val, test, unlabelled=_unlabelled(folder / "unlabelled"))


def _is_image(name: str) -> bool:
    Image.init()
    return os.path.splitext(name)[1].lower() in Image.EXTENSION


def _listed(folder: Path, part: str) -> dict[str, list[str]]:
    """Class folder -> names of its images relative to ``folder``, sorted."""
    where = folder / part
    if not where.is_dir():
        return {}
    stamps = class_folder_stamps(where)
    if not part:
        stamps.pop("unlabelled", None)
    return {
        name: [(Path(part) / name / file).as_posix() for file in files if _is_image(file)]
        for name, files in list_class_folders(where, stamps).items()
    }


def _split(classes: dict[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    """Each class's images in the order of their hash: the first half is for training. Each part has one at least."""
    found: dict[str, dict[str, list[str]]] = {part: {} for part in SHARES}
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


def _check_classes(folder: Path, ids: list[str], found: dict[str, dict[str, list[str]]]) -> None:
    if not ids:
        raise FileNotFoundError(f"{folder} has no class folders; a data set of your own looks like\n{TREE}")
    empty = [name for name in ids if not found["train"][name]]
    if empty:
        raise FileNotFoundError(f"{len(empty)} classes of {folder} have no training image: {some(empty)}")
    for part in ("val", "test"):
        unknown = sorted(set(found[part]) - set(ids))
        if unknown:
            raise ValueError(
                f"{folder / part} has {len(unknown)} classes that {folder / 'train'} has not: {some(unknown)}"
            )
    if not any(found["test"].values()):
        raise FileNotFoundError(f"{folder / 'test'} has no images in class folders")


def _names(path: Path, ids: Sequence[str]) -> list[str]:
    """The names of the classes, in their order."""
    if not path.is_file():
        return list(ids)
    names: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        class_id, _, name = line.strip().partition("\t" if "\t" in line else " ")
        if class_id not in ids or class_id in names or not name.strip():
            reason = "stands twice" if class_id in names else "is no class folder" if name.strip() else "has no name"
            raise ValueError(f"{path} line {number}: {class_id!r} {reason}; each line is '<class folder><tab><name>'")
        names[class_id] = name.strip()
    missing = [class_id for class_id in ids if class_id not in names]
    if missing:
        raise ValueError(f"{path} does not name {len(missing)} class folders: {some(missing)}")
    return [names[class_id] for class_id in ids]


def _unlabelled(folder: Path) -> list[ListedImage]:
    """All images below ``folder``, however deep."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            ListedImage(f"{parent}/", name) for name in sorted(files) if not name.startswith(".") and _is_image(name)
        ]
    return found
