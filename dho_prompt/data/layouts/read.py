"""From the name of a data set to its contents, whichever way they are stored."""

from __future__ import annotations

from pathlib import Path

from dho_prompt.data.layouts.contents import Contents
from dho_prompt.data.layouts.imagenet_folders import read_imagenet, read_shifted
from dho_prompt.data.layouts.split_files import read_with_split
from dho_prompt.data.layouts.table import IMAGENET, SHIFTED, Layout


def read_contents(layout: Layout, root: Path) -> Contents:
    """A data set of the table in :mod:`~dho_prompt.data.layouts.table`.

    Args:
        layout: its row.
        root: the folder of the data sets.

    Raises:
        FileNotFoundError, ValueError: something is missing or wrong; the message says what, and how to get it.
    """
    if layout is IMAGENET:
        return read_imagenet(layout, root)
    return read_shifted(layout, root) if layout in SHIFTED else read_with_split(layout, root)
