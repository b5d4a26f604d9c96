"""Rows that are told apart by their settings, as in an ablation: ``FinetuneDHO [linear, language]``."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from dho_prompt.config.settings import flat
from dho_prompt.tables.results import Result

LACKING = "-"  # stands for a setting that a run does not use: TRAINER.DHO's of a plain method


def told_apart(results: Sequence[Result], keys: Sequence[str]) -> list[Result]:
    """Results with the values of some keys of their configurations under ``by``, which become a part of their rows.

    Args:
        results: contents of result files.
        keys: of the configuration, such as ``TRAINER.DHO.HEAD``; runs that differ in one have rows of their own.

    Raises:
        ValueError: no run has a setting of that name, or a key stands twice.
    """
    leaves = [dict(flat(run["config"])) for run in results]
    known = sorted(set().union(*leaves))
    for key in keys:
        if key not in known:
            near = ", ".join(difflib.get_close_matches(key, known, n=3)) or "no other"
            raise ValueError(f"--by {key}: no run has a setting of that name; near it is {near}")
        if list(keys).count(key) > 1:
            raise ValueError(f"--by {key} is given twice")
    return [
        {**run, "by": {key: found[key] if key in found and _used(key, run) else LACKING for key in keys}}
        for run, found in zip(results, leaves)
    ]


def with_settings(name: str, result: Result) -> str:
    """The name of a result's row: behind it the values of the keys that rows are told apart by, if any."""
    values = result.get("by", {}).values()
    return f"{name} [{', '.join(map(_in_words, values))}]" if values else name


def without_settings(name: str) -> str:
    """What :func:`with_settings` was given."""
    return name.partition(" [")[0]


def agree(first: Result, second: Result) -> bool:
    """Whether two runs have the same values of the keys that rows are told apart by, as far as both use them."""
    other = second.get("by", {})
    return all(
        LACKING in (value, other.get(key, LACKING)) or other[key] == value for key, value in first.get("by", {}).items()
    )


def legend_of(result: Result) -> str:
    """What stands in the brackets of rows; empty without brackets."""
    return f"In brackets: {', '.join(result['by'])}." if result.get("by") else ""


def _used(key: str, result: Result) -> bool:
    """Every trainer's settings stand in a configuration; the pathway's say nothing of a run without it."""
    return "teacher" in result or not key.startswith("TRAINER.DHO.")


def _in_words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return " ".join(map(_in_words, value)) or LACKING
    return str(value) if value != "" else LACKING
