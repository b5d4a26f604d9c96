"""What a comparison shows: one live line in a terminal, few plain lines elsewhere. All of it goes to stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import IO

from tqdm import tqdm

from dho_prompt.compare.listed import Run
from dho_prompt.compare.progress import Progress, seconds_left

TURN = 3.0  # seconds that the live line stays with one of several runs
QUIET, MOST_QUIET = 60.0, 3600.0  # seconds between plain lines: the first time, then twice as long each time up to this


class Screen:
    """The screen of one comparison.

    Args:
        runs: all of it.
        jobs: runs at a time.
        shown: the runs print their own lines, so that only their starts and ends are said.
        stream: where to write; without a live line if it is no terminal.
    """

    def __init__(self, runs: Sequence[Run], jobs: int, shown: bool = False, stream: IO[str] | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.total, self.jobs, self.shown = len(runs), jobs, shown
        self.done = self.number = sum(run.state == "finished" for run in runs)
        self.took: dict[str, list[float]] = {}
        self.errors: dict[str, Run] = {}
        self.bar: tqdm | None = None
        self.quiet, self.said = QUIET, time.monotonic()
        self._turn_of: tuple[Run | None, float] = None, 0.0
        if self.stream.isatty() and not shown:
            tqdm.monitor_interval = 0  # its thread would be forked with us
            size = {"dynamic_ncols": True} if _has_size(self.stream) else {"ncols": 80, "nrows": 20}
            form = "{percentage:3.0f}%|{bar:10}| {desc}"
            self.bar = tqdm(total=self.total, initial=self.done, file=self.stream, bar_format=form, leave=False, **size)

    def say(self, text: str) -> None:
        """A line that stays."""
        if self.bar is None:
            print(text, file=self.stream, flush=True)
        else:
            self.bar.write(text, file=self.stream)
        self.said = time.monotonic()

    def starts(self, run: Run) -> None:
        """Give a run its number."""
        self.number += 1
        run.number = self.number
        if self.shown:
            self.say(f"\n{self._place(run)}")

    def ended(self, run: Run, progress: Progress, error: str = "") -> None:
        """Say how a run ended."""
        self.done += 1
        took = tqdm.format_interval(progress.seconds)
        if error:
            first = self.errors.setdefault(error, run)
            self.say(f"{self._place(run)} FAILED after {took}: {error if first is run else f'as {first.name}'}")
            return
        self.took.setdefault(run.kind, []).append(progress.seconds)
        accuracy = f"accuracy {progress.accuracy} %, " if progress.accuracy else ""
        self.say(f"{self._place(run)}: {accuracy}{took}")

    def show(self, running: Sequence[tuple[Run, Progress]], waiting: Sequence[Run]) -> None:
        """Bring the live line up to date, or say a plain one when nothing was said for long."""
        now = time.monotonic()
        if self.shown or not running or (self.bar is None and now - self.said < self.quiet):
            return
        kinds = [(run.kind, progress) for run, progress in running]
        left = seconds_left(kinds, [run.kind for run in waiting], self.took, self.jobs)
        every = "" if left is None else f"{tqdm.format_interval(left)} left for all; "
        if self.bar is None:
            parts = "; ".join(self._describe(*pair) for pair in running)
            self.say(f"{self.done} of {self.total} done, {every}{parts}")
            self.quiet = min(2 * self.quiet, MOST_QUIET)
            return
        self.bar.n = self.done + sum(progress.share for _, progress in running)
        self.bar.set_description_str(every + self._describe(*self._turn(running, now)))

    def _turn(self, running: Sequence[tuple[Run, Progress]], now: float) -> tuple[Run, Progress]:
        """The run that the live line is about: each for some seconds."""
        about, since = self._turn_of
        runs = [run for run, _ in running]
        place = runs.index(about) if about in runs else -1
        if place < 0 or now - since >= TURN:
            place = (place + 1) % len(runs)
            self._turn_of = runs[place], now
        return running[place]

    def _describe(self, run: Run, progress: Progress) -> str:
        left = "" if progress.left is None else f", {tqdm.format_interval(progress.left)} left"
        return f"{self._place(run)}: {progress.text}{left}"

    def _place(self, run: Run) -> str:
        return f"run {run.number} of {self.total}, {run.name}"

    def close(self) -> None:
        """Take the live line away."""
        if self.bar is not None:
            self.bar.close()


def _has_size(stream: IO[str]) -> bool:
    """Whether a terminal says how large it is; some of programs say 0, and tqdm then shows nothing."""
    try:
        return os.get_terminal_size(stream.fileno()).columns > 0
    except OSError:
        return False
