"""The ten data sets that come with a split file, in CoOp's layout; FGVC-Aircraft with the official lists."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from dho_prompt.data.layouts.contents import Contents, ListedImage, absent, some
from dho_prompt.data.layouts.table import Layout, tree
from dho_prompt.data.layouts.text import first_word, is_missing, numbered_lines
from dho_prompt.files import read_json

PARTS = ("train", "val", "test")


class Split(NamedTuple):
    """Class names by label, and ``(name relative to the image folder, label)`` for each part."""

    classnames: list[str]
    parts: dict[str, list[tuple[str, int]]]


def read_with_split(layout: Layout, root: Path) -> Contents:
    """A data set of the ten.

    Args:
        layout: its row of the table.
        root: the folder of the data sets.

    Raises:
        FileNotFoundError: a folder, a list or an image that it names is missing.
        ValueError: a list is malformed, or a class has no training image.
    """
    folder = root / layout.folder
    images = folder / layout.images if layout.images else folder
    for needed in (folder, images):
        if not needed.is_dir():
            raise FileNotFoundError(f"the folder {needed} is missing; {expected(layout, root)}")
    try:
        split = read_split(folder / layout.split) if layout.split else read_variants(folder)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; {expected(layout, root)}") from error
    names = [name for part in PARTS for name, _ in split.parts[part]]
    missing = absent(images, names)
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(names)} images that the split of {layout.name} names are not below {images}: "
            f"{some(missing)}. Unpack the images again; {expected(layout, root)}"
        )

    prefix = f"{images}/"

    def items(part: str) -> list[ListedImage]:
        return [ListedImage(prefix, name, label, split.classnames[label]) for name, label in split.parts[part]]

    return Contents(split.classnames, list(split.classnames), images, *(items(part) for part in PARTS))


def expected(layout: Layout, root: Path) -> str:
    """The end of a message about missing files."""
    return (
        f"below {root} the files of {layout.name} are expected as\n{tree(layout)}\n"
        f"(python -m dho_prompt.data prepare {layout.name} --root {root} fetches what is missing, or says how to get "
        "it; remove a damaged folder first)"
    )


def read_split(path: Path) -> Split:
    """CoOp's split file: ``{"train": [[name, label, class name], ...], "val": ..., "test": ...}``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is cut short or of another form.
    """
    if not path.is_file():
        raise FileNotFoundError(f"the split file {path} {is_missing(path)}")
    try:
        content = read_json(path)
    except ValueError as error:
        raise ValueError(f"the split file {path} is cut short or no JSON ({error.__cause__}); fetch it again") from None
    parts = {part: _part(path, content, part) for part in PARTS}
    names: dict[int, str] = {}
    for part in PARTS:
        for _, label, name in parts[part]:
            if names.setdefault(label, name) != name:
                raise ValueError(f"{path}: label {label} is called {names[label]!r} and {name!r}; fetch it again")
    gaps = sorted(set(range(max(names) + 1)) - {label for _, label, _ in parts["train"]})
    if gaps:
        raise ValueError(f"{path}: {len(gaps)} classes have no training image (labels {some(list(map(str, gaps)))})")
    classnames = [names[label] for label in range(len(names))]
    return Split(classnames, {part: [(name, label) for name, label, _ in parts[part]] for part in PARTS})


def _part(path: Path, content: Any, part: str) -> list[tuple[str, int, str]]:
    entries = content.get(part) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path} has no list {part!r} of images; fetch it again")
    for number, entry in enumerate(entries):
        if not _is_entry(entry):
            raise ValueError(
                f"{path}, {part!r}, entry {number}: {entry!r} is not [name below the image folder, label, class name]"
            )
    return entries


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, list) or len(entry) != 3:
        return False
    name, label, classname = entry
    if not isinstance(name, str) or not isinstance(classname, str) or type(label) is not int or label < 0:
        return False
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def read_variants(folder: Path) -> Split:
    """FGVC-Aircraft's own lists: ``variants.txt`` and lines ``<image> <variant>`` in ``images_variant_<part>.txt``.

    Raises:
        FileNotFoundError: a list is missing.
        ValueError: a line names no known variant.
    """
    classnames = [line for _, line in _lines(folder / "variants.txt")]
    labels = {name: label for label, name in enumerate(classnames)}
    parts: dict[str, list[tuple[str, int]]] = {}
    for part in PARTS:
        path = folder / f"images_variant_{part}.txt"
        parts[part] = []
        for number, line in _lines(path):
            image, variant = first_word(line)
            if variant not in labels or "/" in image:
                raise ValueError(f"{path} line {number}: {line!r} is not '<image> <variant of variants.txt>'")
            parts[part].append((f"{image}.jpg", labels[variant]))
    trained = {label for _, label in parts["train"]}
    gaps = [name for label, name in enumerate(classnames) if label not in trained]
    if gaps:
        raise ValueError(f"{folder}: {len(gaps)} variants have no training image: {some(gaps)}")
    return Split(classnames, parts)


def _lines(path: Path) -> list[tuple[int, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"the list {path} {is_missing(path)}")
    return numbered_lines(path)
