"""``python -m dho_prompt.data check|prepare DATASET [DATASET ...] --root DATA``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dho_prompt.data.fetch.check import LAYOUT_NAMES, check
from dho_prompt.data.fetch.prepare import prepare
from dho_prompt.data.fetch.sources import SOURCES
from dho_prompt.data.layouts.table import find_layout


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status, 0 when the data sets are complete."""
    parse = argparse.ArgumentParser(
        prog="python -m dho_prompt.data", description="Check, or fetch and lay out, data sets."
    )
    parse.add_argument("command", choices=("check", "prepare"))
    parse.add_argument(
        "datasets", nargs="+", metavar="DATASET", help=f"{', '.join(LAYOUT_NAMES)}; all; a folder of your own (check)"
    )
    parse.add_argument("--root", default="data", metavar="FOLDER", help="folder of the data sets (default: data)")
    args = parse.parse_args(argv)
    root = Path(args.root).expanduser().absolute()
    if args.command == "check":
        return 0 if check(args.datasets, root) else 1
    return _prepare_all(LAYOUT_NAMES if args.datasets == ["all"] else args.datasets, root)


def _prepare_all(names: list[str], root: Path) -> int:
    layouts = [find_layout(name) for name in names]
    unknown = [name for name, layout in zip(names, layouts) if layout is None]
    if unknown:
        print(f"no data set is called {', '.join(unknown)}; known are {', '.join(LAYOUT_NAMES)}, or all")
        return 1
    failed = False
    for layout in layouts:
        try:
            prepare(layout, root, SOURCES[layout.name])
        except (OSError, ValueError, ImportError) as error:
            failed = True
            print(f"error: {error}")
    return 0 if check([layout.name for layout in layouts], root) and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
