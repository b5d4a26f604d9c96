"""Say in a few seconds, before any model loads, whether a data set is complete; on request try every image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from dho_prompt.data.layouts.contents import Contents, some
from dho_prompt.data.layouts.own_folder import read_own_folder
from dho_prompt.data.layouts.read import read_contents
from dho_prompt.data.layouts.table import IMAGENET, LAYOUTS, SHIFTED, Layout, find_layout
from dho_prompt.data.layouts.try_images import find_unreadable, parts_of, refuse_unreadable

PARTS = ("train", "val", "test")


def check(names: Sequence[str], root: Path, every_image: bool = False) -> bool:
    """Read data sets as training would, try a few images of each, and print a table and what is wrong.

    A data set with fewer or more images than the full one is right, and a note says so.

    Args:
        names: of data sets, or folders of a user's own images; ``all`` stands for the fifteen of the table.
        root: the folder of the data sets.
        every_image: try all images, not a few.

    Returns:
        Whether all are right.

    Raises:
        ValueError: a name is unknown.
    """
    rows, notes, wrong = [], [], []
    for name in LAYOUT_NAMES if list(names) == ["all"] else names:
        layout = find_layout(name)
        title = layout.name if layout else name
        try:
            contents = read_contents(layout, root) if layout else read_own_folder(_folder(name))
            if every_image:
                _refuse_any(contents, title)
            else:
                refuse_unreadable(contents, sample=24)
        except (OSError, ValueError) as error:
            wrong.append(f"{name}: {error}")
            continue
        rows.append(_row(title, contents))
        notes += [f"{title}: {note}" for note in contents.notes]
        notes += _size_notes(layout, contents) if layout else []
        notes += _shifted_notes(root) if layout is IMAGENET else []
    _print_table(rows)
    for line in notes:
        print(f"note: {line}")
    for line in wrong:
        print(f"wrong: {line}")
    return not wrong


LAYOUT_NAMES = [layout.name for layout in LAYOUTS]


def _folder(name: str) -> Path:
    folder = Path(name).expanduser().absolute()
    if not folder.is_dir():
        raise ValueError(
            f"is neither a data set nor a folder; data sets are {', '.join(LAYOUT_NAMES)}, or all, and of your own "
            "images the path of their folder is given"
        )
    return folder


def _refuse_any(contents: Contents, title: str) -> None:
    bad = find_unreadable(contents, title)
    if bad:
        count = sum(map(len, parts_of(contents).values()))
        raise OSError(
            f"{len(bad)} of its {count:,} images cannot be read: {some(bad, 50)}. Replace them, or unpack the images "
            "again"
        )


def _print_table(rows: list[list[object]]) -> None:
    headers = ["data set", "classes", *PARTS, "unlabelled", "per class"]
    if not any(row[-2] for row in rows):  # only folders of a user's own have unlabelled images
        headers.remove("unlabelled")
        rows = [[*row[:-2], row[-1]] for row in rows]
    if rows:
        print(tabulate(rows, headers=headers, intfmt=","))


def _row(name: str, contents: Contents) -> list[object]:
    train, val, test = contents.train, contents.val, contents.test
    counts = Counter(item.label for item in train).values()
    return [
        name,
        len(contents.classnames),
        "-" if train is test else len(train),
        "= test" if val is test else len(val) or "-",
        len(test),
        len(contents.unlabelled),
        f"{min(counts)}-{max(counts)}",
    ]


def _size_notes(layout: Layout, contents: Contents) -> list[str]:
    found = [len(contents.classnames), *(len(getattr(contents, part)) for part in PARTS)]
    if contents.train is contents.test:
        found[1] = 0
    sizes: list[tuple[str, int, int]] = list(
        zip(("classes", *(f"{part} images" for part in PARTS)), found, (layout.classes, *layout.counts))
    )
    return [f"{layout.name} has {has:,} {what}, the full set {full:,}" for what, has, full in sizes if has != full]


def _shifted_notes(root: Path) -> list[str]:
    """The sets that training on ImageNet tests on too, where they are missing."""
    missing = [layout.name for layout in SHIFTED if not (root / layout.folder / layout.images).is_dir()]
    if not missing:
        return []
    return [
        f"the configuration of ImageNet also tests on {', '.join(missing)}, missing below {root}; "
        'TEST.SHIFTED_SETS "()" goes without'
    ]
