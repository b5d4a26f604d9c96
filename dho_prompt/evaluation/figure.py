"""Tables as bars."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Sequence

from dho_prompt.evaluation.table import Table
from dho_prompt.files import atomic_write


def draw(tables: Sequence[Table], path: Path) -> Path:
    """Draw accuracy per test set, one panel per table, one bar per method, whiskers of one standard deviation.

    Args:
        tables: at least one.
        path: a .png, .svg or .pdf file, written atomically.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2 * len(tables)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(tables), 1, squeeze=False)[:, 0]
    for panel, table in zip(panels, tables):
        methods = [row for row in table.rows if not row.name.startswith("gain")]
        width = 0.8 / len(methods)
        for number, row in enumerate(methods):
            values = [row.accuracy[name] for name in table.columns]
            means = [statistics.fmean(value) for value in values]
            spread = [statistics.stdev(value) if len(value) > 1 else 0 for value in values]
            places = [column - 0.4 + width * (number + 0.5) for column in range(len(table.columns))]
            panel.bar(places, means, width, yerr=spread, label=row.name, capsize=2, error_kw={"linewidth": 0.8})
        panel.set_title(table.title)
        panel.set_ylabel("accuracy (%)")
        panel.set_xticks(range(len(table.columns)), table.columns)
        panel.legend(fontsize=8, ncols=len(methods), loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)
        panel.spines[["top", "right"]].set_visible(False)
    file_format = path.suffix[1:]
    return atomic_write(path, lambda file: figure.savefig(file, format=file_format, dpi=150))
