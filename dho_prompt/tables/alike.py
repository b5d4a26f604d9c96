"""Which runs may be averaged: those that differ in nothing but their seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dho_prompt.config import differences
from dho_prompt.runs.folder import binding
from dho_prompt.tables.results import Result, where


def check_alike(name: str, runs: Sequence[Result]) -> None:
    """Raise a ValueError unless the runs of the row ``name`` differ in their seeds alone."""
    numbers = [result["seed"] for result in runs]
    twice = sorted({seed for seed in numbers if numbers.count(seed) > 1})
    if twice:
        same = [result for result in runs if result["seed"] == twice[0]]
        files = ", ".join(result["file"] for result in same if "file" in result)
        first, *others = (_without_seed(result["config"]) for result in same)
        changed = [line for other in others for line in differences(first, other)]
        raise ValueError(
            f"{name}: seed {twice[0]} has several results{f' ({files})' if files else ''}; name folders that hold one "
            f"run per seed (one TAG, one config){_own_rows(changed, runs)}"
        )
    first = _without_seed(runs[0]["config"])
    for other in runs[1:]:
        changed = differences(first, _without_seed(other["config"]))
        if changed:
            raise ValueError(
                f"{name}: {where(runs[0])} and {where(other)} are runs of different configurations and are not "
                f"averaged: {'; '.join(changed[:5])}{_own_rows(changed, runs)}"
            )


def _own_rows(changed: Sequence[str], runs: Sequence[Result]) -> str:
    """How runs whose settings differ, as :func:`dho_prompt.config.differences` says, get rows of their own."""
    keys = dict.fromkeys(line.partition(":")[0] for line in changed)
    keys = [key for key in keys if key not in runs[0].get("by", ())]
    return f". A row for each setting: python -m dho_prompt.report ... --by {' '.join(keys)}" if keys else ""


def _without_seed(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in binding(config).items() if key != "SEED"}
