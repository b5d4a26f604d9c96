"""How far a run is, read from what it prints, and how long everything will take."""

from __future__ import annotations

import re
import signal
import time
from collections import deque
from collections.abc import Sequence

_STEP = re.compile(r"epoch \[(\d+)/(\d+)\] batch \[(\d+)/(\d+)\]")
_METER = r" {} \S+ \((\S+)\)"  # Dassl's meters: the last value, and the mean over the epoch in brackets
_LOSS, _ACCURACY = (re.compile(_METER.format(name)) for name in ("loss", "acc"))
_RESULT = re.compile(r"\* accuracy: ([\d.]+)%")
_ERROR, _TRACEBACK = "dho_prompt: error:", "Traceback (most recent call last)"
KEPT = 200  # lines that an error message may have


class Progress:
    """What the lines of one run say.

    Attributes:
        share: of its training that is done, in 0 .. 1.
        text: in words, e.g. ``epoch 12 of 50, loss 1.586, accuracy 62.5``.
        accuracy: on the test set in percent, as printed; "" before.
        left: estimated seconds of training, None while nothing is known.
        last: the last lines.
    """

    def __init__(self) -> None:
        self.share = 0.0
        self.text, self.accuracy = "starts", ""
        self.left: float | None = None
        self.last: deque[str] = deque(maxlen=KEPT)
        self.started = time.monotonic()
        self._first: tuple[float, float] | None = None  # moment and share of the first step that was seen

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def read(self, line: str) -> None:
        self.last.append(line)
        step = _STEP.match(line)
        if step:
            self._step(*map(int, step.groups()), line)
        elif line.startswith("Finish training"):
            self.share, self.left, self.text = 1.0, None, "is tested"
        elif found := _RESULT.match(line):
            self.accuracy = found[1]

    def _step(self, epoch: int, epochs: int, batch: int, batches: int, line: str) -> None:
        now, share = time.monotonic(), (epoch - 1 + batch / batches) / epochs
        self._first = self._first or (now, share)
        if share > self._first[1]:
            self.left = (now - self._first[0]) / (share - self._first[1]) * (1 - share)
        self.share, self.text = share, f"epoch {epoch} of {epochs}"
        for name, pattern, digits in (("loss", _LOSS, 3), ("accuracy", _ACCURACY, 1)):
            if found := pattern.search(line):
                self.text += f", {name} {float(found[1]):.{digits}f}"

    def error(self, status: int) -> str:
        """The message that a run ended with.

        Args:
            status: its exit status; a negative one is a signal.
        """
        lines = list(self.last)
        if status < 0:
            name = signal.Signals(-status).name
            memory = "; most often memory ran out: run fewer at a time (JOBS=N)" if -status == signal.SIGKILL else ""
            return f"it was ended by {name}{memory}"
        marks = [place for place, line in enumerate(lines) if line.startswith(_ERROR)][-1:]
        marks += [place for place, line in enumerate(lines) if line.startswith(_TRACEBACK)][:1]
        shown = lines[marks[0] :] if marks else lines[-15:]
        return "\n".join(shown) or f"it ended with status {status}"


def seconds_left(
    running: Sequence[tuple[str, Progress]], waiting: Sequence[str], took: dict[str, list[float]], jobs: int
) -> float | None:
    """Estimated seconds until all runs have ended, from those of the same kind, else from all; None if none is known.

    Args:
        running: kind and progress.
        waiting: kinds.
        took: seconds that finished runs took, by kind.
        jobs: runs at a time.
    """
    known = {kind: list(seconds) for kind, seconds in took.items()}
    for kind, progress in running:
        if progress.left is not None:
            known.setdefault(kind, []).append(progress.seconds + progress.left)
    every = [seconds for found in known.values() for seconds in found]
    if not every:
        return None

    def expected(kind: str) -> float:
        found = known.get(kind, every)
        return sum(found) / len(found)

    left = [max(0.0, expected(kind) - progress.seconds) if progress.left is None else progress.left
            for kind, progress in running]  # fmt: skip
    return max([(sum(left) + sum(map(expected, waiting))) / jobs, *left])
