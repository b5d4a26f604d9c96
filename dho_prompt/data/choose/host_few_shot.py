"""The labelled images of CoOp's few-shot protocol, image by image: its pickle, or the draw that would make it."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dho_prompt.data.choose.host_pickle import Named, read_few_shot
from dho_prompt.data.choose.splits import namer
from dho_prompt.data.layouts.contents import some
from dho_prompt.files import PathLike


class HostFolder(NamedTuple):
    """A data set's folder in CoOp's layout.

    Args:
        path: the folder, with ``split_fewshot`` in it.
        ordered: whether a file gives the order of the training images. A host that lists folders takes them in the
            order of the disk, which no other machine has.
    """

    path: Path
    ordered: bool


def host_few_shot(
    items: Sequence[Any], shots: int, seed: int, root: PathLike, folder: HostFolder
) -> tuple[list[Any], str]:
    """The images that CoOp labels for so many shots and that seed, in its order.

    Args:
        items: all training images of all classes, objects with ``impath`` and ``label``, in the order of the split.
        shots: images per class, 1 or more.
        seed: the run's seed.
        root: the folder that the names are relative to.
        folder: the data set's.

    Returns:
        The images, and where the choice comes from, in words.

    Raises:
        FileNotFoundError: there is no pickle, and the draw cannot be repeated.
        ValueError: the pickle is not one, or does not fit the images.
    """
    path = folder.path / "split_fewshot" / f"shot_{shots}-seed_{seed}.pkl"
    if path.is_file():
        return _found(items, read_few_shot(path)["train"], shots, root, path), f"the images of {path}"
    if not folder.ordered or seed < 0:
        raise FileNotFoundError(
            f"there is no {path}, which DATASET.SPLIT_FEWSHOT coop reads. Copy it from a checkout of CoOp that has run "
            "with these shots and this seed, or set DATASET.SPLIT_FEWSHOT ours. (The draw can be repeated without it "
            "for a seed of 0 or more and a data set whose split file gives the order of the images; ImageNet's are "
            "drawn in the order in which one disk lists them.)"
        )
    how = f"the {shots} images per class that CoOp draws with seed {seed} (there is no {path})"
    return draw_as_dassl(items, shots, seed), how


def draw_as_dassl(items: Sequence[Any], shots: int, seed: int) -> list[Any]:
    """What Dassl's ``generate_fewshot_dataset`` draws right after Python's ``random`` was seeded.

    Python's global stream is left alone.

    Args:
        items: objects with ``label``; their order and that of the labels' first appearance matter.
        shots: images per class; a class with fewer gives all.
        seed: of the run.
    """
    stream = random.Random(seed)
    by_label: dict[int, list[Any]] = defaultdict(list)
    for item in items:
        by_label[item.label].append(item)
    drawn: list[Any] = []
    for members in by_label.values():
        drawn += stream.sample(members, shots) if len(members) >= shots else members
    return drawn


def _found(items: Sequence[Any], wanted: Sequence[Named], shots: int, root: PathLike, path: Path) -> list[Any]:
    """The items that a pickle names by paths of another machine; the end of a path says which image it is."""
    bases = {_base(image.path) for image in wanted}
    candidates: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    name_of = namer(root)
    for item in items:
        if _base(item.impath) in bases:
            candidates[_base(item.impath)].append((name_of(item.impath), item))
    chosen, absent, other = [], [], []
    for image in wanted:
        whole = f"/{image.path}".replace("\\", "/")
        hits = [hit for hit in candidates[_base(image.path)] if whole.endswith(f"/{hit[0]}")]
        if not hits:
            absent.append(image.path)
            continue
        item = max(hits, key=lambda hit: len(hit[0]))[1]
        chosen.append(item)
        if item.label != image.label:
            other.append(f"{image.path} (label {image.label}, here {item.label})")
    _refuse(path, f"are not among the training images below {root}", absent)
    _refuse(path, "have another class there", other)
    times = Counter(item.impath for item in chosen)
    _refuse(path, "are named more than once", [name for name, count in times.items() if count > 1])
    counts = Counter(item.label for item in chosen)
    _refuse(path, f"are beyond {shots} of their class", [i.impath for i in chosen if counts[i.label] > shots])
    return chosen


def _base(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _refuse(path: Path, what: str, names: Sequence[str]) -> None:
    if names:
        raise ValueError(f"{path}: {len(names)} of its training images {what}: {some(names)}")
