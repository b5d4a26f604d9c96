"""Whether a run may get more epochs in its own folder: only where those it has done would have been the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from dho_prompt.engine.schedules import rates_by_epoch

EPOCHS = "OPTIM.MAX_EPOCH"
# what an OPTIM node that lacks the key does
_DEFAULTS = {"SCHEDULE_BY": "epoch", "EMA": 0.0}


def is_longer(changed: list[str], before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether two configurations differ in the number of epochs alone, and the second has more.

    Args:
        changed: lines of their differences (:func:`dho_prompt.config.differences`).
        before, after: the configurations as nested dicts.
    """
    only = [line.split(":")[0] for line in changed] == [EPOCHS]
    return only and after["OPTIM"]["MAX_EPOCH"] > before["OPTIM"]["MAX_EPOCH"]


def why_not_longer(before: dict[str, Any], after: dict[str, Any], fixed: str = "") -> str:
    """Why the epochs of a run would have been others in a longer one; "" where they are the same.

    Args:
        before, after: configurations as nested dicts that differ in OPTIM.MAX_EPOCH alone.
        fixed: what of the trainer itself depends on the number of epochs, in words.
    """
    done, optim = before["OPTIM"]["MAX_EPOCH"], {**_DEFAULTS, **after["OPTIM"]}
    if fixed:
        return fixed
    if optim["EMA"]:
        return f"OPTIM.EMA {optim['EMA']} has put the average of its {done} epochs in the place of the weights"
    if optim["SCHEDULE_BY"] == "iteration":
        return "OPTIM.SCHEDULE_BY iteration spreads the learning rates over all epochs"
    rates = [rates_by_epoch(SimpleNamespace(**settings["OPTIM"])) for settings in (before, after)]
    base = optim["LR"]
    if any(rates[0](epoch, base) != rates[1](epoch, base) for epoch in range(done)):
        return f"OPTIM.LR_SCHEDULER {optim['LR_SCHEDULER']} spreads the learning rates over all epochs"
    return ""
