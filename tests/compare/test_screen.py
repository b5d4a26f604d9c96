"""The live line and the plain lines."""

import io
import time

import pytest

from dho_prompt.compare.listed import Run
from dho_prompt.compare.progress import Progress
from dho_prompt.compare.screen import Screen


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def __call__(self):
            return self.now

    monkeypatch.setattr(time, "monotonic", clock := Clock())
    return clock


def runs(count=3, finished=1):
    made = [Run("train", [], f"out/m/seed{n}", "finished" if n < finished else "new") for n in range(count)]
    for number, run in enumerate(made, 1):
        run.name, run.number = f"seed{number}", number
    return made


def progress(share, left, text):
    found = Progress()
    found.share, found.left, found.text = share, left, text
    return found


def test_plain_lines_are_sparse(clock):
    first, second, third = runs()
    stream = io.StringIO()
    screen = Screen([first, second, third], 2, stream=stream)
    pairs = [(second, progress(0.5, 40.0, "epoch 1 of 2")), (third, progress(0.2, None, "starts"))]
    moments = []
    for _ in range(1000):
        before = stream.getvalue()
        screen.show(pairs, [])
        if stream.getvalue() != before:
            moments.append(clock.now - 100)
        clock.now += 10
    assert moments == [60, 180, 420, 900, 1860, 3780, 7380]  # twice as long each time, up to an hour
    line = stream.getvalue().splitlines()[0]
    assert line == (
        "1 of 3 done, 00:40 left for all; run 2 of 3, seed2: epoch 1 of 2, 00:40 left; run 3 of 3, seed3: starts"
    )


def test_a_line_for_every_end_and_an_error_only_once(clock):
    stream, made = io.StringIO(), runs(4, 0)
    screen = Screen(made, 2, stream=stream)
    good = Progress()
    good.accuracy = "76.3"
    clock.now += 65
    screen.ended(made[0], good)
    screen.ended(made[1], good, "dho_prompt: error: x\ny")
    screen.ended(made[2], Progress(), "dho_prompt: error: x\ny")
    screen.ended(made[3], Progress())
    assert stream.getvalue() == (
        "run 1 of 4, seed1: accuracy 76.3 %, 01:05\n"
        "run 2 of 4, seed2 FAILED after 01:05: dho_prompt: error: x\ny\n"
        "run 3 of 4, seed3 FAILED after 00:00: as seed2\n"
        "run 4 of 4, seed4: 00:00\n"
    )


def test_the_live_line_takes_turns(clock):
    stream, (first, second, third) = Terminal(), runs()
    screen = Screen([first, second, third], 2, stream=stream)
    pairs = [(second, progress(0.5, 40.0, "epoch 1 of 2")), (third, progress(0.0, None, "starts"))]
    shown = []
    for _ in range(8):
        screen.show(pairs, [])
        shown.append(screen.bar.desc)
        clock.now += 1
    assert "run 2 of 3, seed2: epoch 1 of 2, 00:40 left" in shown[0] and "run 3 of 3, seed3: starts" in shown[3]
    assert shown == [shown[0]] * 3 + [shown[3]] * 3 + [shown[0]] * 2
    assert screen.bar.n == 1.5 and "50%|" in stream.getvalue()
    screen.say("stays")
    screen.close()
    assert "stays\n" in stream.getvalue() and stream.getvalue().endswith("\r")
    assert Screen([first], 1, shown=True, stream=Terminal()).bar is None
