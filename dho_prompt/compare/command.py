"""A list of runs from its first word to its tables."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence

from dho_prompt import report
from dho_prompt.compare.listed import Run, look_up_all, read_list
from dho_prompt.compare.screen import Screen
from dho_prompt.compare.side_by_side import SideBySide, jobs_at_a_time, newest_log


def run(content: bytes) -> None:
    """Make the runs of a list (:func:`dho_prompt.compare.listed.read_list`), then its tables.

    JOBS and VERBOSE are read from the environment.

    Raises:
        ValueError: some runs cannot be made as they are asked; nothing has been started then.
        SystemExit: with status 1 if a run failed.
    """
    lines = read_list(content)
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the tables
        runs = look_up_all([line for line in lines if line[0] != "report"])
    if not make(runs, verbose=os.environ.get("VERBOSE", "") not in ("", "0")):
        sys.exit(1)
    show_tables([words for module, *words in lines if module == "report"])


def make(runs: Sequence[Run], verbose: bool) -> bool:
    """Make the runs that are not finished, one at a time if they are shown; returns whether all are finished then."""
    jobs = 1 if verbose else jobs_at_a_time(runs, os.environ.get("JOBS"))
    screen = Screen(runs, jobs, verbose)
    finished, resumed = (sum(run.state == state for run in runs) for state in ("finished", "interrupted"))
    states = [f"{finished} of {len(runs)} runs are finished" if finished else f"{len(runs)} runs"]
    states += [f"{resumed} interrupted, to go on"] if resumed else []
    states += [f"{min(jobs, len(runs) - finished)} at a time"] if finished < len(runs) else []
    screen.say(", ".join(states))
    made = SideBySide(runs, jobs, screen, verbose)
    made.run()
    if made.failed:
        print(summary(made.failed, len(runs)), file=sys.stderr)
    return not made.failed


def summary(failed: dict[Run, str], total: int) -> str:
    """The runs that failed with their logs; what they said is on the screen already."""
    lines = [f"{len(failed)} of {total} runs failed or were not started, so there are no tables:"]
    for run, why in failed.items():
        log = newest_log(run.folder)
        lines.append(f"  {run.name}: {why if not run.number else f'see {log}' if log else 'ended before it had a log'}")
    return "\n".join([*lines, "The same command makes what is missing."])


def show_tables(tables: Sequence[Sequence[str]]) -> None:
    """Save all, and show the last: the others are of parts of it.

    Args:
        tables: the arguments of ``python -m dho_prompt.report``.
    """
    for words in tables[:-1]:
        with contextlib.redirect_stdout(io.StringIO()):
            report.main(words)
    for words in tables[-1:]:
        report.main(words)
