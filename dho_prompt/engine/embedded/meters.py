"""Running averages of what a training step reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch


class AverageMeter:
    """The latest value and the mean so far of one number."""

    def __init__(self) -> None:
        self.val: float = 0
        self.avg: float = 0
        self.sum: float = 0
        self.count: int = 0

    def update(self, val: float | torch.Tensor) -> None:
        self.val = val.item() if isinstance(val, torch.Tensor) else val
        self.sum += self.val
        self.count += 1
        self.avg = self.sum / self.count


class MetricMeter:
    """One :class:`AverageMeter` per name; printed as ``name latest (mean)`` with four decimals."""

    def __init__(self) -> None:
        self.meters: dict[str, AverageMeter] = defaultdict(AverageMeter)

    def update(self, values: Mapping[str, float | torch.Tensor] | None) -> None:
        """Add one value per name; ``None`` adds nothing.

        Raises:
            TypeError: ``values`` is not a mapping.
        """
        if values is None:
            return
        if not isinstance(values, Mapping):
            raise TypeError(f"forward_backward must return a dict of numbers or None, not {type(values).__name__}")
        for name, value in values.items():
            self.meters[name].update(value)

    def __str__(self) -> str:
        return " ".join(f"{name} {meter.val:.4f} ({meter.avg:.4f})" for name, meter in self.meters.items())
