"""``python -m dho_prompt.data check|prepare DATASET [DATASET ...] --root DATA``, and ``list --from PICKLE ...``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dho_prompt.data.choose.host_list import write_list
from dho_prompt.data.fetch.check import LAYOUT_NAMES, check
from dho_prompt.data.fetch.prepare import prepare
from dho_prompt.data.fetch.sources import SOURCES
from dho_prompt.data.layouts.table import find_layout


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status, 0 when the data sets are complete or the lists written."""
    args = parser().parse_args(argv)
    if args.command == "list":
        return _write_lists(args.pickles, args.to)
    root = Path(args.root).expanduser().absolute()
    if args.command == "check":
        return 0 if check(args.datasets, root, args.images) else 1
    return _prepare_all(LAYOUT_NAMES if args.datasets == ["all"] else args.datasets, root)


def parser() -> argparse.ArgumentParser:
    """The three commands and their arguments."""
    parse = argparse.ArgumentParser(prog="python -m dho_prompt.data", description="Check, fetch and list data sets.")
    commands = parse.add_subparsers(dest="command", required=True)
    check_them = commands.add_parser("check", help="say whether data sets are complete, and what is wrong")
    check_them.add_argument("--images", action="store_true", help="try every image, not a few of each data set")
    fetch_them = commands.add_parser("prepare", help="fetch what may be fetched and say what is to be done by hand")
    for command, more in ((check_them, "; a folder of your own"), (fetch_them, "")):
        command.add_argument("datasets", nargs="+", metavar="DATASET", help=f"{', '.join(LAYOUT_NAMES)}; all{more}")
        command.add_argument("--root", default="data", metavar="FOLDER", help="folder of the data sets (default: data)")
    lists = commands.add_parser("list", help="write the images of CoOp's few-shot pickles as DATASET.LABELED_LIST")
    lists.add_argument(
        "--from", dest="pickles", nargs="+", required=True, metavar="PICKLE", help="split_fewshot/shot_<K>-seed_<S>.pkl"
    )
    lists.add_argument("--to", metavar="FOLDER", help="folder of the lists (default: that of each pickle)")
    return parse


def _write_lists(pickles: list[str], folder: str | None) -> int:
    failed = False
    for pickle in pickles:
        try:
            write_list(Path(pickle).expanduser(), Path(folder).expanduser() if folder else None)
        except (OSError, ValueError) as error:
            failed = True
            print(f"error: {error}")
    return 1 if failed else 0


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
