"""A picture that is filled from top to bottom, in inches: titles, rows of panels, one legend, and text that fits."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, List, Sequence, Tuple

from dho_prompt.files import atomic_write

SMALL, NORMAL, LARGE = 8, 9, 10  # points
EDGE = 0.12  # inches that stay empty at the sides
DPI, MOST_PIXELS = 150, 30_000  # viewers do not open what is higher


class Sheet:
    """An empty picture of a width in inches; its height is what it is filled with.

    matplotlib's own layouts solve equations, which takes minutes for fifty panels; here all sizes are known.

    Attributes:
        figure: matplotlib's, without pyplot and its global state. Complete after :meth:`legend`.
        width: in inches.
        filled: inches from the top.
    """

    def __init__(self, width: float) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(width, 1), dpi=DPI)
        FigureCanvasAgg(self.figure)
        self.width, self.filled = width, EDGE
        self._titles: List[Tuple[Any, float]] = []
        self._panels: List[Tuple[Any, float, float, float, float]] = []

    def title(self, text: str) -> None:
        """Text from the left edge on, in as many lines as it takes."""
        lines = wrapped(text, self.width - 2 * EDGE, LARGE)
        self._titles.append((self.figure.text(EDGE / self.width, 0, lines, va="top", fontsize=LARGE), self.filled))
        self.filled += (1 + lines.count("\n")) * LARGE * 1.3 / 72 + 0.04

    def row(self, count: int, left: float, gap: float, height: float, above: float, below: float) -> List[Any]:
        """Panels of equal width side by side.

        Args:
            count: of panels.
            left, gap: inches for what stands left of the first panel and between two.
            height: of the panels.
            above, below: inches for their titles and for their ticks and labels.
        """
        wide = (self.width - left - EDGE - (count - 1) * gap) / count
        panels = []
        for number in range(count):
            start = left + number * (wide + gap)
            place = (start / self.width, 0, wide / self.width, height)  # of a figure of 1 inch: ticks ask for the size
            panel = self.figure.add_axes(place, label=str(len(self._panels)))
            self._panels.append((panel, start, self.filled + above + height, wide, height))
            panels.append(panel)
        self.filled += above + height + below
        return panels

    def legend(self, handles: Sequence[Any], labels: Sequence[str], title: str, columns: int) -> Any:
        """The last part: a legend in at most so many columns, below all panels; returns the figure."""
        labels = [wrapped(label, self.width - 1, SMALL) for label in labels]
        for count in range(min(columns, len(labels)), 0, -1):
            legend = self.figure.legend(
                handles,
                labels,
                loc="lower center",
                ncols=count,
                title=wrapped(title, self.width - 2 * EDGE, SMALL),
                fontsize=SMALL,
                title_fontsize=SMALL,
                frameon=False,
            )
            size = legend.get_window_extent(self.figure.canvas.get_renderer())
            if size.width / self.figure.dpi <= self.width - 2 * EDGE or count == 1:
                break
            legend.remove()
        legend.get_title().set_multialignment("center")
        self._close(self.filled + size.height / self.figure.dpi + EDGE)
        return self.figure

    def _close(self, height: float) -> None:
        self.figure.set_figheight(height)
        for title, top in self._titles:
            title.set_y(1 - top / height)
        for panel, left, bottom, wide, high in self._panels:
            panel.set_position((left / self.width, 1 - bottom / height, wide / self.width, high / height))


def wrapped(text: str, inches: float, size: float) -> str:
    """``text`` in lines of at most so many inches at a font size in points; a dollar sign is no formula."""
    text = " ".join(text.split())
    letters = max(int(inches * 72 / (0.5 * size)), 4)
    lines = textwrap.wrap(text, letters)
    while letters > 4 and any(inches_of(line, size) > inches for line in lines):
        letters -= 1
        lines = textwrap.wrap(text, letters)
    return "\n".join(lines).replace("$", r"\$")


def inches_of(line: str, size: float) -> float:
    """Width of a line of text, at least: letters that are rounded to pixels are up to 5 % wider than their outlines."""
    from matplotlib.textpath import TextPath

    outlines = TextPath((0, 0), line.replace("$", r"\$"), size=size).vertices
    return 1.05 * float(outlines[:, 0].max()) / 72 if len(outlines) else 0.0


def save(figure: Any, path: Path) -> Path:
    """Write a .png, .svg or .pdf file, atomically."""
    dpi = min(DPI, MOST_PIXELS / figure.get_figheight())
    return atomic_write(path, lambda file: figure.savefig(file, format=path.suffix[1:], dpi=dpi))
