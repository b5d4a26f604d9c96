"""A run stops at a loss that is not a number."""

from __future__ import annotations

import torch
from torch import Tensor


class FiniteLoss:
    """A mixin that says where a loss became infinite or not a number; put it before a Dassl-style trainer's class."""

    def detect_anomaly(self, loss: Tensor) -> None:
        """Stop the run before such a loss reaches the weights.

        Raises:
            FloatingPointError: says where, the loss, the learning rates and what to try.
        """
        if torch.isfinite(loss).all():
            return
        if self._writer is not None:
            self._writer.flush()
        rates = [
            f"{name} {optim.param_groups[0]['lr']:.4e}" for name, optim in self._optims.items() if optim is not None
        ]
        batch = f"batch {getattr(self, 'batch_idx', 0) + 1} of {getattr(self, 'num_batches', '?')}"
        raise FloatingPointError(
            f"the loss is {loss.detach().float().tolist()} in epoch {self.epoch + 1}, {batch}, at learning rate "
            f"{', '.join(rates) or 'none'}. Lower OPTIM.LR, or train in float32 (the trainer's PREC fp32). "
            "The checkpoint of the last complete epoch is kept; to change the learning rate from the start, "
            "use a new OUTPUT_DIR"
        )
