"""The warm-up and half cosine by iteration."""

import math

import pytest
import torch

from dho_prompt.engine.schedules import warmup_cosine


def rates(warmup, total, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = warmup_cosine(optimizer, warmup, total)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen, schedule


def test_rises_to_the_full_rate_and_reaches_zero_at_the_end_only():
    seen, schedule = rates(4, 12, 12)
    wanted = [0.125, 0.25, 0.375, 0.5] + [0.25 * (1 + math.cos(math.pi * i / 8)) for i in range(8)]
    assert seen == pytest.approx(wanted)
    assert min(seen[3:]) > 0 and seen[3:] == sorted(seen[3:], reverse=True)
    assert schedule.get_last_lr() == pytest.approx([0.0])


def test_a_restored_schedule_goes_on():
    whole, _ = rates(3, 10, 10)
    _, half = rates(3, 10, 5)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    warmup_cosine(optimizer, 3, 10).load_state_dict(half.state_dict())
    assert optimizer.param_groups[0]["lr"] == pytest.approx(whole[5])


@pytest.mark.parametrize("warmup", [10, 11, -1])
def test_a_warmup_as_long_as_the_run_is_refused(warmup):
    with pytest.raises(ValueError, match="the run has 10 iterations; it must be at least 0 and at most 9"):
        rates(warmup, 10, 1)
