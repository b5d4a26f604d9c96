"""Which runs belong together: results grouped by what may be compared and what may be averaged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from dho_prompt.config import differences
from dho_prompt.runs.folder import binding
from dho_prompt.tables.results import Result, where

ALONE = ", labeled only"
OWN_FOLDER = "ImageFolder"  # DATASET.NAME of a folder of one's own


class Group(NamedTuple):
    """Runs that may be compared: one data set, one choice of labelled images.

    Attributes:
        dataset: in words; two data sets have two names.
        labelled: how the labelled images were chosen, see :func:`labelled_by`.
        runs: row -> its runs, seeds rising.
    """

    dataset: str
    labelled: str
    runs: Dict[str, List[Result]]


def labelled_by(result: Result) -> str:
    """How a run's labelled images were chosen: ``16 shots``, ``1 %``, the name of a list, or ``all labelled``."""
    dataset = result["config"].get("DATASET", {})
    if dataset.get("LABELED_LIST"):
        return f"labelled by {Path(dataset['LABELED_LIST']).name}"
    if dataset.get("LABELED_PERCENT"):
        return f"{dataset['LABELED_PERCENT']:g} %"
    shots = _shots(result)
    return f"{shots} shot{'s' if shots > 1 else ''}" if shots > 0 else "all labelled"


def row_name(result: Result) -> str:
    """The trainer, and whether it had the labelled images alone (the middle rows of Table 13)."""
    alone = "mix" in result and result["split"] is not None and result["split"]["unlabelled"] == 0
    return result["trainer"] + (ALONE if alone else "")


def host_name(name: str) -> str:
    """The plain method of a row: ``CoOp`` of ``CoOpDHO, labeled only``."""
    name = name[: -len(ALONE)] if name.endswith(ALONE) else name
    return name[: -len("DHO")] if name.endswith("DHO") else name


def row_order(name: str) -> Tuple[str, bool, bool]:
    """Plain method, with DHO on labelled images alone, with DHO: as Table 13 has them."""
    return host_name(name), name != host_name(name), not name.endswith(ALONE)


def set_name(name: str, config: Dict[str, Any]) -> str:
    """A data set as its reader knows it: a folder of one's own by the folder's name, a class without its module."""
    if name == OWN_FOLDER:
        return os.path.basename(_folder(config)) or name
    return name.rpartition(":")[2]


def compared(results: Sequence[Result]) -> List[Group]:
    """The groups, by data set, the fewest labelled images first.

    Raises:
        ValueError: runs that would share a row differ in more than their seed, or a seed stands twice.
    """
    groups: Dict[Tuple[Any, ...], Dict[str, List[Result]]] = {}
    for result in sorted(results, key=_order):
        rows = groups.setdefault((*_identity(result), labelled_by(result)), {})
        rows.setdefault(row_name(result), []).append(result)
    for rows in groups.values():
        for name, runs in rows.items():
            _check_alike(name, runs)
    datasets = _names({key[:-1]: next(iter(rows.values()))[0] for key, rows in groups.items()})
    return [
        Group(datasets[key[:-1]], key[-1], {name: rows[name] for name in sorted(rows, key=row_order)})
        for key, rows in groups.items()
    ]


def _shots(result: Result) -> int:
    """Of the training: an evaluation may have been started without them."""
    trained = result.get("evaluated", {}).get("trained_on", {}).get("NUM_SHOTS")
    return result["shots"] if trained is None else trained


def _order(result: Result) -> Tuple[Any, ...]:
    dataset, shots = result["config"].get("DATASET", {}), _shots(result)
    how = (bool(dataset.get("LABELED_LIST")), dataset.get("LABELED_PERCENT") or 0.0)
    return (*_identity(result), *how, shots if shots > 0 else float("inf"), result["seed"])


def _folder(config: Dict[str, Any]) -> str:
    """DATASET.FOLDER, which may be relative to DATASET.ROOT, or DATASET.ROOT itself."""
    dataset = config.get("DATASET", {})
    return os.path.normpath(os.path.join(dataset.get("ROOT") or "", os.path.expanduser(dataset.get("FOLDER") or "")))


def _identity(result: Result) -> Tuple[str, str, str, str, str]:
    """What makes two data sets two: name, own folder, classes; name and classes that the model was trained on."""
    dataset = result["config"].get("DATASET", {})
    trained = result.get("evaluated", {}).get("trained_on", {})
    name, classes = result["dataset"], dataset.get("SUBSAMPLE_CLASSES") or "all"
    # below DATASET.ROOT, which may be another on another machine; without it the folder's own name
    given = dataset.get("FOLDER")
    folder = os.path.normpath(given) if given else os.path.basename(_folder(result["config"]))
    folder = folder if name == OWN_FOLDER else ""
    return name, folder, classes, trained.get("NAME") or name, trained.get("SUBSAMPLE_CLASSES") or classes


def _names(first: Dict[Tuple[Any, ...], Result]) -> Dict[Tuple[Any, ...], str]:
    """Identity -> name in words; what would be called the same is called by its full name."""
    short = {identity: _in_words(identity, set_name(identity[0], run["config"])) for identity, run in first.items()}
    full = {identity: _in_words(identity, identity[1] or identity[0]) for identity in first}
    called = list(short.values())
    return {identity: name if called.count(name) == 1 else full[identity] for identity, name in short.items()}


def _in_words(identity: Tuple[Any, ...], name: str) -> str:
    _, _, classes, trained_name, trained_classes = identity
    name += "" if classes == "all" else f", {classes} classes"
    parts = [trained_name] if trained_name != identity[0] else []
    parts += [f"{trained_classes} classes"] if trained_classes != classes else []
    return f"{name} (trained on {', '.join(parts)})" if parts else name


def _check_alike(name: str, runs: Sequence[Result]) -> None:
    numbers = [result["seed"] for result in runs]
    twice = sorted({seed for seed in numbers if numbers.count(seed) > 1})
    if twice:
        files = ", ".join(result["file"] for result in runs if result["seed"] == twice[0] and "file" in result)
        raise ValueError(
            f"{name}: seed {twice[0]} has several results{f' ({files})' if files else ''}; name folders that hold one "
            "run per seed (one TAG, one config)"
        )
    first = _without_seed(runs[0]["config"])
    for other in runs[1:]:
        changed = differences(first, _without_seed(other["config"]))
        if changed:
            raise ValueError(
                f"{name}: {where(runs[0])} and {where(other)} are runs of different configurations and are not "
                f"averaged: {'; '.join(changed[:5])}"
            )


def _without_seed(config: Dict[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in binding(config).items() if key != "SEED"}
