"""Tables as curves over the number of labelled images: what DHO gains, and below it the accuracies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dho_prompt.tables.figure import GAIN_AXIS
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
from dho_prompt.tables.rows import MEAN, MEASURES, OWN_SETS, Row, Table, main_rows, mean_and_spread
from dho_prompt.tables.sheet import NORMAL, SMALL, Sheet, save, wrapped

Curve = list[tuple[int, Row]]  # (labelled images per class, row), shots rising
WIDE, HIGH, LEFT, GAP = 3.7, 2.0, 0.95, 0.6  # inches of a panel, left of the first and between two


def draw_shots(tables: Sequence[Table], path: Path) -> Path:
    """Save :func:`figure_over_shots` as a .png, .svg or .pdf file, atomically."""
    return save(figure_over_shots(tables), path)


def has_shots(tables: Sequence[Table]) -> bool:
    """Whether some data set has tables of several numbers of shots with a test set in common."""
    return bool(tables_over_shots(tables))


def figure_over_shots(tables: Sequence[Table]) -> Any:
    """Curves over shots (Figs. 5 and 6): above the gains by DHO, below the accuracies.

    For each data set its own test set and, if there are any, the mean of the shifted sets (or the one shifted set).

    Args:
        tables: some of them of the same data set with different numbers of shots, see :func:`has_shots`.
    """
    datasets = tables_over_shots(tables)
    look = looks([table for found in datasets for table in found])
    most = max(len(columns_over_shots(found)) for found in datasets)
    sheet = Sheet(LEFT + WIDE * most + GAP * (most - 1))
    for found in datasets:
        sheet.title(f"{found[0].dataset}, {_seeds(found)}")
        kinds, shown = ["gain", "run"] if _curves(found, "gain") else ["run"], columns_over_shots(found)
        for kind in kinds:
            first, last = kind == kinds[0], kind == kinds[-1]
            above, below = 0.2 if first else 0.05, 0.5 if last else 0.1
            panels = sheet.row(len(shown), LEFT, GAP, HIGH, above, below)
            _line_of_panels(panels, found, kind, shown, look)
            for panel, name in zip(panels, shown):
                if first:
                    panel.set_title(wrapped(set_title(name), WIDE, NORMAL), fontsize=NORMAL)
                if last:
                    panel.set_xlabel("labelled images per class", fontsize=NORMAL)
                else:
                    panel.tick_params(labelbottom=False)
    rows = [row for found in datasets for table in found for row in table.rows]
    return add_legend(sheet, look, rows, brackets=tables[0].brackets)


def tables_over_shots(tables: Sequence[Table]) -> list[list[Table]]:
    """The tables of each data set that has several numbers of shots, the fewest first."""
    found: dict[str, list[Table]] = {}
    for table in tables:
        if re.fullmatch(r"\d+ shots?", table.labelled):
            found.setdefault(table.dataset, []).append(table)
    return [sorted(made, key=_shots) for made in found.values() if len(made) > 1 and columns_over_shots(made)]


def columns_over_shots(tables: Sequence[Table]) -> list[str]:
    """At most two: the run's own test set, and what speaks for the shifted ones."""
    common = [name for name in tables[0].columns if all(name in table.columns for table in tables)]
    shifted = [name for name in common if name not in OWN_SETS]
    return [name for name in common if name in OWN_SETS] + ([MEAN] if MEAN in shifted else shifted[:1])


def _shots(table: Table) -> int:
    return int(table.labelled.split()[0])


def _seeds(tables: Sequence[Table]) -> str:
    words = list(dict.fromkeys(map(seeds_in_words, tables)))
    return words[0] if len(words) == 1 else "not the same seeds for all shots"


def _curves(tables: Sequence[Table], kind: str) -> dict[str, Curve]:
    """Method -> its curve of gains or of its own values."""
    found: dict[str, Curve] = {}
    for table in tables:
        gains = {row.method: row for row in table.rows if row.kind == "gain"}
        for method, row in (gains if kind == "gain" else main_rows(table.rows)).items():
            found.setdefault(method, []).append((_shots(table), row))
    return {method: sorted(curve, key=lambda point: point[0]) for method, curve in found.items()}


def _line_of_panels(panels: Sequence[Any], tables: list[Table], kind: str, columns: list[str], look: Any) -> None:
    """Gains have the same ends in all panels, which show 0; accuracies have their own."""
    curves, measure = _curves(tables, kind), tables[0].measure
    ends = {
        name: [end for curve in curves.values() for _, row in curve for end in reach(row, name, kind == "gain")]
        for name in columns
    }
    every = sorted(set(map(_shots, tables)))
    for panel, name in zip(panels, columns):
        for number, (method, curve) in enumerate(curves.items()):
            # side by side, within a third of an octave, so that lines of spread do not hide each other
            aside = 2 ** (min(0.09, 0.33 / len(curves)) * (number - (len(curves) - 1) / 2))
            _curve(panel, curve, name, look[method], aside, dots=kind == "gain")
        if kind == "gain":
            panel.axhline(0, color="black", linewidth=0.8, zorder=1)
            panel.set_ylim(*limits([0.0, *(end for found in ends.values() for end in found)], 1.0))
        else:
            panel.set_ylim(*limits(ends[name], 2.0, percent=True))
            percent_ticks(panel.yaxis, panel.get_ylim())
        panel.set_xscale("log", base=2)
        panel.set_xlim(every[0] / 1.5, every[-1] * 1.5)
        panel.set_xticks(every, map(str, every))
        panel.minorticks_off()
        finish(panel)
    label = GAIN_AXIS[measure] if kind == "gain" else MEASURES[measure]
    panels[0].set_ylabel(wrapped(label, HIGH, SMALL), fontsize=SMALL)


def _curve(panel: Any, curve: Curve, column: str, look: Look, aside: float, dots: bool) -> None:
    places = [shots * aside for shots, _ in curve]
    found = [mean_and_spread(row.values[column]) for _, row in curve]
    shape = {"color": look.colour, "marker": look.marker, "markerfacecolor": look.face, "markersize": 5, "zorder": 3}
    dashed = "--" if look.face == "white" else "-"
    panel.plot(places, [mean for mean, _ in found], linestyle=dashed, linewidth=1.2, **shape)
    for place, (mean, spread), (_, row) in zip(places, found, curve):
        if spread is not None:
            panel.plot([place] * 2, [mean - spread, mean + spread], color=look.colour, linewidth=1.3, zorder=2)
            if dots:
                values = row.values[column]
                panel.plot([place * 1.035] * len(values), values, ".", color=look.colour, markersize=3, zorder=2)
