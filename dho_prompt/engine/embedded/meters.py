"""Running averages of what a training step reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

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


class LateNumbers:
    """What steps report, read from an accelerator for several steps together, so that no step waits for it."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, Any]] = []
        self.late = False  # whether any number still lies on an accelerator

    def add(self, step: int, values: Any) -> None:
        """Keep what a step reports: numbers and scalar tensors by name, or None."""
        self._steps.append((step, values))
        tensors = [value for value in values.values() if isinstance(value, torch.Tensor)] if _named(values) else []
        self.late |= any(value.device.type != "cpu" for value in tensors)

    def read(self) -> list[tuple[int, Any]]:
        """Steps with their numbers, in order, by one transfer; they are forgotten here."""
        steps, self._steps, self.late = self._steps, [], False
        tensors = {
            (step, name): value.detach().double().reshape(())
            for step, values in steps
            if _named(values)
            for name, value in values.items()
            if isinstance(value, torch.Tensor)
        }
        found = dict(zip(tensors, torch.stack(list(tensors.values())).tolist())) if tensors else {}
        return [
            (
                step,
                {name: found.get((step, name), value) for name, value in values.items()} if _named(values) else values,
            )
            for step, values in steps
        ]


def _named(values: Any) -> bool:
    return isinstance(values, Mapping)
