"""How methods look in pictures, what the pictures say of seeds and spread, and where their axes end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from dho_prompt.tables.groups import host_name, labelled_alone, rival_number
from dho_prompt.tables.rows import OWN_SETS, Row, Table, main_rows, mean_and_spread
from dho_prompt.tables.settings import without_settings
from dho_prompt.tables.sheet import SMALL, Sheet

# (dark, light) of one hue for each host: Okabe and Ito's palette, which colour-blind readers tell apart. Markers tell
# a host, DHO on labelled images alone and DHO apart, also on a grey print; others where the hues begin again
HUES = (
    ("#0072B2", "#56B4E9"),
    ("#D55E00", "#E69F00"),
    ("#009E73", "#74C7AE"),
    ("#8E4A7A", "#CC79A7"),
    ("#000000", "#8C8C8C"),
)
MARKERS = (("s", "D", "o"), ("v", "P", "X"))
RIVALS_LOOK = (  # of objectives other than DHO, in the order of groups.RIVALS; beside the first hue
    ("#56B4E9", "*"),
    ("#E69F00", "^"),
    ("#D55E00", "v"),
    ("#CC79A7", "P"),
    ("#009E73", "X"),
    ("#000000", ">"),
    ("#8C8C8C", "<"),
)


class Look(NamedTuple):
    """Of a method: ``colour`` of its lines, ``face`` of its ``marker``."""

    colour: str
    face: str
    marker: str


def looks(tables: Sequence[Table]) -> dict[str, Look]:
    """Method -> its look, the same in all panels: hollow squares for a host, diamonds on labelled images alone.

    An objective other than DHO always has its own marker. The host with the most of them takes the first hue, and its
    objectives have hues of their own; those of other hosts have their host's. Rows of one method that are told apart by
    their settings look like objectives, but for the first.
    """
    methods = list(dict.fromkeys(method for table in tables for method in main_rows(table.rows)))
    rivals = Counter(host_name(method) for method in methods if rival_number(method) is not None)
    hosts = sorted(dict.fromkeys(map(host_name, methods)), key=lambda host: -rivals[host])  # stable
    found: dict[str, Look] = {}
    for method in methods:
        name, number = without_settings(method), hosts.index(host_name(method))
        dark, light = HUES[number % len(HUES)]
        plain, alone, dho = MARKERS[number // len(HUES) % len(MARKERS)]
        rival = rival_number(method)
        if name in map(without_settings, found):
            free = [Look(own, "white" if name == host_name(method) else own, marker) for own, marker in RIVALS_LOOK]
            found[method] = next((one for one in free if one not in found.values()), free[0])
        elif rival is not None:
            own, marker = RIVALS_LOOK[rival]
            colour = light if number else own
            found[method] = Look(colour, "white" if labelled_alone(method) else colour, marker)
        elif labelled_alone(method):
            found[method] = Look(light, light, alone)
        elif name == host_name(method):
            found[method] = Look(dark, "white", plain)
        else:
            found[method] = Look(dark, dark, dho)
    return found


def seeds_in_words(table: Table) -> str:
    """``seeds 1 2 3`` for a title; how many, where they are many or not the same."""
    every = sorted({seed for row in main_rows(table.rows).values() for seed in row.seeds})
    same = all(set(row.seeds) == set(every) for row in main_rows(table.rows).values())
    if len(every) > 8:
        return f"{len(every)} seeds" if same else f"up to {len(every)} seeds"
    return f"seed{'s' if len(every) > 1 else ''} {' '.join(map(str, every))}{'' if same else ' (not all of each)'}"


def caption(rows: Sequence[Row], brackets: str = "") -> str:
    """What markers and lines mean, and what stands in brackets behind the names."""
    if all(len(row.seeds) < 2 for row in rows):
        return f"One seed, so no spread is known. {brackets}".strip()
    dots = " Dots: single seeds." if any(row.kind == "gain" and len(row.seeds) > 1 for row in rows) else ""
    return f"Markers: means. Lines: ± one sample standard deviation over seeds.{dots} {brackets}".strip()


def add_legend(
    sheet: Sheet, look: dict[str, Look], rows: Sequence[Row], paper: bool = False, brackets: str = ""
) -> Any:
    """Close a sheet with one legend for all its panels, if it fits with a column for each host; returns the figure."""
    from matplotlib.lines import Line2D

    shape = {"linewidth": 0, "markersize": 6}
    handles = [
        Line2D([], [], color=one.colour, markerfacecolor=one.face, marker=one.marker, **shape) for one in look.values()
    ]
    labels = list(look)
    if paper:
        handles.append(Line2D([], [], color="black", marker="|", linewidth=0, markersize=9, markeredgewidth=1.5))
        labels.append("the paper's figure")
    hosts = len(set(map(host_name, look)))
    return sheet.legend(handles, labels, caption(rows, brackets), hosts if hosts > 1 else 4)


def set_title(column: str) -> str:
    """A column of a table as a picture calls it."""
    return "validation" if column == OWN_SETS[1] else column


def finish(panel: Any) -> None:
    """No frame, small ticks."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=SMALL)


def limits(values: Sequence[float], least: float, percent: bool = False) -> tuple[float, float]:
    """Ends of an axis that shows all values with some room.

    Args:
        values: what must be seen.
        least: length of the axis, so that chance does not look like an effect.
        percent: end near 0 and 100, beyond which there is nothing but a line of spread.
    """
    low, high = min(values), max(values)
    room = max(0.08 * (high - low), (least - (high - low)) / 2)
    ends = low - room, high + room
    if percent:
        edge = 0.05 * (ends[1] - ends[0])
        ends = max(ends[0], min(low, 0.0) - edge), min(ends[1], max(high, 100.0) + edge)
    return ends


def percent_ticks(axis: Any, ends: tuple[float, float]) -> None:
    """Ticks of an axis, from 0 to 100 alone."""
    axis.set_ticks([tick for tick in axis.get_ticklocs() if max(ends[0], 0) <= tick <= min(ends[1], 100)])


def reach(row: Row, column: str, single: bool) -> list[float]:
    """What a marker, its line and, with ``single``, its seeds' dots reach."""
    mean, spread = mean_and_spread(row.values[column])
    return [mean, mean - (spread or 0), mean + (spread or 0), *(row.values[column] if single else [])]
