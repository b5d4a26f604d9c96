"""Which images are labelled: a choice that depends on the seed and the file names alone, and its record."""

from __future__ import annotations

import hashlib
import heapq
import os
from collections import defaultdict
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

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


def few_shot(items: Iterable[Any], shots: int, seed: int, root: PathLike) -> List[Any]:
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
    by_label: Dict[int, List[Any]] = defaultdict(list)
    for item in items:
        by_label[item.label].append(item)
    name_of = namer(root)

    def rank(item: Any) -> Tuple[bytes, str, Any]:
        name = name_of(item.impath)
        return hashlib.sha256(f"{seed}/{name}".encode()).digest(), name, item

    drawn = []
    for label in sorted(by_label):
        ranked = heapq.nsmallest(shots, map(rank, by_label[label]), key=lambda entry: entry[:2])
        drawn.extend(item for _, _, item in sorted(ranked, key=lambda entry: entry[1]))
    return drawn


def split_record(labelled: Sequence[Any], pool: Sequence[Any], root: PathLike) -> Dict[str, Any]:
    """Describe a labelled set and its unlabelled pool.

    Args:
        labelled: items with ``impath`` and ``label``.
        pool: items of the unlabelled pool (their labels are not read), possibly empty.
        root: the folder that the names are relative to.

    Returns:
        ``{"hash", "labelled_hash", "labelled": [[name, label], ...], "unlabelled_hash", "unlabelled": count}``. The
        hashes are SHA-256 (first 16 hex digits) over the sorted names, ``hash`` over both sets.
    """
    name_of = namer(root)
    names = sorted((name_of(item.impath), item.label) for item in labelled)
    pool_hash = _sha256(sorted(name_of(item.impath) for item in pool))
    labelled_hash = _sha256(f"{name}\t{label}" for name, label in names)
    return {
        "hash": _sha256([labelled_hash, pool_hash])[:16],
        "labelled_hash": labelled_hash[:16],
        "labelled": [[name, label] for name, label in names],
        "unlabelled_hash": pool_hash[:16],
        "unlabelled": len(pool),
    }


def read_record(path: PathLike) -> Dict[str, Any]:
    """A :func:`split_record` that was kept.

    Raises:
        ValueError: the file is damaged.
    """
    entries = {"hash": str, "labelled_hash": str, "labelled": list, "unlabelled_hash": str, "unlabelled": int}
    return read_json(path, entries, "delete it if the data have not changed since: it is made anew")


def keep_split(path: PathLike, record: Dict[str, Any]) -> str:
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
                f"{len(before['labelled'])} labelled and {before['unlabelled']} unlabelled images, the data now give "
                f"{record['hash']} with {len(record['labelled'])} and {record['unlabelled']}. Restore the data, or "
                "start a new run in another output folder"
            )
    else:
        write_json(path, record)
    return record["hash"]


def _sha256(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def share_images(first: Optional[Sequence[Any]], second: Optional[Sequence[Any]]) -> bool:
    """Whether two parts of a data set, lists of items with ``impath``, have an image in common."""
    if not first or not second:
        return False
    return first is second or not {item.impath for item in first}.isdisjoint(item.impath for item in second)
