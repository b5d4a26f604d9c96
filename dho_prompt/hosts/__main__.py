"""``python -m dho_prompt.hosts check CHECKOUT`` and ``run CHECKOUT -- train.py's arguments``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from dho_prompt.engine.choose import VARIABLE


def main(arguments: list[str] | None = None) -> None:
    """Say what DHO fits in a checkout, or run its own train.py with DHO beside it."""
    words = sys.argv[1:] if arguments is None else arguments
    cut = words.index("--") if "--" in words else len(words)
    parse = argparse.ArgumentParser(
        prog="python -m dho_prompt.hosts", description="DHO in a Dassl-style checkout that is not edited."
    )
    parse.add_argument(
        "command",
        choices=("check", "run"),
        help="check: which of its trainers DHO fits; run: its train.py, with --trainer NameDHO",
    )
    parse.add_argument("checkout", type=Path, help="the folder that holds train.py")
    parse.add_argument(
        "--in-place",
        action="store_true",
        help="run: --trainer Name is the one with DHO, for code that compares TRAINER.NAME",
    )
    given, others = parse.parse_known_args(words[:cut])
    if others:
        parse.error(f"{' '.join(others)} is not known here; the arguments of train.py stand behind --")
    os.environ.setdefault(VARIABLE, "dassl")
    from dho_prompt.console import one_message  # the engine is chosen when it is imported
    from dho_prompt.hosts.checkout import run_checkout

    with one_message():
        if given.command == "check":
            from dho_prompt.hosts.look import report

            print(report(given.checkout))
            return
        run_checkout(given.checkout, words[cut + 1 :], given.in_place)


if __name__ == "__main__":
    main()
