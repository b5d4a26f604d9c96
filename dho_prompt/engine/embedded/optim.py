"""Optimisers from the ``OPTIM`` section of the config."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import Optimizer

from .registry import unknown_name
from .schedule import build_lr_scheduler

__all__ = ["build_lr_scheduler", "build_optimizer"]


def build_optimizer(
    model: nn.Module | Iterable[Parameter] | None, optim_cfg: Any, param_groups: Iterable | None = None
) -> Optimizer:
    """Build the optimiser that ``OPTIM.NAME`` names.

    Args:
        model: the module, or the parameters, to train.
        optim_cfg: the ``OPTIM`` node.
        param_groups: parameters or groups to use in place of ``model``'s.

    Raises:
        ValueError: the name is unknown, or STAGED_LR names layers that the model does not have.
        TypeError: STAGED_LR needs a module and got parameters.

    Example:
        >>> build_optimizer(prompt_learner, cfg.OPTIM)
    """
    build = _builders(optim_cfg).get(optim_cfg.NAME)
    if build is None:
        raise ValueError(unknown_name("OPTIM.NAME", optim_cfg.NAME, _builders(optim_cfg)))
    if param_groups is not None:
        if optim_cfg.STAGED_LR:
            warnings.warn(
                "OPTIM.STAGED_LR is ignored: param_groups were given and carry their own learning rates", stacklevel=2
            )
    elif optim_cfg.STAGED_LR:
        param_groups = _staged_groups(model, optim_cfg)
    else:
        param_groups = model.parameters() if isinstance(model, nn.Module) else model
    return build(param_groups, lr=optim_cfg.LR, weight_decay=optim_cfg.WEIGHT_DECAY)


def _builders(optim_cfg: Any) -> dict[str, Callable[..., Optimizer]]:
    betas = (optim_cfg.ADAM_BETA1, optim_cfg.ADAM_BETA2)
    momentum = optim_cfg.MOMENTUM
    return {
        "adam": lambda params, **common: torch.optim.Adam(params, betas=betas, **common),
        "amsgrad": lambda params, **common: torch.optim.Adam(params, betas=betas, amsgrad=True, **common),
        "adamw": lambda params, **common: torch.optim.AdamW(params, betas=betas, **common),
        "radam": lambda params, **common: torch.optim.RAdam(params, betas=betas, **common),
        "sgd": lambda params, **common: torch.optim.SGD(
            params,
            momentum=momentum,
            dampening=optim_cfg.SGD_DAMPNING,
            nesterov=optim_cfg.SGD_NESTEROV,
            **common,
        ),
        "rmsprop": lambda params, **common: torch.optim.RMSprop(
            params, momentum=momentum, alpha=optim_cfg.RMSPROP_ALPHA, **common
        ),
    }


def _staged_groups(model: Any, optim_cfg: Any) -> list[dict[str, Any]]:
    """New layers at the full rate, all other child modules at ``BASE_LR_MULT`` times it."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"OPTIM.STAGED_LR needs the module itself to find its layers, not {type(model).__name__}")
    if isinstance(model, nn.DataParallel):
        model = model.module
    new_layers = [optim_cfg.NEW_LAYERS] if isinstance(optim_cfg.NEW_LAYERS, str) else list(optim_cfg.NEW_LAYERS)
    children = dict(model.named_children())
    for layer in new_layers:
        if layer not in children:
            raise ValueError(unknown_name("layer in OPTIM.NEW_LAYERS", layer, children))
    new, base = [], []
    for name, child in children.items():
        (new if name in new_layers else base).extend(child.parameters())
    return [{"params": base, "lr": optim_cfg.LR * optim_cfg.BASE_LR_MULT}, {"params": new}]
