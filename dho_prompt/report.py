"""``python -m dho_prompt.report FOLDER...``: the tables of finished runs, printed, saved and drawn."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import List, Optional

from dho_prompt.evaluation.table import markdown, read_results, tables
from dho_prompt.files import atomic_write


def main(argv: Optional[List[str]] = None) -> None:
    parse = argparse.ArgumentParser(prog="python -m dho_prompt.report", description="Tables of finished runs.")
    parse.add_argument("folders", nargs="+", metavar="FOLDER", help="folders with finished runs, at any depth")
    parse.add_argument(
        "--save", default="", metavar="PREFIX", help="also write PREFIX.md and, with matplotlib, PREFIX.png"
    )
    args = parse.parse_args(argv)
    try:
        made = tables(read_results(args.folders))
        text = "\n".join(markdown(table) for table in made)
        print(f"\n{text}")
        if args.save:
            saved = [atomic_write(f"{args.save}.md", lambda file: file.write(text.encode("utf-8")))]
            if find_spec("matplotlib"):
                from dho_prompt.evaluation.figure import draw

                saved.append(draw(made, Path(f"{args.save}.png")))
            print("Saved " + " and ".join(map(str, saved)))
    except (ValueError, OSError) as error:
        sys.exit(f"dho_prompt: error: {error}")


if __name__ == "__main__":
    main()
