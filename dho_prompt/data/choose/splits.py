"""Which images are labelled: a choice that depends on the seed and the file names alone, and its record."""

from __future__ import annotations

import hashlib
import heapq
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Callable

from dho_prompt.data.choose.image_names import pack_names, unpack_names
from dho_prompt.files import PathLike, read_json, write_json


def relative_name(impath: PathLike, root: PathLike) -> str:
    """``impath`` below ``root`` with forward slashes, so that names agree between machines."""
    return namer(root)(impath)


def namer(root: PathLike) -> Callable[[PathLike], str]:
    """:func:`relative_name` for many files of one ``root``."""
    folder = os.path.join(os.fspath(root), "")

    def name_of(impath: PathLike) -> str:
        name = os.fspath(impath)
        if os.sep == "/" and name.startswith(folder) and "//" not in name and "/./" not in name:
            return name[len(folder) :]  # pathlib takes seconds for a million names
        path = Path(name)
        try:
            return path.relative_to(root).as_posix()
        except ValueError:
            return path.as_posix()

    return name_of


def few_shot(items: Iterable[Any], shots: int, seed: int, root: PathLike) -> list[Any]:
    """Draw ``shots`` images per class.

    Within a class, images are ranked by the SHA-256 of ``seed/relative name`` and the first ``shots`` are taken. So
    the draw needs no random generator, does not depend on the order of the files or on other classes, is the same on
    every machine and version, and a 1-shot set is contained in the 4-shot set of the same seed.

    Args:
        items: objects with ``impath`` and ``label``.
        shots: images per class; below 1 returns all items, as Dassl does. A class with fewer images gives all.
        seed: the run's seed.
        root: the folder that the names are relative to.

    Returns:
        The drawn items, ordered by label and name.
    """
    items = list(items)
    if shots < 1:
        return items
    by_label: dict[int, list[Any]] = defaultdict(list)
    for item in items:
        by_label[item.label].append(item)
    name_of, start = namer(root), f"{seed}/".encode()
    drawn = []
    for label in sorted(by_label):
        members = by_label[label]
        names = [name_of(item.impath) for item in members]
        ranks = [hashlib.sha256(start + name.encode()).digest() for name in names]
        last = heapq.nsmallest(shots, ranks)[-1]  # so that few are sorted by more than their rank
        near = [place for place, rank in enumerate(ranks) if rank <= last]
        first = sorted((ranks[place], names[place], place) for place in near)[:shots]
        drawn.extend(members[place] for _, _, place in sorted(first, key=lambda entry: entry[1]))
    return drawn


def split_record(labelled: Sequence[Any], pool: Sequence[Any], root: PathLike) -> dict[str, Any]:
    """Describe a labelled set and its unlabelled pool.

    Args:
        labelled: items with ``impath`` and ``label``.
        pool: items of the unlabelled pool (their labels are not read), possibly empty.
        root: the folder that the names are relative to.

    Returns:
        ``{"hash", "labelled_hash", "labelled": count, "images": groups, "unlabelled_hash", "unlabelled": count}``. The
        labelled images are named in groups, see :func:`~dho_prompt.data.choose.image_names.pack_names`. The hashes are
        SHA-256 (first 16 hex digits) over the sorted names, ``hash`` over both sets.
    """
    name_of = namer(root)
    pool_hash = _sha256(sorted(name_of(item.impath) for item in pool))
    named = sorted((name_of(item.impath), item.label) for item in labelled)
    labelled_hash = _sha256(f"{name}\t{label}" for name, label in named)
    return {
        "hash": _sha256([labelled_hash, pool_hash])[:16],
        "labelled_hash": labelled_hash[:16],
        "labelled": len(named),
        "images": pack_names(named),
        "unlabelled_hash": pool_hash[:16],
        "unlabelled": len(pool),
    }


def labelled_images(record: dict[str, Any]) -> list[tuple[str, int]]:
    """Names and labels of the labelled images of a record, in order."""
    return list(unpack_names(record["images"]))


def read_record(path: PathLike) -> dict[str, Any]:
    """A :func:`split_record` that was kept, whichever version wrote it.

    Raises:
        ValueError: the file is damaged.
    """
    entries = {"hash": str, "labelled_hash": str, "labelled": (int, list), "unlabelled_hash": str, "unlabelled": int}
    record = read_json(path, entries, "delete it if the data have not changed since: it is made anew")
    if isinstance(record["labelled"], list):  # once every image had an entry of its own
        images = pack_names(sorted((name, label) for name, label in record["labelled"]))
        record = {**record, "labelled": len(record["labelled"]), "images": images}
    return record


def keep_split(path: PathLike, record: dict[str, Any]) -> str:
    """Save a :func:`split_record`, or compare it with the one saved by the interrupted run that is resumed.

    Returns:
        The split's hash.

    Raises:
        ValueError: the data changed since the run began, or the file is damaged.
    """
    path = Path(path)
    if path.exists():
        before = read_record(path)
        if before["hash"] != record["hash"]:
            raise ValueError(
                f"the images changed since this run began: {path} names split {before['hash']} with "
                f"{before['labelled']} labelled and {before['unlabelled']} unlabelled images, the data now give "
                f"{record['hash']} with {record['labelled']} and {record['unlabelled']}. Restore the data, or "
                "start a new run in another output folder"
            )
    else:
        write_json(path, record)
    return record["hash"]


def _sha256(lines: Iterable[str]) -> str:
    """Of the lines, each with a line feed behind it; many are hashed at a time."""
    digest, lines = hashlib.sha256(), iter(lines)
    while part := list(islice(lines, 4096)):
        digest.update("".join(f"{line}\n" for line in part).encode())
    return digest.hexdigest()


def share_images(first: Sequence[Any] | None, second: Sequence[Any] | None) -> bool:
    """Whether two parts of a data set, lists of items with ``impath``, have an image in common."""
    if not first or not second:
        return False
    return first is second or not {item.impath for item in first}.isdisjoint(item.impath for item in second)
