"""Gaussian-weighted averaging of trained parameters over epochs (Khattak et al., PromptSRC, ICCV 2023)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def gaussian_weights(epochs: int, mean: float, std: float) -> Tensor:
    """The normal density at 1 .. ``epochs``, scaled to sum 1: (epochs,) float64.

    Raises:
        ValueError: ``std`` is not positive.
    """
    if not std > 0:
        raise ValueError(f"GPA_STD is {std}; the width of the averaging is a positive number of epochs")
    epoch = torch.arange(1, epochs + 1, dtype=torch.float64)
    return torch.softmax(-0.5 * ((epoch - mean) / std) ** 2, dim=0)  # a density that underflows would divide 0 by 0


class GaussianAverage:
    """The average of a module's trained parameters over all epochs, in float32.

    Args:
        module: what is averaged; its parameters that require a gradient, and nothing else.
        epochs: of the whole run.
        mean, std: of the normal density over the epochs, which count from 1.

    Raises:
        ValueError: ``std`` is not positive.

    Example:
        >>> average = GaussianAverage(prompts, epochs=20, mean=15, std=1)
        >>> for _ in range(20):
        ...     train_an_epoch()
        ...     average.add()
        >>> average.apply()
    """

    def __init__(self, module: nn.Module, epochs: int, mean: float, std: float) -> None:
        self.weights: list[float] = gaussian_weights(epochs, mean, std).tolist()
        self.epochs_done = 0
        self._setting = {"MAX_EPOCH": epochs, "GPA_MEAN": float(mean), "GPA_STD": float(std)}
        self._trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        self._sum: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self) -> None:
        """Take in the parameters as they are at the end of the next epoch."""
        factor = self.weights[self.epochs_done]
        for name, weight in self._trained.items():
            part = factor * weight.float()
            self._sum[name] = self._sum[name].to(weight.device) + part if name in self._sum else part
        self.epochs_done += 1

    @torch.no_grad()
    def apply(self) -> None:
        """Put the average in the place of the parameters; all epochs must be in it."""
        assert self.epochs_done == len(self.weights)
        for name, weight in self._trained.items():
            weight.copy_(self._sum[name])

    def state_dict(self) -> dict[str, Any]:
        """What goes on in another process: tensors and plain values."""
        return {"epochs_done": self.epochs_done, "sum": dict(self._sum), **self._setting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave.

        Raises:
            ValueError: it was averaged with other weights.
        """
        other = {key: state[key] for key, value in self._setting.items() if state[key] != value}
        if other:
            before, now = (", ".join(f"{key} {setting[key]}" for key in other) for setting in (state, self._setting))
            raise ValueError(
                f"the checkpoint averages its prompts with {before}, this run with {now}; go on with the former or "
                "train from the start"
            )
        self.epochs_done, self._sum = state["epochs_done"], dict(state["sum"])
