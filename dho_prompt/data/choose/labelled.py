"""How many and which training images are labelled: shots per class, a host's choice, a percentage, a list of names."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Callable

from dho_prompt.data.choose.host_few_shot import HostFolder, host_few_shot
from dho_prompt.data.choose.splits import few_shot, namer
from dho_prompt.data.layouts.contents import some
from dho_prompt.data.layouts.text import is_missing, numbered_lines
from dho_prompt.files import PathLike

KEYS = ("DATASET.NUM_SHOTS", "DATASET.LABELED_PERCENT", "DATASET.LABELED_LIST")


def low_shot(items: Sequence[Any], percent: float, seed: int, root: PathLike) -> list[Any]:
    """Draw ``percent`` % of all images, spread over the classes as evenly as possible (the paper's 1 % and 10 %).

    The total is rounded down: 12,811 of ImageNet's 1,281,167 images for 1 %, 128,116 for 10 %, as in the lists of
    SimCLR (Chen et al., 2020). Class sizes differ by one at most, except that a class with too few images gives all it
    has; which classes have the odd image follows from a hash of seed and label. Within a class the images are those of
    :func:`~dho_prompt.data.choose.splits.few_shot`, so a smaller percentage is contained in a larger one of the same
    seed.

    Args:
        items: objects with ``impath`` and ``label``.
        percent: above 0, at most 100.
        seed: the run's seed.
        root: the folder that the names are relative to.

    Raises:
        ValueError: ``percent`` is out of range, or so small that no image is left.
    """
    if not 0 < percent <= 100:
        raise ValueError(f"DATASET.LABELED_PERCENT is {percent}; it must lie above 0 and at most at 100 (0.0 is off)")
    total = int(len(items) * Fraction(str(percent)) / 100)
    if total == 0:
        raise ValueError(f"DATASET.LABELED_PERCENT {percent} of {len(items)} training images is less than one image")
    by_label: dict[int, list[Any]] = defaultdict(list)
    for item in items:
        by_label[item.label].append(item)
    shares = _even_shares({label: len(members) for label, members in by_label.items()}, total, seed)
    return [
        item
        for label in sorted(by_label)
        if shares[label]
        for item in few_shot(by_label[label], shares[label], seed, root)
    ]


def _even_shares(sizes: dict[int, int], total: int, seed: int) -> dict[int, int]:
    """How many images each label gives: all classes rise together until ``total`` is reached or they are used up."""
    level = 0
    while sum(min(size, level + 1) for size in sizes.values()) <= total and level < max(sizes.values()):
        level += 1
    shares = {label: min(size, level) for label, size in sizes.items()}
    odd = total - sum(shares.values())
    larger = [label for label, size in sizes.items() if size > level]
    for label in sorted(larger, key=lambda label: (_hash(f"{seed}/class {label}"), label))[:odd]:
        shares[label] += 1
    return shares


def listed(items: Sequence[Any], path: PathLike, root: PathLike) -> list[Any]:
    """The images that a text file names, one a line, ordered by label and name.

    A line is a base name (``n01440764_10026.JPEG``, as in SimCLR's lists) or a path whose end says which image it is:
    relative to the image folder (``train/n01440764/n01440764_10026.JPEG``) or to any folder above it
    (``imagenet/images/train/...``), or as much of that as tells the images apart. Empty lines are passed over.

    Args:
        items: objects with ``impath`` and ``label``.
        path: the text file.
        root: the folder that the names in messages are relative to.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it names an image that is not there, one that two folders hold, or one twice; or it is empty.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"the list of labelled images {path} {is_missing(path)} (DATASET.LABELED_LIST)")
    lines = [line for _, line in numbered_lines(path)]
    if not lines:
        raise ValueError(f"{path} names no image (DATASET.LABELED_LIST)")
    wanted = {_base(line) for line in lines}
    candidates: dict[str, list[Any]] = defaultdict(list)
    for item in items:
        base = _base(item.impath)
        if base in wanted:
            candidates[base].append(item)
    name_of = namer(root)
    found = [_matches(line, candidates, name_of) for line in lines]
    _refuse(path, f"not among the training images below {root}", [line for line, hits in zip(lines, found) if not hits])
    _refuse(
        path,
        "in more than one folder (write them as paths)",
        [
            f"{line} ({', '.join(name_of(item.impath) for item in hits)})"
            for line, hits in zip(lines, found)
            if len(hits) > 1
        ],
    )
    chosen = [(name_of(item.impath), item) for (item,) in found]
    times = Counter(name for name, _ in chosen)
    _refuse(path, "named more than once", [name for name, count in times.items() if count > 1])
    return [item for _, item in sorted(chosen, key=lambda entry: (entry[1].label, entry[0]))]


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _matches(line: str, candidates: dict[str, list[Any]], name_of: Callable[[PathLike], str]) -> list[Any]:
    """The items whose path ends like the line, or the one whose name is the line."""
    line = line[2:] if line.startswith("./") else line
    hits = [item for item in candidates.get(_base(line), []) if f"/{item.impath}".endswith(f"/{line}")]
    exact = [item for item in hits if name_of(item.impath) == line]
    return exact or hits


def _refuse(path: Path, what: str, names: list[str]) -> None:
    if names:
        raise ValueError(f"{path} has {len(names)} lines whose images are {what}: {some(names)}")


def choose_labelled(
    items: Sequence[Any], cfg: Any, root: PathLike, host: HostFolder | None = None
) -> tuple[list[Any], str]:
    """The labelled images that ``cfg`` asks for, and how they were chosen, in words.

    Args:
        items: objects with ``impath`` and ``label``; those of all classes where :func:`names_images` says so.
        cfg: the configuration.
        root: the folder that file names are relative to.
        host: the data set's folder, if it is one of CoOp's.

    Raises:
        ValueError: more than one of the keys is set, or one does not fit the images.
    """
    node = cfg.DATASET
    check_one_way(cfg)
    if node.LABELED_LIST:
        path = node.LABELED_LIST.replace("{seed}", str(cfg.SEED))
        chosen = listed(items, path, root)
        return chosen, f"the {len(chosen)} images of {path}"
    if node.LABELED_PERCENT:
        chosen = low_shot(items, node.LABELED_PERCENT, cfg.SEED, root)
        return chosen, f"{node.LABELED_PERCENT:g} % of {len(items)} training images"
    if _is_hosts(cfg):
        if host is None:
            raise ValueError(
                f"DATASET.SPLIT_FEWSHOT is coop, but {node.NAME} is none of the data sets that CoOp has; set it to ours"
            )
        chosen, how = host_few_shot(items, node.NUM_SHOTS, cfg.SEED, root, host)
        print(f"Labelled are {how}")
        return chosen, how
    chosen = few_shot(items, node.NUM_SHOTS, cfg.SEED, root)
    return chosen, f"{node.NUM_SHOTS} images per class" if node.NUM_SHOTS > 0 else "all training images"


def names_images(cfg: Any) -> bool:
    """Whether the labelled images are named one by one, and so may be of classes that SUBSAMPLE_CLASSES leaves out."""
    return bool(cfg.DATASET.LABELED_LIST) or _is_hosts(cfg)


def _is_hosts(cfg: Any) -> bool:
    """Whether CoOp's few-shot images are asked for; without shots all images are labelled, in CoOp too."""
    return cfg.DATASET.get("SPLIT_FEWSHOT", "ours") == "coop" and cfg.DATASET.NUM_SHOTS > 0


def check_one_way(cfg: Any) -> None:
    """Raise a ValueError if more than one of NUM_SHOTS, LABELED_PERCENT and LABELED_LIST is set."""
    node = cfg.DATASET
    values = (max(node.NUM_SHOTS, 0), node.LABELED_PERCENT, node.LABELED_LIST)
    given = [f"{key} {value}" for key, value in zip(KEYS, values) if value]
    if len(given) > 1:
        raise ValueError(
            f"{' and '.join(given)} are both ways to choose the labelled images; set one (off: NUM_SHOTS -1, which "
            "'all' in place of the shots gives the scripts; LABELED_PERCENT 0.0; LABELED_LIST '')"
        )


def check_labels(cfg: Any, dataset: Any, needed: bool = True) -> None:
    """Say which classes have no labelled image, or fewer than DATASET.NUM_SHOTS.

    That is a note in the log and not an error: a small percentage of the images leaves classes without labels (the
    teacher still knows them), and that small classes give all they have is Dassl's rule.

    Args:
        dataset: Dassl's, of the run.
        needed: whether labels are trained on.

    Raises:
        ValueError: they are, and all are of one class among several, which teaches nothing.
    """
    names, counts = dataset.lab2cname, Counter(item.label for item in dataset.train_x)
    without = [names.get(label, f"label {label}") for label in range(dataset.num_classes) if label not in counts]
    if needed and len(counts) == 1 and without:
        raise ValueError(
            f"the labelled images ({getattr(dataset, 'labelled_by', '') or 'all'}) are of one class alone, "
            f"{names[next(iter(counts))]}: the other {len(without)} classes have none ({some(without)}), so there is "
            f"nothing to tell apart; label images of more classes ({', '.join(KEYS)})"
        )
    if without:
        print(f"Note: {len(without)} of {dataset.num_classes} classes have no labelled image: {some(without)}")
    shots = cfg.DATASET.NUM_SHOTS
    small = [f"{names.get(label, label)} ({count})" for label, count in sorted(counts.items()) if count < shots]
    if small:
        print(f"Note: {len(small)} classes have fewer than {shots} images and give all they have: {some(small)}")


def all_labelled(cfg: Any) -> Any:
    """A copy of ``cfg`` that asks for every training image."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASET.NUM_SHOTS, cfg.DATASET.LABELED_PERCENT, cfg.DATASET.LABELED_LIST = -1, 0.0, ""
    return cfg


def refuse_ignored_choice(cfg: Any, dataset: Any) -> None:
    """Refuse a data set class, such as a host's own, that would pass over LABELED_PERCENT or LABELED_LIST.

    Raises:
        ValueError: one of the two is set, and ``dataset`` does not say how its labelled images were chosen.
    """
    given = [key for key in KEYS[1:] if cfg.DATASET.get(key.partition(".")[2])]
    if given and not getattr(dataset, "labelled_by", ""):
        raise ValueError(
            f"{given[0]} is set, but the data set {cfg.DATASET.NAME} ({type(dataset).__module__}) does not read it; "
            "use DATASET.NUM_SHOTS, or dho_prompt's own data set of that name"
        )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
