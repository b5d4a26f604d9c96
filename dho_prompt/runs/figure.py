"""Tables as pictures: bars over test sets, lines over the number of shots."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from dho_prompt.files import atomic_write
from dho_prompt.runs.table import HEADS, MEAN, MEASURES, Row, Table

COLOURS = ("#7f7f7f", "#5aa469", "#d1495b", "#30638e", "#edae49", "#7b5ea7", "#00798c", "#8d5b4c")


def draw(tables: Sequence[Table], path: Path) -> Path:
    """Bars: one panel per table, one group of bars per test set, whiskers of one standard deviation.

    The single heads of a method stand beside it in lighter shades of its colour; a short line across a bar is the
    paper's figure for it.

    Args:
        tables: at least one, of one measure.
        path: a .png, .svg or .pdf file, written atomically.
    """
    colours = _colours(tables)
    figure, panels = _panels(len(tables), 1, (1.5 + 1.6 * max(len(table.columns) for table in tables), 3.0))
    for panel, table in zip(panels, tables):
        rows = [row for row in table.rows if row.kind == "run"]
        width = 0.84 / len(rows)
        paper = {row.method: row.values for row in table.rows if row.kind == "paper"}
        for number, row in enumerate(rows):
            means, spreads = _statistics([row.values[name] for name in table.columns])
            places = [column - 0.42 + width * (number + 0.5) for column in range(len(table.columns))]
            look = {"color": colours[row.name], "label": row.name, "capsize": 1.5, "error_kw": {"linewidth": 0.7}}
            panel.bar(places, means, width * 0.94, yerr=spreads, **look)
            if row.name == row.method:
                for place, column in zip(places, table.columns):
                    if column in paper.get(row.method, {}):
                        ends = (place - width / 2, place + width / 2)
                        panel.plot(ends, paper[row.method][column] * 2, color="black", linewidth=1.2, label="paper")
        panel.margins(x=0.02)
        panel.set_xticks(range(len(table.columns)), [name.replace(" (", "\n(") for name in table.columns])
        _finish(panel, table.title, table.measure)
    _legend(figure, panels)
    return _save(figure, path)


def draw_shots(tables: Sequence[Table], path: Path) -> Path:
    """Lines: accuracy against the number of shots (Figs. 5 and 6), bands of one standard deviation.

    One row of panels per data set: its test set and, if there is one, the mean of the shifted sets.

    Args:
        tables: some of them of the same data set with different numbers of shots, see :func:`has_shots`.
        path: a .png, .svg or .pdf file, written atomically.
    """
    datasets = _by_dataset(tables)
    columns = [
        name for name in ("test", MEAN) if all(name in table.columns for _, found in datasets for table in found)
    ]
    figure, panels = _panels(len(datasets), len(columns), (4.2, 3.0))
    colours = _colours(tables)
    for number, (dataset, found) in enumerate(datasets):
        for column, panel in zip(columns, panels[number * len(columns) :]):
            _lines(panel, found, column, colours)
            _finish(panel, f"{dataset}, {column}", found[0].measure)
            panel.set_xlabel("labelled images per class")
    _legend(figure, panels)
    return _save(figure, path)


def has_shots(tables: Sequence[Table]) -> bool:
    """Whether some data set has tables of several numbers of shots."""
    return bool(_by_dataset(tables))


def _by_dataset(tables: Sequence[Table]) -> List[Tuple[str, List[Table]]]:
    found: Dict[str, List[Table]] = {}
    for table in tables:
        if re.fullmatch(r"\d+ shots?", table.labelled):
            found.setdefault(table.dataset, []).append(table)
    return [(dataset, made) for dataset, made in found.items() if len(made) > 1]


def _lines(panel: Any, tables: Sequence[Table], column: str, colours: Dict[str, Any]) -> None:
    lines: Dict[str, List[Tuple[int, List[float]]]] = {}
    for table in tables:
        for row in table.rows:
            if row.kind == "run" and not _head(row):
                lines.setdefault(row.name, []).append((int(table.labelled.split()[0]), row.values[column]))
    for name, points in lines.items():
        shots = [shots for shots, _ in points]
        means, spreads = _statistics([values for _, values in points])
        panel.plot(shots, means, marker="o", markersize=4, color=colours[name], label=name)
        low, high = ([mean + sign * spread for mean, spread in zip(means, spreads)] for sign in (-1, 1))
        panel.fill_between(shots, low, high, color=colours[name], alpha=0.15, linewidth=0)
    every = sorted({shots for points in lines.values() for shots, _ in points})
    panel.set_xscale("log", base=2)
    panel.set_xticks(every, map(str, every))
    panel.minorticks_off()


def _statistics(values: Sequence[Sequence[float]]) -> Tuple[List[float], List[float]]:
    means = [statistics.fmean(seeds) for seeds in values]
    return means, [statistics.stdev(seeds) if len(seeds) > 1 else 0.0 for seeds in values]


def _head(row: Row) -> str:
    """`` (CE head)`` or `` (KD head)`` for the row of a single head, "" for a method's own."""
    return next((suffix for suffix in HEADS.values() if suffix and row.name.endswith(suffix)), "")


def _colours(tables: Sequence[Table]) -> Dict[str, Tuple[float, ...]]:
    """A colour per method, the same in all panels; its heads in lighter shades."""
    from matplotlib.colors import to_rgb

    rows = [row for table in tables for row in table.rows if row.kind == "run"]
    methods = list(dict.fromkeys(row.method for row in rows))
    white = {HEADS["ce"]: 0.45, HEADS["kd"]: 0.7}
    found = {}
    for row in rows:
        light = white.get(_head(row), 0.0)
        base = to_rgb(COLOURS[methods.index(row.method) % len(COLOURS)])
        found[row.name] = tuple(part + (1 - part) * light for part in base)
    return found


def _panels(rows: int, columns: int, size: Tuple[float, float]) -> Tuple[Any, List[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1] * rows + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _finish(panel: Any, title: str, measure: str) -> None:
    panel.set_title(title, fontsize=10)
    panel.set_ylabel(MEASURES[measure])
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def _legend(figure: Any, panels: Sequence[Any]) -> None:
    """One legend for all panels, below them, in lines of three."""
    entries = {label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels())}
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside lower center",
        ncols=min(3, len(entries)),
        fontsize=8,
        frameon=False,
    )


def _save(figure: Any, path: Path) -> Path:
    file_format = path.suffix[1:]
    return atomic_write(path, lambda file: figure.savefig(file, format=file_format, dpi=150))
