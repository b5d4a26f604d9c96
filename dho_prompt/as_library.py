"""A run inside somebody's program: its prints, its threads and its random numbers are not the program's."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from typing import TextIO

import torch
from tqdm import tqdm

from dho_prompt.engine.rng import untouched_rng

_STEP = re.compile(r"epoch \[(\d+)/(\d+)\] batch \[(\d+)/(\d+)\].* (loss \S+) .*?(acc \S+) ")


@contextlib.contextmanager
def guest(progress: bool) -> Iterator[None]:
    """While inside, what is printed is kept off the screen, and the caller's threads and random numbers are kept.

    ``log.txt`` takes the printed lines all the same. Bars of others are kept off stderr, warnings are not.

    Args:
        progress: show one bar on stderr.
    """
    threads, screen, stderr = torch.get_num_threads(), Screen(progress), sys.stderr
    try:
        with untouched_rng(), contextlib.redirect_stdout(screen), contextlib.redirect_stderr(WithoutBars(stderr)):
            try:
                yield
            finally:
                if sys.stdout is not screen:  # the log's stand-in
                    sys.stdout.close()
    finally:
        screen.end()
        torch.set_num_threads(threads)


class Screen(io.TextIOBase):
    """Takes what a trainer prints, and shows of it a bar with the epochs, the loss and the accuracy.

    Args:
        progress: False shows nothing.
    """

    def __init__(self, progress: bool) -> None:
        self._progress, self._stderr, self._rest = progress, sys.stderr, ""
        self._bar: tqdm | None = None

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines if self._progress else ():
            step = _STEP.match(line)
            if step:
                self._show([int(number) for number in step.groups()[:4]], ", ".join(step.groups()[4:]))
        return len(text)

    def _show(self, step: list[int], said: str) -> None:
        epoch, epochs, batch, batches = step
        if self._bar is None:
            seconds = 0.1 if self._stderr.isatty() else 10
            self._bar = tqdm(total=epochs * batches, desc="training", file=self._stderr, mininterval=seconds)
        self._bar.set_postfix_str(f"epoch {epoch}/{epochs}, {said}", refresh=False)
        self._bar.update((epoch - 1) * batches + batch - self._bar.n)

    def end(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class WithoutBars(io.TextIOBase):
    """A stand-in for stderr that passes on everything but tqdm's bars.

    Args:
        stream: where the rest goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._open = stream, False  # whether a line has begun

    def write(self, text: str) -> int:
        moves = not text.replace("\x1b[A", "").strip("\n")  # between the lines of several bars
        if not (text.startswith("\r") or moves) or (self._open and text == "\n"):
            self._stream.write(text)
            self._open = not text.endswith("\n")
        return len(text)
