"""What a table of results consists of: rows of values by test set and seed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

HEADS = {"blend": "", "fixed": " (fixed mix)", "ce": " (CE head)", "kd": " (KD head)"}
OWN_SETS = ("test", "val")  # what TEST.SPLIT calls the images of the run's own data set
MEAN = "mean shifted"
LOWER = ", lower is better"
MEASURES = {"accuracy": "accuracy (%)", "ece": f"ECE (%, 15 bins{LOWER})"}


class Row(NamedTuple):
    """One predictor, or a difference of two.

    Attributes:
        name: what stands before it.
        values: column -> one value per seed, seeds rising; percent, or points.
        kind: ``run``; ``gain`` of DHO over its host; ``paper``; ``difference`` of ours to the paper.
        method: the row of runs that it belongs to.
        seeds: that the values are of; () for the paper's figures.
    """

    name: str
    values: dict[str, list[float]]
    kind: str = "run"
    method: str = ""
    seeds: tuple[int, ...] = ()

    @property
    def signed(self) -> bool:
        return self.kind in ("gain", "difference")


class Table(NamedTuple):
    """One comparison: the runs of one data set and one choice of labelled images.

    Attributes:
        dataset, labelled: what the runs were trained on.
        measure: a key of :data:`MEASURES`.
        columns: test sets; those with fewer classes than the model say among how many their images were scored.
        rows: see :class:`Row`.
        protocol: one line per method: backbone, seeds, epochs, images, teacher, mix, splits, engine.
        notes: what else the reader must know.
        brackets: what stands in brackets behind the names of rows; empty if nothing does.
    """

    dataset: str
    labelled: str
    measure: str
    columns: list[str]
    rows: list[Row]
    protocol: list[str]
    notes: list[str]
    brackets: str = ""

    @property
    def title(self) -> str:
        return f"{self.dataset}, {self.labelled}"


def main_rows(rows: Sequence[Row]) -> dict[str, Row]:
    """Method -> its own prediction: the blend, or its only head. Single heads beside a blend are left out."""
    found: dict[str, Row] = {}
    for row in rows:  # the first row of a method
        if row.kind == "run":
            found.setdefault(row.method, row)
    return found


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; the latter is None for a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def seed_count(table: Table) -> int | None:
    """How many seeds all values of runs are of; None if they differ."""
    counts = {len(values) for row in table.rows if row.kind == "run" for values in row.values.values()}
    return counts.pop() if len(counts) == 1 else None
