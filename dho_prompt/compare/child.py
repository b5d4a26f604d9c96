"""One run in a process of its own, whose lines are read instead of shown."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from dho_prompt.compare.listed import Run
from dho_prompt.compare.progress import Progress


class Child:
    """A run that has been started.

    Args:
        context: of :mod:`multiprocessing`. A forked process has what this one has imported.
        run: what to run.
        others: the runs that are under way.
        shown: its lines go to our own output.
    """

    def __init__(self, context: Any, run: Run, others: Sequence[Child] = (), shown: bool = False) -> None:
        self.run, self.progress, self.reader, writer = run, Progress(), None, None
        self._rest = b""
        if not shown:
            self.reader, writer = context.Pipe(duplex=False)
            os.set_blocking(self.reader.fileno(), False)
        forked = context.get_start_method() == "fork"
        ends = [child.reader for child in [*others, self] if child.reader is not None] if forked else []
        self.process = context.Process(target=work, args=(run.module, run.words, writer, ends))
        self.process.start()
        if writer is not None:
            writer.close()

    def read(self) -> None:
        """Take in what it has printed."""
        while self.reader is not None:
            try:
                content = os.read(self.reader.fileno(), 1 << 16)
            except BlockingIOError:
                return
            if not content:
                self.reader.close()
                self.reader = None
            *lines, self._rest = re.split(rb"[\r\n]+", self._rest + content)
            for line in lines:
                self.progress.read(line.decode("utf-8", "replace"))

    def end(self) -> int | None:
        """The exit status, after the last lines have been read; None while it runs. A signal's is negative."""
        if self.process.exitcode is None:
            return None
        self.read()
        if self._rest:
            self.progress.read(self._rest.decode("utf-8", "replace"))
        if self.reader is not None:  # a process that the run has started may still hold the other end
            self.reader.close()
        return self.process.exitcode

    def ask_to_stop(self) -> None:
        """SIGTERM, after which a run ends in order."""
        if self.process.exitcode is None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGTERM)


def work(module: str, words: Sequence[str], writer: Connection | None, ends: Sequence[Connection]) -> None:
    """In the new process: as in one that was started by hand.

    Args:
        module: with the command line, see :class:`dho_prompt.compare.listed.Run`.
        words: its arguments.
        writer: takes what is printed; None leaves it where it goes.
        ends: where the lines of this and of other runs are read, which we must not keep open: printing then fails in
            a run whose reader has died, which ends it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    for end in ends:
        end.close()
    if writer is not None:
        for number in (1, 2):
            os.dup2(writer.fileno(), number)
        writer.close()
        sys.stdout, sys.stderr = (
            open(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            for number in (1, 2)
        )
    import numpy

    numpy.random.seed()  # a fork has the generator of its parent; torch's and Python's are those of a fresh process
    import_module(f"dho_prompt.{module}").main(list(words))
