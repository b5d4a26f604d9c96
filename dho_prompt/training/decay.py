"""Weight decay on matrices alone."""

from __future__ import annotations

from torch.optim import Optimizer


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
