"""Everything printed also goes to ``log.txt``."""

from __future__ import annotations

import atexit
import os
import sys
import time
from typing import Any


class Tee:
    """A stand-in for ``sys.stdout`` that also writes to a file, line by line, so that a killed run keeps its log.

    Args:
        path: the log file; it is appended to.
    """

    def __init__(self, path: str) -> None:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        self.console = sys.stdout
        self.file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (lives as long as the run)

    def write(self, text: str) -> int:
        if not self.file.closed:
            self.file.write(text)
        return self.console.write(text)

    def flush(self) -> None:
        self.console.flush()
        if not self.file.closed:
            self.file.flush()

    def close(self) -> None:
        """Close the file and give stdout back. The console is not ours to close."""
        if sys.stdout is self:
            sys.stdout = self.console
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.console, name)  # isatty, encoding, fileno, ...


def setup_logger(output: str | None = None) -> None:
    """From now on copy what is printed into a log file; at exit stdout is restored.

    A second call in one process ends the first log.

    Args:
        output: a folder (the file is its ``log.txt``) or a path ending in ``.txt`` or ``.log``; ``None`` does
            nothing. An existing log is kept: the new one is named ``log.txt-<date and time>``.
    """
    if output is None:
        return
    if isinstance(sys.stdout, Tee):
        sys.stdout.close()
    path = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
    if os.path.exists(path):
        path += time.strftime("-%Y-%m-%d-%H-%M-%S")
    sys.stdout = Tee(path)
    atexit.register(sys.stdout.close)
