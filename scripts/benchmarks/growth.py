"""How time grows: classes, context length and depth of the towers, batch, and views of a stored teacher.

For the last one the published way is to ask the teacher in every run.
"""

from __future__ import annotations

from typing import Any

from benchmarks.dho import stored_views
from benchmarks.encoders import image, text
from benchmarks.measure import measure

CURVES = {
    "classes": (text, "classes", (10, 30, 100, 300, 1000)),
    "context tokens": (text, "n_ctx", (4, 8, 16, 32)),
    "depth of text prompts": (text, "depth", (1, 3, 6, 9)),
    "batch": (image, "batch", (1, 2, 4, 8)),
    "depth of image prompts": (image, "depth", (1, 3, 6, 9)),
    "views of an image in 3 runs": (stored_views, "views", (1, 2, 4)),
}
SMALL = {
    "classes": (3, 6),
    "context tokens": (4, 8),
    "depth of text prompts": (1, 3),
    "batch": (1, 2),
    "views of an image in 3 runs": (1, 2),
}


def growth(args: Any, curves: Any = None) -> list[dict[str, Any]]:
    """One record for each point; ``curve`` and ``at`` say where it stands."""
    records = []
    for curve in curves or (SMALL if args.small else CURVES):
        make, keyword, points = CURVES[curve]
        for at in SMALL[curve] if args.small else points:
            record = measure(make(args, **{keyword: at}), args.repeats, args.device)[0]
            records.append({**record, "curve": curve, "at": at})
    return records
