"""Tables as pictures: what DHO gains on each test set, and beside it the accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dho_prompt.tables.look import (
    Look,
    add_legend,
    finish,
    limits,
    looks,
    percent_ticks,
    reach,
    seeds_in_words,
    set_title,
)
from dho_prompt.tables.rows import MEAN, MEASURES, Row, Table, main_rows, mean_and_spread
from dho_prompt.tables.sheet import EDGE, NORMAL, SMALL, Sheet, inches_of, save, wrapped

GAIN_AXIS = {
    "accuracy": "gain in accuracy over the plain method (points)",
    "ece": "change of ECE from the plain method (below 0 is better)",
}
WIDTH, HALF_WIDTH, NAMES = 9.0, 6.5, 1.6  # inches: with gains, without, of the sets' names
SLOT = 0.17  # inches of a method within a test set


def draw(tables: Sequence[Table], path: Path) -> Path:
    """Save :func:`figure_of` as a .png, .svg or .pdf file, atomically."""
    return save(figure_of(tables), path)


def figure_of(tables: Sequence[Table]) -> Any:
    """Test sets from top to bottom, each with a line for each method; one strip per table.

    Left the gains by DHO over the same method without it: zero line, mean and sample standard deviation over paired
    seeds, single seeds as dots. Right the accuracies of the methods; a black stroke is the paper's figure. A table
    without gains has the right panel alone. Axes of the same kind have the same ends in all strips.

    Args:
        tables: at least one, of one measure.
    """
    look, gains = looks(tables), [_gains(table) for table in tables]
    names = [_set_names(table) for table in tables]
    left = EDGE + 0.1 + max(inches_of(line, SMALL) for found in names for name in found for line in name.split("\n"))
    ends = _ends(tables, gains)
    sheet = Sheet(WIDTH if any(gains) else HALF_WIDTH)
    for table, found, sets in zip(tables, gains, names):
        sheet.title(f"{table.title}, {seeds_in_words(table)}")
        panels = sheet.row(2 if found else 1, left, 0.2, _height(table, sets), above=0, below=0.52)
        if found:
            _gain_panel(panels[0], table, found, look, ends[0])
        _accuracy_panel(panels[-1], table, look, ends[1])
        panels[0].set_yticks(range(len(sets)), sets, fontsize=SMALL)
        for panel in panels[1:]:
            panel.set_yticks([])
    drawn = [row for table, found in zip(tables, gains) for row in [*main_rows(table.rows).values(), *found.values()]]
    return add_legend(sheet, look, drawn, any(map(_papers, tables)), tables[0].brackets)


def _gains(table: Table) -> dict[str, Row]:
    return {row.method: row for row in table.rows if row.kind == "gain"}


def _height(table: Table, names: Sequence[str]) -> float:
    """Inches that hold a slot for each method in each set, and the longest name of a set."""
    lines = max(1 + name.count("\n") for name in names)
    each = max(0.14 + SLOT * len(main_rows(table.rows)), lines * SMALL * 1.35 / 72)
    return max(len(names) * each, 0.55)


def _ends(tables: Sequence[Table], gains: Sequence[dict[str, Row]]) -> list[tuple[float, float]]:
    """Of the axes of gains, which show 0, and of the axes of the measure."""
    differences = [
        end for found in gains for row in found.values() for column in row.values for end in reach(row, column, True)
    ]
    rows = [row for table in tables for row in [*main_rows(table.rows).values(), *_papers(table).values()]]
    values = [end for row in rows for column in row.values for end in reach(row, column, False)]
    return [limits([0.0, *differences], 1.0), limits(values, 2.0, percent=True)]


def _papers(table: Table) -> dict[str, Row]:
    return {row.method: row for row in table.rows if row.kind == "paper" and row.method}


def _places(table: Table) -> dict[tuple[str, str], float]:
    """(column, method) -> height; sets are 1 apart and fill 0.8 of that."""
    methods = list(main_rows(table.rows))
    return {
        (column, method): number + 0.8 * ((slot + 0.5) / len(methods) - 0.5)
        for number, column in enumerate(table.columns)
        for slot, method in enumerate(methods)
    }


def _gain_panel(
    panel: Any, table: Table, gains: dict[str, Row], look: dict[str, Look], ends: tuple[float, float]
) -> None:
    places = _places(table)
    below = 0.8 * 0.3 / len(main_rows(table.rows))
    panel.axvline(0, color="black", linewidth=0.8, zorder=1)
    for method, row in gains.items():
        for column in table.columns:
            place = places[column, method]
            _mark(panel, row, column, place, look[method])
            if len(row.seeds) > 1:
                dots = row.values[column]
                panel.plot(dots, [place + below] * len(dots), ".", color=look[method].colour, markersize=3, zorder=2)
    panel.set_xlim(*ends)
    panel.set_xlabel(GAIN_AXIS[table.measure], fontsize=NORMAL)
    _bands(panel, table)


def _accuracy_panel(panel: Any, table: Table, look: dict[str, Look], ends: tuple[float, float]) -> None:
    places, papers = _places(table), _papers(table)
    for method, row in main_rows(table.rows).items():
        for column in table.columns:
            _mark(panel, row, column, places[column, method], look[method])
            if column in papers.get(method, row).values and method in papers:
                stroke = {"color": "black", "marker": "|", "markersize": 9, "markeredgewidth": 1.5, "zorder": 4}
                panel.plot(papers[method].values[column], [places[column, method]], **stroke)
    panel.set_xlim(*ends)
    percent_ticks(panel.xaxis, ends)
    panel.set_xlabel(MEASURES[table.measure], fontsize=NORMAL)
    _bands(panel, table)


def _mark(panel: Any, row: Row, column: str, place: float, look: Look) -> None:
    """The mean, and a line of one standard deviation to both sides where there are several seeds."""
    mean, spread = mean_and_spread(row.values[column])
    if spread is not None:
        panel.plot([mean - spread, mean + spread], [place] * 2, color=look.colour, linewidth=1.3, zorder=2)
    edge = {"markeredgecolor": look.colour, "markerfacecolor": look.face, "markersize": 5}
    panel.plot([mean], [place], look.marker, zorder=3, **edge)


def _bands(panel: Any, table: Table) -> None:
    """Every other set on grey, the mean of the shifted sets below a line."""
    for number in range(0, len(table.columns) - 1, 2):
        panel.axhspan(number - 0.5, number + 0.5, color="0.95", linewidth=0, zorder=0)
    if MEAN in table.columns:
        panel.axhline(len(table.columns) - 1.5, color="0.6", linewidth=0.8, zorder=1)
    panel.set_ylim(len(table.columns) - 0.5, -0.5)
    finish(panel)
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)


def _set_names(table: Table) -> list[str]:
    return [wrapped(set_title(name), NAMES, SMALL) for name in table.columns]
