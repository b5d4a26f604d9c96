"""Which runs belong together: results grouped by what may be compared and what may be averaged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dho_prompt.tables.alike import check_alike
from dho_prompt.tables.results import Result
from dho_prompt.tables.settings import with_settings, without_settings

ALONE = ", labeled only"
RIVALS = {  # objectives other than DHO as Table 1 calls them, in its order
    "caspl": "CasPL",
    "kd": "KD (logit)",
    "kd_feature": "KD (feature)",
    "ce_kd_feature": "CE+KD (feature)",
    "ce_kd": "CE+KD (logit)",
    "sskd": "SSKD",
    "dhkd": "DHKD",
}
DHO = "DHO"  # end of the names of trainers with the pathway
IN_FULL = "Finetune"  # trains a whole network; its rows belong together with those of the same network
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
    runs: dict[str, list[Result]]


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
    """The trainer, its objective if not DHO, whether it had the labelled images alone (Table 13), and its settings."""
    alone = "teacher" in result and result["split"] is not None and result["split"]["unlabelled"] == 0
    name, objective = result["trainer"], result.get("objective", "dho")
    if "teacher" not in result and name.endswith(DHO):  # TRAINER.DHO.OBJECTIVE ce
        name = name[: -len(DHO)]
    elif any(isinstance(node, dict) and node.get("BOOST") for node in result["config"].get("TRAINER", {}).values()):
        name += f", {RIVALS['caspl']}"
    elif objective in RIVALS:
        name = f"{name[: -len(DHO)] if name.endswith(DHO) else name}, {RIVALS[objective]}"
    return with_settings(name + (ALONE if alone else ""), result)


def host_name(name: str) -> str:
    """The plain method of a row: ``CoOp`` of ``CoOpDHO, labeled only`` and of ``CoOp, CE+KD (logit)``."""
    name = _rival(name)[0]
    return name[: -len(DHO)] if name.endswith(DHO) else name


def rival_number(name: str) -> int | None:
    """Which of :data:`RIVALS` a row is of; None for a plain method and for DHO."""
    place = _rival(name)[1]
    return place - 1 if 0 < place <= len(RIVALS) else None


def labelled_alone(name: str) -> bool:
    """Whether a row is of runs with DHO, or another objective, on labelled images alone."""
    return without_settings(name).endswith(ALONE)


def _rival(name: str) -> tuple[str, int]:
    """A row's name without objective, images and settings, and its objective's place: plain, rivals, DHO."""
    name = without_settings(name)
    name = name[: -len(ALONE)] if name.endswith(ALONE) else name
    for place, objective in enumerate(RIVALS.values(), start=1):
        if name.endswith(f", {objective}"):
            return name[: -len(f", {objective}")], place
    return name, len(RIVALS) + 1 if name.endswith(DHO) else 0


def row_order(name: str) -> tuple[str, int, bool]:
    """Plain method, rival objectives, with DHO on labelled images alone, with DHO: as Tables 1 and 13 have them."""
    return host_name(name), _rival(name)[1], not labelled_alone(name)


def set_name(name: str, config: dict[str, Any]) -> str:
    """A data set as its reader knows it: a folder of one's own by the folder's name, a class without its module."""
    if name == OWN_FOLDER:
        return os.path.basename(_folder(config)) or name
    return name.rpartition(":")[2]


def compared(results: Sequence[Result]) -> list[Group]:
    """The groups, by data set, the fewest labelled images first.

    Raises:
        ValueError: runs that would share a row differ in more than their seed, or a seed stands twice.
    """
    groups: dict[tuple[Any, ...], dict[str, list[Result]]] = {}
    for result in sorted(results, key=_order):
        rows = groups.setdefault((*_identity(result), labelled_by(result)), {})
        rows.setdefault(row_name(result), []).append(result)
    for rows in groups.values():
        for name, runs in rows.items():
            check_alike(name, runs)
    datasets = _names({key[:-1]: next(iter(rows.values()))[0] for key, rows in groups.items()})
    return [
        Group(datasets[key[:-1]], key[-1], {name: rows[name] for name in sorted(rows, key=row_order)})
        for key, rows in groups.items()
    ]


def _shots(result: Result) -> int:
    """Of the training: an evaluation may have been started without them."""
    trained = result.get("evaluated", {}).get("trained_on", {}).get("NUM_SHOTS")
    return result["shots"] if trained is None else trained


def _order(result: Result) -> tuple[Any, ...]:
    dataset, shots = result["config"].get("DATASET", {}), _shots(result)
    how = (bool(dataset.get("LABELED_LIST")), dataset.get("LABELED_PERCENT") or 0.0)
    return (*_identity(result), *how, shots if shots > 0 else float("inf"), result["seed"])


def _folder(config: dict[str, Any]) -> str:
    """DATASET.FOLDER, which may be relative to DATASET.ROOT, or DATASET.ROOT itself."""
    dataset = config.get("DATASET", {})
    return os.path.normpath(os.path.join(dataset.get("ROOT") or "", os.path.expanduser(dataset.get("FOLDER") or "")))


def _identity(result: Result) -> tuple[str, str, str, str, str, str]:
    """What sets tables apart: name, own folder, classes; name and classes of the training; network trained in full."""
    dataset = result["config"].get("DATASET", {})
    trained = result.get("evaluated", {}).get("trained_on", {})
    network = ""
    if host_name(result["trainer"]) == IN_FULL:
        network = result["config"].get("MODEL", {}).get("BACKBONE", {}).get("NAME", "")
    name, classes = result["dataset"], dataset.get("SUBSAMPLE_CLASSES") or "all"
    # below DATASET.ROOT, which may be another on another machine; without it the folder's own name
    given = dataset.get("FOLDER")
    folder = os.path.normpath(given) if given else os.path.basename(_folder(result["config"]))
    folder = folder if name == OWN_FOLDER else ""
    return name, folder, classes, trained.get("NAME") or name, trained.get("SUBSAMPLE_CLASSES") or classes, network


def _names(first: dict[tuple[Any, ...], Result]) -> dict[tuple[Any, ...], str]:
    """Identity -> name in words; what would be called the same is called by its full name."""
    short = {identity: _in_words(identity, set_name(identity[0], run["config"])) for identity, run in first.items()}
    full = {identity: _in_words(identity, identity[1] or identity[0]) for identity in first}
    networks = {
        identity: f"{name}, {identity[-1]} in full" if identity[-1] else name for identity, name in full.items()
    }
    for longer in (full, networks):
        called = list(short.values())
        short = {i: name if called.count(name) == 1 else longer[i] for i, name in short.items()}
    return short


def _in_words(identity: tuple[Any, ...], name: str) -> str:
    _, _, classes, trained_name, trained_classes, _ = identity
    name += "" if classes == "all" else f", {classes} classes"
    parts = [trained_name] if trained_name != identity[0] else []
    parts += [f"{trained_classes} classes"] if trained_classes != classes else []
    return f"{name} (trained on {', '.join(parts)})" if parts else name
