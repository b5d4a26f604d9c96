"""The paper's figures as rows beside ours, where the two are of the same experiment; else a line on what differs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from dho_prompt.tables.groups import Group
from dho_prompt.tables.paper import SETS, SOURCE, ZERO_SHOT, comparison, of_the_student
from dho_prompt.tables.results import Result
from dho_prompt.tables.rows import MEAN, Row, main_rows
from dho_prompt.tables.settings import without_settings


def beside_the_paper(
    rows: Sequence[Row], group: Group, columns: Sequence[str], sets: dict[str, str]
) -> tuple[list[Row], list[str]]:
    """Rows of the paper and of ours minus the paper's, and sentences on what was not compared.

    Args:
        rows: ours, with their means over shifted sets.
        group: the runs.
        columns: of the table.
        sets: column -> test set.
    """
    main, found = main_rows(rows), []
    reasons: dict[str, list[str]] = {}
    for method, seeds in group.runs.items():
        theirs = comparison(without_settings(method), group.labelled, seeds)
        if theirs is None:
            continue
        if theirs.differs:
            reasons.setdefault(", ".join(theirs.differs), []).append(method)
            continue
        paper = _values(theirs.accuracy, seeds[0], columns, sets)
        if not paper:  # tested on none of the paper's sets
            continue
        ours = {column: statistics.fmean(main[method].values[column]) for column in paper}
        found.append(Row(f"{method}, paper", {column: [value] for column, value in paper.items()}, "paper", method))
        found.append(
            Row(f"{method}, ours - paper", {c: [ours[c] - value] for c, value in paper.items()}, "difference", method)
        )
    if "ZeroshotCLIP" not in group.runs and all(of_the_student(seeds[0]) for seeds in group.runs.values()):
        seeds = next(iter(group.runs.values()))
        values = _values(dict(zip(SETS, ZERO_SHOT.accuracy)), seeds[0], columns, sets)
        if values:
            found.insert(0, Row("zero-shot CLIP, paper", {c: [value] for c, value in values.items()}, "paper"))
    notes = [f"Paper: {SOURCE}."] if found else []
    if reasons:
        told = "; ".join(f"{' and '.join(methods)}: {why}" for why, methods in reasons.items())
        notes.append(f"Not compared with the paper's Table 13: {told}.")
    return found, notes


def _values(theirs: dict[str, float], run: Result, columns: Sequence[str], sets: dict[str, str]) -> dict[str, float]:
    """By our columns; the paper's ImageNet-A and -R are of 200 classes, so not beside ours of 1000."""
    values = {}
    for column in columns:
        name = sets.get(column)
        classes = run.get("classes", {}).get(name, {})
        if name in theirs and classes.get("own") == classes.get("scored"):
            values[column] = theirs[name]
    shifted = [column for column in columns if column != MEAN and sets[column] != SETS[0]]
    if MEAN in columns and all(column in values for column in shifted):
        values[MEAN] = statistics.fmean(values[column] for column in shifted)
    return values
