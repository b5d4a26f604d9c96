"""A run stops at numbers that are none, and before it writes them down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

ADVICE = (
    "Lower OPTIM.LR, or train in float32 (the trainer's PREC fp32). The checkpoint of the last complete epoch is kept; "
    "to change the learning rate from the start, use a new OUTPUT_DIR"
)


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names of the floating-point tensors with an entry that is infinite or not a number."""
    return [name for name, value in tensors if value.is_floating_point() and not torch.isfinite(value).all()]


def refuse_weights(models: Mapping[str, nn.Module], when: str) -> None:
    """Keep weights that have diverged out of the checkpoints, so that the last good ones stay.

    Args:
        models: by name; their trained parameters are looked at.
        when: for the message.

    Raises:
        FloatingPointError: a trained weight is infinite or not a number.
    """
    for name, model in models.items():
        trained = ((key, weight) for key, weight in model.named_parameters() if weight.requires_grad)
        bad = not_finite(trained)
        if bad:
            raise FloatingPointError(
                f"{when} {len(bad)} weights of {name} are infinite or not numbers ({', '.join(bad[:3])}), so no "
                f"checkpoint is written. {ADVICE}"
            )


def refuse_loss(loss: Tensor, trainer: Any) -> None:
    """Stop a run before such a loss reaches the weights.

    Args:
        loss: a scalar.
        trainer: says in which epoch and batch, and at which learning rates.

    Raises:
        FloatingPointError: it is infinite or not a number.
    """
    if torch.isfinite(loss).all():
        return
    rates = [f"{name} {optim.param_groups[0]['lr']:.4e}" for name, optim in trainer._optims.items() if optim]
    batch = f"batch {getattr(trainer, 'batch_idx', 0) + 1} of {getattr(trainer, 'num_batches', '?')}"
    raise FloatingPointError(
        f"the loss is {loss.detach().float().tolist()} in epoch {trainer.epoch + 1}, {batch}, at learning rate "
        f"{', '.join(rates) or 'none'}. {ADVICE}"
    )
