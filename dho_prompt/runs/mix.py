"""Alpha and beta of a run: whether they are searched, and which an evaluation takes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from dho_prompt.files import PathLike, read_json
from dho_prompt.runs.folder import CONFIG, MIX, RESULTS, read_config


def searches(search: str, has_val: bool, val_is_test: bool, taught: bool = True) -> bool:
    """Whether alpha and beta are to be chosen on the validation set (``search``: TRAINER.DHO.SEARCH).

    ``taught``: whether the KD head is trained at all, which with lambda 1 it is not; ``auto`` then searches nothing.
    With ``on`` also where that is the test set; nothing is then chosen on it, and the record says so.
    """
    return search == "on" or (search == "auto" and taught and has_val and not val_is_test)


def why_fixed(search: str, has_val: bool, val_is_test: bool, taught: bool = True) -> str:
    """Why alpha and beta are not searched although SEARCH is not ``off``; "" if they are, or it is."""
    if search == "off":
        return ""
    if val_is_test:
        return "the validation set is the test set, so nothing is searched on it"
    if search == "auto" and not taught:
        return "the KD head is not trained"
    return "" if has_val else "there is no validation set to search on"


def read_mix(path: PathLike) -> dict[str, Any]:
    """How the heads of a run are mixed: ``alpha``, ``beta`` and how they were ``chosen``.

    Raises:
        ValueError: the file is damaged, or its numbers mean nothing.
    """
    remedy = f"delete it and {RESULTS}, and run the training command again: both are made anew"
    mix = read_json(path, {"alpha": (int, float), "beta": (int, float), "chosen": str}, remedy)
    if not (0 <= mix["alpha"] <= 1 and 0 < mix["beta"] < math.inf):
        raise ValueError(f"{path} has alpha {mix['alpha']} and beta {mix['beta']}, which is no mix; {remedy}")
    return mix


def stored_mix(folder: PathLike, dho: Any) -> dict[str, Any] | None:
    """What an evaluation of a trained run mixes the heads with, and a line about it.

    Args:
        folder: output folder of the run.
        dho: TRAINER.DHO of the evaluation. SEARCH off takes its ALPHA and BETA, on the mix of the run; auto the latter
            too, unless ALPHA and BETA are others than those that the run was given.

    Returns:
        The mix; None for ALPHA and BETA.

    Raises:
        FileNotFoundError: SEARCH is on, but the run has no such file.
    """
    path = Path(folder) / MIX
    if dho.SEARCH == "off":
        return None
    if not path.exists():
        if dho.SEARCH == "auto":
            print(f"{folder} has no {MIX}: alpha and beta are those of the configuration")
            return None
        raise FileNotFoundError(
            f"TRAINER.DHO.SEARCH is on, but {folder} has no {MIX} with what its run searched; "
            "TRAINER.DHO.SEARCH off evaluates with TRAINER.DHO.ALPHA and BETA"
        )
    mix = read_mix(path)
    if dho.SEARCH == "auto" and (Path(folder) / CONFIG).exists():
        trained = read_config(folder)["TRAINER"].get("DHO", {})
        given = {key: float(dho[key]) for key in ("ALPHA", "BETA")}
        if any(trained.get(key, given[key]) != given[key] for key in given):
            return None
    print(f"alpha {mix['alpha']} and beta {mix['beta']} of {path} ({mix['chosen']})")
    return mix
