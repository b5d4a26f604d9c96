"""What is wrong with a picture, by measuring its parts: text off the canvas, parts on each other, data cut off."""

from itertools import combinations

from matplotlib.text import Text

SLACK = 1.0  # pixels


def faults(figure, dots_apart=True):
    """Sentences on a drawn matplotlib figure, [] if it is right.

    Args:
        dots_apart: the large markers of a panel may not touch each other.
    """
    figure.canvas.draw()
    texts = {text: text.get_window_extent() for text in _shown_texts(figure)}
    found = [f"off the canvas: {text.get_text()!r}" for text, box in texts.items() if not _inside(box, figure.bbox)]
    for legend in figure.legends:
        if not _inside(legend.get_window_extent(), figure.bbox):
            found.append("off the canvas: the legend")
    for (one, first), (other, second) in combinations(texts.items(), 2):
        if _overlap(first, second):
            found.append(f"on each other: {one.get_text()!r} and {other.get_text()!r}")
    for panel in figure.axes:
        box = panel.get_window_extent()
        if box.width < 1.5 * figure.dpi or box.height < 0.5 * figure.dpi:
            found.append(f"a panel of {box.width:.0f} x {box.height:.0f} pixels")
        found += [f"on a panel: {text.get_text()!r}" for text, place in texts.items() if _overlap(box, place)]
        found += ["on a panel: the legend" for legend in figure.legends if _overlap(box, legend.get_window_extent())]
        found += [f"cut off: {line.get_xydata().tolist()}" for line in _data(panel) if not _within(panel, line)]
        if dots_apart:
            boxes = [line.get_window_extent() for line in _data(panel) if line.get_marker() in "soDvPX"]
            found += ["markers on each other" for one, other in combinations(boxes, 2) if _overlap(one, other)]
    for one, other in combinations(figure.axes, 2):
        if _overlap(one.get_window_extent(), other.get_window_extent()):
            found.append("panels on each other")
    return found


def spread_lines(figure):
    """The lines that stand for a standard deviation."""
    return [line for panel in figure.axes for line in _data(panel) if line.get_marker() == "None" and _is_spread(line)]


def _is_spread(line):
    xs, ys = line.get_xdata(), line.get_ydata()
    return len(xs) == 2 and (xs[0] == xs[1] or ys[0] == ys[1])


def _shown_texts(figure):
    hidden = set()
    for panel in figure.axes:
        for axis, ends in ((panel.xaxis, panel.get_xlim()), (panel.yaxis, panel.get_ylim())):
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not min(ends) <= tick.get_loc() <= max(ends):
                    hidden |= {tick.label1, tick.label2}
    every = figure.findobj(Text)
    return [text for text in every if text.get_visible() and text.get_text().strip() and text not in hidden]


def _data(panel):
    """Lines in the panel's own coordinates: no zero lines, no bands."""
    return [line for line in panel.lines if line.get_transform() == panel.transData]


def _within(panel, line):
    (left, right), (low, high) = sorted(panel.get_xlim()), sorted(panel.get_ylim())
    return all(left <= x <= right and low <= y <= high for x, y in line.get_xydata())


def _inside(box, canvas):
    return box.x0 >= -SLACK and box.y0 >= -SLACK and box.x1 <= canvas.width + SLACK and box.y1 <= canvas.height + SLACK


def _overlap(one, other):
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width > SLACK and height > SLACK
