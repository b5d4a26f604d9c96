"""From a host's few-shot pickle to a text file for DATASET.LABELED_LIST."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dho_prompt.data.choose.host_pickle import read_few_shot
from dho_prompt.data.layouts.table import LAYOUTS
from dho_prompt.files import atomic_write


def write_list(pickle: Path, folder: Path | None = None) -> Path:
    """Write the training images of a pickle, one name a line, as ``<name of the pickle>.txt``.

    Args:
        pickle: see :func:`~dho_prompt.data.choose.host_pickle.read_few_shot`.
        folder: of the list; default that of the pickle.

    Returns:
        The list.

    Raises:
        FileNotFoundError, ValueError: those of the reader, and a name that holds a line break.
        OSError: the list cannot be written.
    """
    parts = read_few_shot(pickle)
    names = short_names([image.path for image in parts["train"]])
    broken = [name for name in names if name != " ".join(name.splitlines())]
    if broken:
        raise ValueError(f"{pickle} names {broken[0]!r}; a list has a line for each image, and this one holds a break")
    target = (pickle.parent if folder is None else folder) / f"{pickle.stem}.txt"
    text = "".join(f"{name}\n" for name in names)
    try:
        atomic_write(target, lambda file: file.write(text.encode()))
    except OSError as error:
        raise OSError(
            f"{target} cannot be written ({error.__cause__ or error}); name another folder with --to"
        ) from error
    val = f" (its {len(parts['val'])} validation images are left out)" if parts.get("val") else ""
    print(f"{target}: {len(names)} labelled images{val}; use it with DATASET.LABELED_LIST {target}")
    return target


def short_names(paths: Sequence[str]) -> list[str]:
    """The ends of paths of another machine, from the data set's folder on.

    The folders are CoOp's, such as ``oxford_pets/images``; paths of other data sets lose the folder that all share.
    """
    paths = [path if "/" in path else path.replace("\\", "/") for path in paths]  # of Windows too
    for layout in LAYOUTS:
        inside = f"/{layout.folder}/{layout.images}/" if layout.images else f"/{layout.folder}/"
        if all(inside in path for path in paths):
            return [inside[1:] + path.rpartition(inside)[2] for path in paths]
    shared = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [os.path.relpath(path, shared) for path in paths]
