"""Many images' names and labels in little space: what names of one folder and label have in common is said once.

``train/n01440764/n01440764_10026.JPEG`` and ``..._10029.JPEG`` of label 0 become ``["train/n01440764/n01440764_100",
".JPEG", 0, "26/29"]``. ImageNet's 1.28 million training images take 8 MB instead of 87.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from os.path import commonprefix
from typing import Any


def pack_names(named: Iterable[tuple[str, int]]) -> list[list[Any]]:
    """Names and labels as groups ``[beginning, end, label, middles]``, the middles joined by ``/``.

    Args:
        named: (name, label) in any order, names with forward slashes; those of one folder and label should follow one
            another, as they do when sorted, or they make several groups.
    """
    return [
        [*_parts([name for name, _ in group], label)]
        for (_, label), group in groupby(named, key=lambda entry: (entry[0][: entry[0].rfind("/") + 1], entry[1]))
    ]


def unpack_names(groups: Iterable[Sequence[Any]]) -> Iterator[tuple[str, int]]:
    """What :func:`pack_names` was given."""
    for beginning, end, label, middles in groups:
        for middle in middles.split("/"):
            yield beginning + middle + end, label


def _parts(names: list[str], label: int) -> tuple[str, str, int, str]:
    beginning = commonprefix([min(names), max(names)])  # of all names: it is that of the outermost
    rest = [name[len(beginning) :] for name in names]
    turned = [name[::-1] for name in rest]
    end = commonprefix([min(turned), max(turned)])[::-1]
    return beginning, end, label, "/".join(name[: len(name) - len(end)] for name in rest)
