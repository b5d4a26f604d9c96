"""What a run's lines say, and the time that is left."""

import time

import pytest

from dho_prompt.compare.progress import Progress, seconds_left

STEP = (
    "epoch [{}/8] batch [{}/5] time 0.066 (0.050) data 0.022 (0.022) loss 2.4337 (1.2345) loss_ce 1.7271 (9.0) "
    "acc 43.7500 (62.4900) lr 1.0000e-05 eta 0:00:16"
)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_epoch_loss_accuracy_and_the_time_that_is_left(clock):
    progress = Progress()
    assert progress.text == "starts" and progress.left is None
    clock.now += 30  # the start does not count
    progress.read(STEP.format(3, 1))  # of a run that goes on after two epochs
    assert progress.share == pytest.approx((2 + 1 / 5) / 8) and progress.left is None
    clock.now += 4
    progress.read(STEP.format(4, 1))
    assert progress.text == "epoch 4 of 8, loss 1.234, accuracy 62.5" and progress.seconds == 34
    assert progress.left == pytest.approx(4 * (8 - 3.2))
    progress.read("Finish training")
    assert (progress.share, progress.left, progress.text) == (1, None, "is tested")
    progress.read("* accuracy: 76.3%")
    assert progress.accuracy == "76.3"


def test_a_line_without_loss_or_accuracy():
    progress = Progress()
    progress.read("epoch [1/2] batch [1/1] lr 1.0 eta 0:00:00")
    assert progress.text == "epoch 1 of 2"


def message(status, *lines):
    progress = Progress()
    for line in lines:
        progress.read(line)
    return progress.error(status)


def test_the_last_message_in_full():
    said = ("Loading", "dho_prompt: error: a", "again", "dho_prompt: error: b is c", "(more)")
    assert message(1, *said) == "dho_prompt: error: b is c\n(more)"
    trace = ("Loading", "Traceback (most recent call last):", "  x", "KeyError: 1", "", "During the handling",
             "Traceback (most recent call last):", "TypeError: 2")  # fmt: skip
    assert message(1, *trace) == "\n".join(trace[1:])
    assert message(3, *map(str, range(20))) == "\n".join(map(str, range(5, 20)))
    assert message(3) == "it ended with status 3"
    assert message(-9, "x") == "it was ended by SIGKILL; most often memory ran out: run fewer at a time (JOBS=N)"
    assert message(-15) == "it was ended by SIGTERM"


def under_way(clock, seconds, left):
    progress = Progress()
    progress.started, progress.left = clock.now - seconds, left
    return progress


def test_what_is_left_for_all(clock):
    first, second = under_way(clock, 10, 30.0), under_way(clock, 5, None)
    assert seconds_left([("a", under_way(clock, 5, None))], ["a"], {}, 1) is None
    # a: 40 expected in all, of which 30 are left; b: as the mean of all, of which 5 have passed
    assert seconds_left([("a", first), ("b", second)], ["a", "b"], {}, 2) == (30 + 35 + 40 + 40) / 2
    # b has taken 10 and 20; all, a with it, 30 / 2
    assert seconds_left([("b", second)], ["a", "b"], {"b": [10.0, 20.0]}, 1) == 10 + 15 + 15
    assert seconds_left([("a", first)], [], {}, 4) == 30  # one run takes its time, whatever the processors
    assert seconds_left([("a", under_way(clock, 90, None))], [], {"a": [50.0]}, 1) == 0
