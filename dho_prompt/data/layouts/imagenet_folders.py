"""ImageNet and its four shifted test sets, in CoOp's layout: which folder is which class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dho_prompt.data.layouts.class_folders import Listing, class_folder_stamps, is_image, list_class_folders
from dho_prompt.data.layouts.contents import Contents, ListedImage, some
from dho_prompt.data.layouts.split_files import expected
from dho_prompt.data.layouts.table import IMAGENET, Layout
from dho_prompt.data.layouts.text import first_word, is_missing, numbered_lines


def read_imagenet(layout: Layout, root: Path) -> Contents:
    """ImageNet; its 50,000 validation images are ``val`` and ``test``, as in CoOp, so nothing is ever chosen on them.

    Args:
        layout: its row of the table.
        root: the folder of the data sets.

    Raises:
        FileNotFoundError: the folder, ``classnames.txt`` or the folder of a class is missing.
        ValueError: a class folder is not in ``classnames.txt``.
    """
    wnids, classnames = read_classnames(root / layout.folder / "classnames.txt", expected(layout, root))
    images = root / layout.folder / layout.images
    for part in ("train", "val"):
        _check_folder(images / part, layout, root)
    train, train_notes = _items(images / "train", wnids, classnames)
    val, val_notes = _items(images / "val", wnids, classnames)
    return Contents(classnames, wnids, images, train, val, val, notes=[*train_notes, *val_notes])


def read_shifted(layout: Layout, root: Path) -> Contents:
    """ImageNetV2, ImageNetSketch (1000 classes), ImageNetA or ImageNetR (200): test images alone.

    Labels: V2's folders are the numbers of ImageNet's classes; Sketch has ImageNet's labels; those of A and R count
    their own folders in the order of the wnids. The base half is of ImageNet's base classes in all four.

    Raises:
        FileNotFoundError: a folder or ``classnames.txt`` is missing (ImageNet's own copy serves too).
        ValueError: the folders and ``classnames.txt`` do not agree.
    """
    images = root / layout.folder / layout.images
    copies = (root / layout.folder / "classnames.txt", root / IMAGENET.folder / "classnames.txt")
    wnids, classnames = read_classnames(
        copies[1] if copies[1].is_file() and not copies[0].is_file() else copies[0], expected(layout, root)
    )
    _check_folder(images, layout, root)
    middle = (len(wnids) + 1) // 2
    if layout.name == "ImageNetV2":
        folders = _numbered(images, len(wnids))
    elif layout.classes < IMAGENET.classes:
        folders = sorted(class_folder_stamps(images))
        _refuse_unknown(images, folders, wnids)
        names = dict(zip(wnids, classnames))
        middle = sum(wnid < wnids[middle] for wnid in folders) if middle < len(wnids) else len(folders)
        wnids, classnames = folders, [names[wnid] for wnid in folders]
    else:
        folders = wnids
    test, notes = _items(images, folders, classnames)
    return Contents(classnames, wnids, images, test, [], test, base=middle, notes=notes)


def read_classnames(path: Path, hint: str = "") -> tuple[list[str], list[str]]:
    """The wnids, sorted, and their names, from lines ``<wnid> <name>``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line has no name, or a wnid stands twice.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} {is_missing(path)}; it comes with CoOp's data set instructions. {hint}".rstrip()
        )
    names: dict[str, str] = {}
    for number, line in numbered_lines(path):
        wnid, name = first_word(line)
        if not name or wnid in names:
            reason = "stands twice" if wnid in names else "has no name"
            raise ValueError(
                f"{path} line {number}: {wnid} {reason}; each line must be '<wnid> <name>', each wnid once"
            )
        names[wnid] = name
    if not names:
        raise ValueError(f"{path} names no class; each line must be '<wnid> <name>'")
    wnids = sorted(names)
    return wnids, [names[wnid] for wnid in wnids]


def _check_folder(folder: Path, layout: Layout, root: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {folder} is missing; {expected(layout, root)}")
    flat = next((entry for entry in folder.iterdir() if is_image(entry.name)), None)
    if flat is not None:
        raise ValueError(
            f"{folder} holds images that lie flat ({flat.name}), but they must lie in one folder per class: move each "
            "into the folder of its wnid (for ImageNet's validation images the script valprep.sh of soumith's "
            f"imagenetloader.torch does it); {expected(layout, root)}"
        )


_READ: dict[Path, tuple[Any, tuple[list[ListedImage], list[str]]]] = {}


def _items(folder: Path, folders: Sequence[str], classnames: Sequence[str]) -> tuple[list[ListedImage], list[str]]:
    """The images of the class folders, which stand in the order of the labels, and notes on what is passed over.

    The pool of unlabelled images reads the data set a second time: within a process nothing is read twice as long as
    no folder changes.
    """
    stamps = class_folder_stamps(folder)
    key = (stamps, list(folders), list(classnames))
    if folder in _READ and _READ[folder][0] == key:
        return _READ[folder][1]
    found = list_class_folders(folder, stamps)
    _compare(folder, folders, found)
    items = []
    for label, (name, classname) in enumerate(zip(folders, classnames)):
        prefix = f"{folder / name}/"
        items += [ListedImage(prefix, file, label, classname) for file in found.images[name]]
    _READ[folder] = (key, (items, found.notes(folder)))
    return _READ[folder][1]


def _numbered(images: Path, count: int) -> list[str]:
    """V2's folders 0, 1, ..., which number the sorted wnids, in that order: not 0, 1, 10, 100, ..."""
    folders = list(class_folder_stamps(images))
    odd = [name for name in folders if not name.isdecimal()]
    if odd:
        raise ValueError(f"{images} has folders that are no numbers: {some(odd)}; remove them")
    folders.sort(key=int)
    if [int(name) for name in folders] != list(range(count)):
        raise ValueError(
            f"{images} has {len(folders)} numbered folders ({some(folders, 2)}); classnames.txt has {count} lines, so "
            f"they must be 0 to {count - 1}: folder n is the n-th class. Take the complete classnames.txt and unpack "
            "the images again"
        )
    return folders


def _compare(folder: Path, names: Sequence[str], found: Listing) -> None:
    missing = [name for name in names if not found.images.get(name)]
    if missing:
        besides = "".join(f". {note}" for note in found.notes(folder))
        raise FileNotFoundError(
            f"{folder} has images of {len(names) - len(missing)} of the {len(names)} classes in classnames.txt; "
            f"missing or empty: {some(missing)}. Restore these folders, or remove their lines from classnames.txt"
            f"{besides}"
        )
    _refuse_unknown(folder, sorted(found.images), names)


def _refuse_unknown(folder: Path, found: Sequence[str], names: Sequence[str]) -> None:
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise ValueError(
            f"{folder} has {len(unknown)} folders that classnames.txt does not name: {some(unknown)}. "
            "Remove them, or add their lines to classnames.txt"
        )
