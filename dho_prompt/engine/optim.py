"""Optimisers from the ``OPTIM`` section of the config."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import Optimizer

from dho_prompt.engine.utils import unknown_name

FUSED = ("sgd", "adam", "amsgrad", "adamw")  # what PyTorch has in one kernel


def build_optimizer(model: nn.Module | Iterable[Parameter], optim_cfg: Any) -> Optimizer:
    """Build the optimiser that ``OPTIM.NAME`` names.

    Args:
        model: the module, or the parameters, to train.
        optim_cfg: the ``OPTIM`` node.

    Raises:
        ValueError: the name is unknown, STAGED_LR is set, or FUSED for one that has no fused form.

    Example:
        >>> build_optimizer(prompt_learner, cfg.OPTIM)
    """
    if optim_cfg.STAGED_LR:
        raise ValueError("OPTIM.STAGED_LR is True, but every layer is trained at the rate OPTIM.LR; set it to False")
    betas, momentum = (optim_cfg.ADAM_BETA1, optim_cfg.ADAM_BETA2), optim_cfg.MOMENTUM
    known = {
        "adam": (torch.optim.Adam, {"betas": betas}),
        "amsgrad": (torch.optim.Adam, {"betas": betas, "amsgrad": True}),
        "adamw": (torch.optim.AdamW, {"betas": betas}),
        "radam": (torch.optim.RAdam, {"betas": betas}),
        "sgd": (
            torch.optim.SGD,
            {"momentum": momentum, "dampening": optim_cfg.SGD_DAMPNING, "nesterov": optim_cfg.SGD_NESTEROV},
        ),
        "rmsprop": (torch.optim.RMSprop, {"momentum": momentum, "alpha": optim_cfg.RMSPROP_ALPHA}),
    }
    if optim_cfg.NAME not in known:
        raise ValueError(unknown_name("OPTIM.NAME", optim_cfg.NAME, known))
    kind, options = known[optim_cfg.NAME]
    parameters = model.parameters() if isinstance(model, nn.Module) else model
    if getattr(optim_cfg, "FUSED", False):
        if optim_cfg.NAME not in FUSED:
            raise ValueError(f"OPTIM.FUSED is True, which {optim_cfg.NAME} cannot be; it is for {', '.join(FUSED)}")
        options["fused"] = True
    return kind(parameters, lr=optim_cfg.LR, weight_decay=optim_cfg.WEIGHT_DECAY, **options)
