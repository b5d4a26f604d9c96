"""Learning rates: Dassl's schedules by epoch, and a warm-up with half a cosine by iteration.

Dassl chains a warm-up scheduler to a live successor, which torch 2.7 and later cannot build, which fills checkpoints
with pickled objects and which stands still after a resume. torch's own schedulers do not replace it: those of cosine
and of steps multiply the last rate, which gives other floats, LambdaLR knows shares of the base rate alone, and none
sets the optimiser's rates when its state is loaded. Here every rate follows from the number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dho_prompt.engine.utils import unknown_name


class Schedule(LRScheduler):
    """Call ``step()`` once at the end of every epoch, or of every iteration.

    Args:
        optimizer: its groups' rates are the base rates.
        rate: (steps done, base rate) to the rate.
    """

    def __init__(self, optimizer: Optimizer, rate: Callable[[int, float], float]) -> None:
        self._rate = rate
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        return [self._rate(self.last_epoch, base_lr) for base_lr in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Steps done, base rates and current rates: ints and floats only."""
        return {
            "last_epoch": self.last_epoch,
            "_step_count": self._step_count,
            "base_lrs": [float(lr) for lr in self.base_lrs],
            "_last_lr": [float(lr) for lr in self.get_last_lr()],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after ``state_dict["last_epoch"]`` steps and set the optimiser's rates accordingly.

        Raises:
            ValueError: the state is of another number of parameter groups.
        """
        base_lrs = list(state_dict["base_lrs"])
        groups = self.optimizer.param_groups
        if len(base_lrs) != len(groups):
            raise ValueError(
                f"the saved schedule has {len(base_lrs)} learning rates but the optimiser has {len(groups)} groups; "
                "resume with the config that the run was started with"
            )
        self.base_lrs = base_lrs
        self.last_epoch = int(state_dict["last_epoch"])
        self._step_count = int(state_dict.get("_step_count", self.last_epoch + 1))
        self._last_lr = self.get_lr()
        for group, base_lr, lr in zip(groups, base_lrs, self._last_lr):
            group["initial_lr"], group["lr"] = base_lr, lr


def build_lr_scheduler(optimizer: Optimizer, optim_cfg: Any) -> Schedule:
    """Build the schedule that ``OPTIM.LR_SCHEDULER`` names, with the warm-up that ``OPTIM.WARMUP_*`` describe.

    Args:
        optimizer: the optimiser whose rates to set.
        optim_cfg: the ``OPTIM`` node.

    Raises:
        ValueError: the schedule or the warm-up type is unknown.
        TypeError: STEPSIZE does not suit the schedule.
    """
    return Schedule(optimizer, rates_by_epoch(optim_cfg))


def rates_by_epoch(optim_cfg: Any) -> Callable[[int, float], float]:
    """(epoch from 0, base rate) to the rate, under an ``OPTIM`` node; errors as :func:`build_lr_scheduler`."""
    share = _share_of_base_rate(optim_cfg)
    warmup_epochs = max(optim_cfg.WARMUP_EPOCH, 0)
    warmup = _warmup(optim_cfg) if warmup_epochs else None
    start = 0 if optim_cfg.WARMUP_RECOUNT else warmup_epochs  # the schedule's own epoch at the end of the warm-up

    def rate(epoch: int, base_lr: float) -> float:
        if epoch < warmup_epochs:
            return warmup(epoch, base_lr)
        return base_lr * share(start, start + epoch - warmup_epochs)

    return rate


def warmup_cosine(optimizer: Optimizer, warmup_steps: int, total_steps: int) -> Schedule:
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

    def rate(iteration: int, base_lr: float) -> float:
        if iteration < warmup_steps:
            return base_lr * (iteration + 1) / warmup_steps
        return base_lr * _fall(math.pi * min((iteration - warmup_steps) / (total_steps - warmup_steps), 1.0))

    return Schedule(optimizer, rate)


def _warmup(optim_cfg: Any) -> Callable[[int, float], float]:
    """(epoch of the warm-up, base rate) to the rate."""
    if optim_cfg.WARMUP_TYPE == "constant":
        return lambda epoch, base_lr: optim_cfg.WARMUP_CONS_LR
    if optim_cfg.WARMUP_TYPE == "linear":
        return lambda epoch, base_lr: base_lr * epoch / optim_cfg.WARMUP_EPOCH if epoch else optim_cfg.WARMUP_MIN_LR
    raise ValueError(unknown_name("OPTIM.WARMUP_TYPE", optim_cfg.WARMUP_TYPE, ["constant", "linear"]))


def _share_of_base_rate(optim_cfg: Any) -> Callable[[int, int], float]:
    """(first epoch of the schedule, epoch) to the share of the base rate, 1 where both are equal."""
    name, stepsize, gamma, max_epoch = (
        optim_cfg.LR_SCHEDULER,
        optim_cfg.STEPSIZE,
        optim_cfg.GAMMA,
        optim_cfg.MAX_EPOCH,
    )
    if name == "cosine":
        # the floor: a warm-up as long as the run would divide by zero
        return lambda start, epoch: _fall(math.pi * epoch / max_epoch) / max(_fall(math.pi * start / max_epoch), 1e-300)
    if name == "single_step":
        every = stepsize[-1] if isinstance(stepsize, (list, tuple)) else stepsize
        if not isinstance(every, int):
            raise TypeError(f"OPTIM.STEPSIZE must be a whole number of epochs for single_step, not {every!r}")
        every = every if every > 0 else max_epoch
        return lambda start, epoch: gamma ** (epoch // every - start // every)
    if name == "multi_step":
        if not isinstance(stepsize, (list, tuple)):
            raise TypeError(f"OPTIM.STEPSIZE must be a list of epochs for multi_step, not {stepsize!r}")
        return lambda start, epoch: gamma ** sum(start < milestone <= epoch for milestone in stepsize)
    raise ValueError(unknown_name("OPTIM.LR_SCHEDULER", name, ["single_step", "multi_step", "cosine"]))


def _fall(angle: float) -> float:
    """Half a cosine: 1 at the angle 0, falling to 0 at pi."""
    return (1 + math.cos(angle)) / 2
