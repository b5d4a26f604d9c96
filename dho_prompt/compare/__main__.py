"""``python -m dho_prompt.compare < LIST``: make what a list of runs asks for, several at a time, then its tables.

The scripts write the list (``scripts/common.sh``): for each run the number of its words and the words, each ended by a
zero byte. The first word is train, evaluate or report, the others are the arguments of that command line.
"""

from __future__ import annotations

import sys

from dho_prompt.console import one_message


def main() -> None:
    """:func:`dho_prompt.compare.command.run` on stdin, with what stops it shown as one message."""
    if sys.stdin.isatty():
        sys.exit("dho_prompt.compare reads a list of runs, which the scripts write: bash scripts/coop_dho.sh explains")
    with one_message("the same command resumes"):
        from dho_prompt.compare.command import run  # takes seconds

        run(sys.stdin.buffer.read())


if __name__ == "__main__":
    main()
