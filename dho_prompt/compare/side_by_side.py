"""Several runs at a time, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path

import torch

from dho_prompt import train
from dho_prompt.compare.child import Child
from dho_prompt.compare.listed import Run
from dho_prompt.compare.screen import Screen
from dho_prompt.console import Stopped

TICK = 0.3  # seconds between two looks at all runs
GRACE = 2.0  # until runs are asked to stop, which Ctrl-C in a terminal has reached already
PATIENCE = 30.0  # until one that was asked is killed; it loses what it did since its last complete epoch
IMPORTED = ("torch.utils.tensorboard", "sklearn.metrics", "sklearn.datasets")  # by every run, slow, and only when used


def jobs_at_a_time(runs: Sequence[Run], asked: str | None) -> int:
    """How many runs fit side by side: JOBS if given, one on CUDA, else the processors over the threads of a run.

    Raises:
        ValueError: JOBS is no positive whole number.
    """
    if asked:
        if not (asked.isascii() and asked.isdigit() and int(asked)):
            raise ValueError(f"JOBS is {asked!r}; it takes a number of runs at a time, 1 or more, or is left out")
        return int(asked)
    if uses_cuda(runs):
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, processors // max((run.threads or torch.get_num_threads() for run in runs), default=1))


def uses_cuda(runs: Sequence[Run]) -> bool:
    return torch.cuda.is_available() and any(run.cuda for run in runs)


class SideBySide:
    """The runs of a comparison that are not finished, in the order of the list where no needs say otherwise.

    Args:
        runs: all of it.
        jobs: runs at a time.
        screen: told what happens.
        shown: the lines of the runs go to our own output.

    Attributes:
        failed: the runs that failed, or were not started for a need that failed, and why.
    """

    def __init__(self, runs: Sequence[Run], jobs: int, screen: Screen, shown: bool = False) -> None:
        self.jobs, self.screen, self.shown = jobs, screen, shown
        self.total = len(runs)
        self.waiting = [run for run in runs if run.state != "finished"]
        self.running: list[Child] = []
        self.failed: dict[Run, str] = {}
        self.context = multiprocessing.get_context(start_method(runs))

    def run(self) -> None:
        """Make them all. A run that fails stops none but those that need it."""
        if self.waiting and self.context.get_start_method() == "fork":
            import_once()
        try:
            while self.waiting or self.running:
                self._give_up()
                self._start()
                wait([child.process.sentinel for child in self.running], TICK)
                self._take_in()
        except Stopped as stopped:
            stop(self.running, GRACE if stopped.number == signal.SIGINT else 0.0)
            raise
        finally:
            self.screen.close()
            stop(self.running)

    def _give_up(self) -> None:
        """Leave out what needs a run that failed."""
        for run in list(self.waiting):
            names = ", ".join(need.name for need in run.needs if need in self.failed)
            if names:
                self.waiting.remove(run)
                self.failed[run] = f"not started, for it needs {names}"

    def _start(self) -> None:
        unfinished = [*self.waiting, *(child.run for child in self.running)]
        ready = [run for run in self.waiting if not any(need in unfinished for need in run.needs)]
        for run in ready[: self.jobs - len(self.running)]:
            self.waiting.remove(run)
            self.screen.starts(run)
            self.running.append(Child(self.context, run, self.running, self.shown))
        if self.waiting and not self.running:
            raise ValueError(f"these runs need one another: {', '.join(run.name for run in self.waiting)}")

    def _take_in(self) -> None:
        """Read what the runs say, and let go of those that have ended."""
        for child in list(self.running):
            child.read()
            status = child.end()
            if status is None:
                continue
            self.running.remove(child)
            if status != 0:
                self.failed[child.run] = child.progress.error(status)
            self.screen.ended(child.run, child.progress, self.failed.get(child.run, ""))
        self.screen.show([(child.run, child.progress) for child in self.running], self.waiting)


def start_method(runs: Sequence[Run]) -> str:
    """``fork`` where it is safe: Apple's libraries do not survive it, nor does CUDA."""
    return "fork" if sys.platform == "linux" and not uses_cuda(runs) else "spawn"


def import_once() -> None:
    """What every run would import for itself."""
    train.register()
    for name in IMPORTED:
        with suppress(ImportError):  # said by the run, if it needs it
            import_module(name)


def stop(running: Sequence[Child], grace: float = 0.0) -> None:
    """End what still runs, in order if it can be; another signal to ourselves does not disturb it.

    Args:
        running: the runs.
        grace: seconds to wait before they are asked.
    """
    if not running:
        return
    for name in ("SIGINT", "SIGTERM", "SIGALRM"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    begin, asked = time.monotonic(), -1.0
    while any(child.process.exitcode is None for child in running):
        passed = time.monotonic() - begin
        if passed >= grace and passed - asked >= 1:  # and again, for one that was just starting
            asked = passed
            for child in running:
                child.ask_to_stop()
        if passed > grace + PATIENCE:
            for child in running:
                child.process.kill()
        wait([child.process.sentinel for child in running if child.process.exitcode is None], TICK)
        for child in running:
            child.read()


def newest_log(folder: str) -> Path | None:
    """The log of the latest start in an output folder."""
    return max(Path(folder).glob("log.txt*"), key=lambda path: path.stat().st_mtime, default=None)
