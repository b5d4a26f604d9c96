"""Learning rates per epoch: Dassl's schedules and warm-ups in one scheduler whose state is plain numbers.

Dassl chains a warm-up scheduler to a live successor, which torch 2.7 and later cannot build, which fills checkpoints
with pickled objects and which stands still after a resume. Here every rate is a function of the epoch alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from .registry import unknown_name


class EpochSchedule(LRScheduler):
    """Warm-up, then a schedule. Call ``step()`` once at the end of an epoch.

    Epoch ``e`` (from 0) of ``warmup_epoch`` warm-up epochs uses ``warmup(e, base_lr)``; later ones use
    ``base_lr * factor(start, start + e - warmup_epoch)``.

    Args:
        optimizer: its groups' rates are the base rates.
        factor: the schedule: (start, position) to the share of the base rate, 1 where both are equal.
        warmup_epoch: number of warm-up epochs, 0 for none.
        warmup: the rate during the warm-up.
        start: the schedule's own epoch at the end of the warm-up.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: Callable[[int, int], float],
        warmup_epoch: int = 0,
        warmup: Callable[[int, float], float] = lambda epoch, base_lr: base_lr,
        start: int = 0,
    ) -> None:
        self._factor, self._warmup_epoch, self._warmup, self._start = factor, warmup_epoch, warmup, start
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        epoch = self.last_epoch
        if epoch < self._warmup_epoch:
            return [self._warmup(epoch, base_lr) for base_lr in self.base_lrs]
        factor = self._factor(self._start, self._start + epoch - self._warmup_epoch)
        return [base_lr * factor for base_lr in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Epochs done, base rates and current rates: ints and floats only."""
        return {
            "last_epoch": self.last_epoch,
            "_step_count": self._step_count,
            "base_lrs": [float(lr) for lr in self.base_lrs],
            "_last_lr": [float(lr) for lr in self.get_last_lr()],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after ``state_dict["last_epoch"]`` epochs and set the optimiser's rates accordingly.

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


def build_lr_scheduler(optimizer: Optimizer, optim_cfg: Any) -> EpochSchedule:
    """Build the schedule that ``OPTIM.LR_SCHEDULER`` names, with the warm-up that ``OPTIM.WARMUP_*`` describe.

    Args:
        optimizer: the optimiser whose rates to set.
        optim_cfg: the ``OPTIM`` node.

    Raises:
        ValueError: the schedule or the warm-up type is unknown.
        TypeError: STEPSIZE does not suit the schedule.
    """
    factor = _build_factor(optim_cfg)
    warmup_epoch = max(optim_cfg.WARMUP_EPOCH, 0)
    if not warmup_epoch:
        return EpochSchedule(optimizer, factor)
    start = 0 if optim_cfg.WARMUP_RECOUNT else warmup_epoch
    return EpochSchedule(optimizer, factor, warmup_epoch, _build_warmup(optim_cfg), start)


def _build_warmup(optim_cfg: Any) -> Callable[[int, float], float]:
    if optim_cfg.WARMUP_TYPE == "constant":
        return lambda epoch, base_lr: optim_cfg.WARMUP_CONS_LR
    if optim_cfg.WARMUP_TYPE == "linear":
        return lambda epoch, base_lr: base_lr * epoch / optim_cfg.WARMUP_EPOCH if epoch else optim_cfg.WARMUP_MIN_LR
    raise ValueError(unknown_name("OPTIM.WARMUP_TYPE", optim_cfg.WARMUP_TYPE, ["constant", "linear"]))


def _build_factor(optim_cfg: Any) -> Callable[[int, int], float]:
    name, stepsize, gamma, max_epoch = (
        optim_cfg.LR_SCHEDULER,
        optim_cfg.STEPSIZE,
        optim_cfg.GAMMA,
        optim_cfg.MAX_EPOCH,
    )
    if name == "cosine":
        # the floor: a warm-up as long as the run would divide by zero
        return lambda start, position: _cosine(position, max_epoch) / max(_cosine(start, max_epoch), 1e-300)
    if name == "single_step":
        every = stepsize[-1] if isinstance(stepsize, (list, tuple)) else stepsize
        if not isinstance(every, int):
            raise TypeError(f"OPTIM.STEPSIZE must be a whole number of epochs for single_step, not {every!r}")
        every = every if every > 0 else max_epoch
        return lambda start, position: gamma ** (position // every - start // every)
    if name == "multi_step":
        if not isinstance(stepsize, (list, tuple)):
            raise TypeError(f"OPTIM.STEPSIZE must be a list of epochs for multi_step, not {stepsize!r}")
        return lambda start, position: gamma ** sum(start < milestone <= position for milestone in stepsize)
    raise ValueError(unknown_name("OPTIM.LR_SCHEDULER", name, ["single_step", "multi_step", "cosine"]))


def _cosine(position: int, max_epoch: int) -> float:
    """1 at epoch 0, falling to 0 at ``max_epoch``."""
    return (1 + math.cos(math.pi * position / max_epoch)) / 2
