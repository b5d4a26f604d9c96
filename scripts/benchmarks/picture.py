"""The measured ratios as bars with their goals, and curves of growth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

ACROSS = 3  # curves in a row
NAME = 45  # letters in a line
OURS, PUBLISHED, GOAL = "#1f77b4", "#7f7f7f", "#d62728"


def draw(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Save a picture: the single comparisons on top, one panel for each curve below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    single = [record for record in records if "curve" not in record]
    curves: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        if "curve" in record:
            curves.setdefault(record["curve"], []).append(record)
    rows = -(-len(curves) // ACROSS)
    heights = [height for height in (0.45 * len(single) + 1.2 if single else 0, 2.8 * rows) if height]
    figure = Figure((10, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    parts = list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    if single:
        _bars(parts[0].subplots(), single)
    if curves:
        panels = parts[-1].subplots(rows, ACROSS, squeeze=False).ravel()
        for panel, (name, points) in zip(panels, curves.items()):
            _curve(panel, name, points)
        for panel in panels[len(curves) :]:
            panel.set_axis_off()
    figure.savefig(path, dpi=150)


def _bars(panel: Any, records: Sequence[dict[str, Any]]) -> None:
    for place, record in enumerate(records):
        pairs = [published / ours for ours, published in zip(record["ours"], record["published"])]
        low, high = record["ratio"] - min(pairs), max(pairs) - record["ratio"]
        panel.barh(place, record["ratio"], 0.6, color=OURS, xerr=[[low], [high]], ecolor="black", capsize=3)
        panel.annotate(
            f"{record['ratio']:.1f}", (max(pairs), place), xytext=(6, 0), textcoords="offset points", va="center"
        )
        if record["goal"]:
            label = "goal" if not any(r["goal"] for r in records[:place]) else None
            panel.plot([record["goal"]] * 2, [place - 0.4, place + 0.4], color=GOAL, linewidth=2, label=label)
    panel.axvline(1, color="black", linewidth=0.8)
    panel.set_yticks(range(len(records)), [fill(record["name"], NAME) for record in records])
    panel.invert_yaxis()
    panel.margins(x=0.12, y=0.02)
    panel.set_xlim(left=0)
    panel.set_xlabel(
        "times faster than the published computation, or than asking the teacher\n(median and extremes of rounds)"
    )
    if any(record["goal"] for record in records):
        panel.legend(loc="lower right")


def _curve(panel: Any, name: str, points: Sequence[dict[str, Any]]) -> None:
    at = [point["at"] for point in points]
    for kind, color in (("published", PUBLISHED), ("ours", OURS)):
        middle = [sorted(point[kind])[len(point[kind]) // 2] for point in points]
        panel.plot(at, middle, "o-", color=color, label=kind)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xticks(at, [str(value) for value in at])
    panel.set_xticks([], minor=True)
    panel.set_xlabel(name)
    panel.set_ylabel("seconds")
    panel.grid(alpha=0.3)
    panel.legend()
