"""Reading result files: whether each is one, was tested at all, and holds numbers that can be averaged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dho_prompt.files import PathLike
from dho_prompt.runs.folder import AGAIN, EVALUATION, RESULTS, read_result

Result = dict[str, Any]  # the content of a result file, and under "file" where it lies
NEEDED = ("split", "epochs", "device", "engine", "versions")  # for a table, beside what every result has


def read_results(folders: Iterable[PathLike], file: str = RESULTS) -> list[Result]:
    """All result files below the folders, in the folders' order.

    Args:
        folders: at any depth.
        file: ``results.json`` of finished runs, or the name that an evaluation has written.

    Raises:
        FileNotFoundError: there is none.
        ValueError: one is damaged, is no result, or has a test set without images or numbers; the message names it.
    """
    folders = [Path(folder) for folder in folders]
    paths = list(dict.fromkeys(path for folder in folders for path in sorted(folder.rglob(file))))
    if not paths:
        hint = "no run there is finished; run its training command again, it resumes"
        if file != RESULTS:
            hint = "no run there has that evaluation; scripts/ood_eval.sh makes it"
        raise FileNotFoundError(f"no {file} below {', '.join(map(str, folders))}: {hint}")
    results = []
    for path in paths:
        result = read_result(path)
        _check(result, path)
        results.append({**result, "file": str(path)})
    return results


def by_tested(results: Sequence[Result]) -> tuple[list[Result], list[Result]]:
    """The runs that were tested on some set, and those that were not (TEST.NO_TEST True)."""
    return [run for run in results if run["accuracy"]], [run for run in results if not run["accuracy"]]


def untested_message(results: Sequence[Result]) -> str:
    """One sentence on runs that hold no accuracies, and how they get some."""
    return (
        f"not tested (TEST.NO_TEST True): {', '.join(map(where, results))}. "
        f"`python -m dho_prompt.evaluate RUN TEST.NO_TEST False` tests such a run, and `--file {EVALUATION}` reports it"
    )


def where(result: Result) -> str:
    """The folder of a result, or in words what it is."""
    return str(Path(result["file"]).parent) if "file" in result else f"{result['trainer']}, seed {result['seed']}"


def _check(result: Result, path: Path) -> None:
    """What :func:`dho_prompt.runs.folder.read_result` leaves open: every test set counts here."""
    missing = [key for key in NEEDED if key not in result]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}, so nothing can be said of it; {AGAIN}")
    for measure in ("accuracy", "ece"):
        for name, found in result.get(measure, {}).items():
            if found.get("images") == 0:
                raise ValueError(
                    f"{path}: {name} was tested on 0 images, which says nothing. Give the set its images and test the "
                    "run again, or leave the set out of TEST.SHIFTED_SETS"
                )
            for head, value in found.items():
                if not (isinstance(value, (int, float)) and math.isfinite(value)):
                    raise ValueError(
                        f"{path}: {measure} of {name} ({head}) is {value}, which is no number; test the run again"
                    )
