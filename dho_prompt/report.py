"""``python -m dho_prompt.report FOLDER...``: the tables of finished runs, printed, saved and drawn."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from dho_prompt.files import atomic_write
from dho_prompt.runs.folder import RESULTS
from dho_prompt.tables.over_shots import over_shots
from dho_prompt.tables.render import comma_separated, latex, markdown
from dho_prompt.tables.results import by_tested, read_results, untested_message
from dho_prompt.tables.rows import Table
from dho_prompt.tables.settings import told_apart
from dho_prompt.tables.table import tables


def main(argv: list[str] | None = None) -> None:
    parse = argparse.ArgumentParser(prog="python -m dho_prompt.report", description="Tables of finished runs.")
    parse.add_argument("folders", nargs="+", metavar="FOLDER", help="folders with finished runs, at any depth")
    parse.add_argument(
        "--file", default=RESULTS, help=f"the result files to read (default {RESULTS}), e.g. evaluation.json"
    )
    parse.add_argument(
        "--by",
        nargs="+",
        default=[],
        metavar="KEY",
        help="settings that tell runs of one method apart, e.g. TRAINER.DHO.LAMBDA: each of their values has a row",
    )
    parse.add_argument("--ece", action="store_true", help="also a table of the calibration errors")
    parse.add_argument(
        "--save",
        default="",
        metavar="PREFIX",
        help="also write PREFIX.md, .csv and .tex and, with matplotlib, .png and .svg (PREFIX_ece.* of the calibration "
        "errors, PREFIX_shots.* over shots)",
    )
    args = parse.parse_args(argv)
    try:
        results, untested = by_tested(read_results(args.folders, args.file))
        if not results:
            raise ValueError(f"nothing to report: {untested_message(untested)}")
        results = told_apart(results, args.by)
        made = tables(results)
        errors = tables(results, "ece") if args.ece else []
        print("\n" + "\n".join(markdown(table) for table in [*made, *over_shots(made), *errors]))
        if untested:
            print(f"Left out, {untested_message(untested)}\n")
        if args.save:
            print("Saved " + ", ".join(map(str, save(made, errors, args.save))))
            if not find_spec("matplotlib"):
                print("No pictures: they need matplotlib (pip install 'dho-prompt[plot]')")
    except (ValueError, OSError) as error:
        sys.exit(f"dho_prompt: error: {error}")


def save(made: Sequence[Table], errors: Sequence[Table], prefix: str) -> list[Path]:
    """Write the tables as text and, where matplotlib is installed, as pictures; returns the paths."""
    every = [*made, *over_shots(made), *errors]
    texts = {
        "md": "\n".join(markdown(table) for table in every),
        "csv": comma_separated(every),
        "tex": "\n".join(latex(table) for table in every),
    }
    saved = [_write(f"{prefix}.{ending}", text) for ending, text in texts.items()]
    if find_spec("matplotlib"):
        from dho_prompt.tables.curves import draw_shots, has_shots
        from dho_prompt.tables.figure import draw

        for ending in ("png", "svg"):
            saved.append(draw(made, Path(f"{prefix}.{ending}")))
            if errors:
                saved.append(draw(errors, Path(f"{prefix}_ece.{ending}")))
            if has_shots(made):
                saved.append(draw_shots(made, Path(f"{prefix}_shots.{ending}")))
    return saved


def _write(path: str, text: str) -> Path:
    return atomic_write(path, lambda file: file.write(text.encode("utf-8")))


if __name__ == "__main__":
    main()
