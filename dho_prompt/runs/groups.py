"""Which runs belong together: result files, read and grouped by what may be compared and what may be averaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence, Tuple

from dho_prompt.config import differences
from dho_prompt.files import PathLike
from dho_prompt.runs.folder import RESULTS, binding, read_result

Result = Dict[str, Any]  # the content of a result file
ALONE = ", labeled only"


def read_results(folders: Iterable[PathLike], file: str = RESULTS) -> List[Result]:
    """All result files below the folders.

    Args:
        folders: at any depth.
        file: ``results.json`` of finished runs, or the name that an evaluation has written.

    Raises:
        FileNotFoundError: there is none.
        ValueError: one is damaged or no result.
    """
    folders = [Path(folder) for folder in folders]
    paths = sorted({path for folder in folders for path in folder.rglob(file)})
    if not paths:
        hint = "no run there is finished; run its training command again, it resumes"
        if file != RESULTS:
            hint = "no run there has that evaluation; scripts/ood_eval.sh makes it"
        raise FileNotFoundError(f"no {file} below {', '.join(map(str, folders))}: {hint}")
    return [read_result(path) for path in paths]


def labelled_by(result: Result) -> str:
    """How a run's labelled images were chosen: ``16 shots``, ``1 %``, the name of a list, or ``all labelled``."""
    dataset = result["config"].get("DATASET", {})
    if dataset.get("LABELED_LIST"):
        return f"labelled by {Path(dataset['LABELED_LIST']).name}"
    if dataset.get("LABELED_PERCENT"):
        return f"{dataset['LABELED_PERCENT']:g} %"
    shots = result["shots"]
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


def compared(results: Sequence[Result]) -> Dict[Tuple[str, str], Dict[str, List[Result]]]:
    """(data set, how labelled) -> row -> its runs, seeds rising.

    Raises:
        ValueError: runs that would share a row differ in more than their seed, or a seed stands twice.
    """
    groups: Dict[Tuple[str, str], Dict[str, List[Result]]] = {}
    for result in sorted(results, key=_order):
        rows = groups.setdefault((_dataset(result), labelled_by(result)), {})
        rows.setdefault(row_name(result), []).append(result)
    for rows in groups.values():
        for name, runs in rows.items():
            _check_alike(name, runs)
    return {key: {name: rows[name] for name in sorted(rows, key=row_order)} for key, rows in groups.items()}


def _order(result: Result) -> Tuple[Any, ...]:
    dataset = result["config"].get("DATASET", {})
    how = (bool(dataset.get("LABELED_LIST")), dataset.get("LABELED_PERCENT") or 0.0)
    return (_dataset(result), *how, result["shots"] if result["shots"] > 0 else float("inf"), result["seed"])


def _dataset(result: Result) -> str:
    trained_on = result.get("evaluated", {}).get("trained_on", {}).get("NAME") or result["dataset"]
    return result["dataset"] if trained_on == result["dataset"] else f"{result['dataset']} (trained on {trained_on})"


def _check_alike(name: str, runs: Sequence[Result]) -> None:
    numbers = [result["seed"] for result in runs]
    twice = sorted({seed for seed in numbers if numbers.count(seed) > 1})
    if twice:
        raise ValueError(
            f"{name}: seed {twice[0]} has several results; name folders that hold one run per seed (one TAG, one "
            "config)"
        )
    first = _without_seed(runs[0]["config"])
    for other in runs[1:]:
        changed = differences(first, _without_seed(other["config"]))
        if changed:
            raise ValueError(
                f"{name}: seeds {runs[0]['seed']} and {other['seed']} are runs of different configurations and are not "
                f"averaged: {'; '.join(changed[:5])}"
            )


def _without_seed(config: Dict[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in binding(config).items() if key != "SEED"}
