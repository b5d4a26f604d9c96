"""An exponential moving average of what is trained, which takes its place at the end of training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dho_prompt.engine.checkpoint import unwrap

STATE = "ema"  # its entry in a checkpoint


class MovingAverage:
    """``average <- decay * average + (1 - decay) * weights`` after every step, in float32; statistics are copied.

    Args:
        models: the trained modules, by name.
        decay: in (0, 1).
    """

    def __init__(self, models: dict[str, nn.Module], decay: float) -> None:
        self.models, self.decay = models, decay
        self.average: dict[str, dict[str, Tensor]] = {
            name: {key: value.detach().clone() for key, value in unwrap(model).state_dict().items()}
            for name, model in models.items()
        }

    @torch.no_grad()
    def add(self) -> None:
        """Take in the weights as they are after a step."""
        for name, model in self.models.items():
            average = self.average[name]
            trained = {key for key, weight in unwrap(model).named_parameters() if weight.requires_grad}
            for key, value in unwrap(model).state_dict().items():
                mine = average[key] = average[key].to(value.device)
                if key in trained:
                    mine.lerp_(value.to(mine.dtype), 1 - self.decay)
                else:
                    mine.copy_(value)

    @torch.no_grad()
    def apply(self) -> None:
        """Put the average in the place of the weights."""
        for name, model in self.models.items():
            unwrap(model).load_state_dict(self.average[name])

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {STATE: self.average}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back :meth:`state`.

        Raises:
            ValueError: the checkpoint was written without an average.
        """
        if STATE not in state:
            raise ValueError(
                "the checkpoint holds no moving average of the weights; resume with OPTIM.EMA 0, or train from the "
                "start"
            )
        self.average = {
            name: {key: value.clone() for key, value in weights.items()} for name, weights in state[STATE].items()
        }
