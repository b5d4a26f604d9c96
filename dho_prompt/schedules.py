"""Learning rates that change with every iteration."""

from __future__ import annotations

import math

from torch.optim import Optimizer

from dho_prompt.engine.embedded.schedule import EpochSchedule


def warmup_cosine(optimizer: Optimizer, warmup_steps: int, total_steps: int) -> EpochSchedule:
    """Linear warm-up, then half a cosine down to 0 (Tables 6 and 11), stepped once after every iteration.

    Iteration ``i`` (from 0) uses ``base_lr * (i + 1) / warmup_steps`` during the warm-up, then
    ``base_lr * (1 + cos(pi * (i - warmup_steps) / (total_steps - warmup_steps))) / 2``: the warm-up ends at the full
    rate, and the rate is 0 when the run ends. (The authors' code starts both parts at iteration 0, so that the rate is
    0 already ``warmup_steps`` iterations before the end.)

    Args:
        optimizer: its groups' rates are the base rates.
        warmup_steps: iterations of the warm-up, 0 or more.
        total_steps: iterations of the whole run.

    Raises:
        ValueError: the warm-up is not shorter than the run.
    """
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"OPTIM.WARMUP_STEPS is {warmup_steps}, but the run has {total_steps} iterations; it must be at least 0 "
            f"and at most {total_steps - 1}"
        )

    def cosine(start: int, position: int) -> float:
        return (1 + math.cos(math.pi * min(position / (total_steps - warmup_steps), 1.0))) / 2

    return EpochSchedule(
        optimizer, cosine, warmup_steps, lambda iteration, base_lr: base_lr * (iteration + 1) / warmup_steps
    )
