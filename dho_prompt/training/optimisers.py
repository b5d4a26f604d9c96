"""The optimiser of one registered module, at a rate of its own and with weight decay as asked for."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer

from dho_prompt.engine import build_optimizer


def optimizer_of(module: nn.Module, optim_cfg: Any, learning_rate: float = 0.0) -> tuple[Optimizer, Any]:
    """Build the optimiser that an OPTIM node describes.

    Args:
        module: what it trains.
        optim_cfg: the ``OPTIM`` node; with DECAY_ALL False biases and normalisations are not decayed.
        learning_rate: replaces OPTIM.LR; 0 takes it.

    Returns:
        The optimiser, and the node that its schedule is built from.
    """
    settings = optim_cfg.clone()
    if learning_rate:
        settings.defrost()
        settings.LR = learning_rate
    optimizer = build_optimizer(module, settings)
    if not getattr(settings, "DECAY_ALL", True):
        spare_biases(optimizer)
    return optimizer, settings


def spare_biases(optimizer: Optimizer) -> None:
    """Take biases and the weights of normalisations, which have one dimension, out of the weight decay.

    Args:
        optimizer: with one group of parameters; it has two afterwards, the second without decay.
    """
    group = optimizer.param_groups[0]
    single = [weight for weight in group["params"] if weight.dim() <= 1]
    group["params"] = [weight for weight in group["params"] if weight.dim() > 1]
    if not single:
        return
    if not group["params"]:
        group.update(params=single, weight_decay=0.0)
        return
    optimizer.add_param_group({**group, "params": single, "weight_decay": 0.0})
