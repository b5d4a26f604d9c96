"""What a host does to its model behind DHO's back: moving or replacing it, or a second pass over its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def refuse_another_model(trainer: Any, model: nn.Module) -> None:
    """Refuse a host whose step trains another model than the one that it has registered.

    Checkpoints hold the registered models, which must be the trained ones or a part of them.

    Args:
        trainer: the host with DHO.
        model: the module that its step calls now.

    Raises:
        ValueError: it is in DataParallel, or trains no weight of a registered model.
    """
    name = trainer.host.__name__
    if isinstance(model, nn.DataParallel):
        raise ValueError(f"{name} put its model in DataParallel; DHO joins a step on one device only")
    registered = {id(weight) for part in trainer.get_model_names() for weight in trainer._models[part].parameters()}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    if trained and not any(id(weight) in registered for weight in trained):
        raise ValueError(
            f"{name} trains another {type(model).__name__} than the one that it registered in build_model, so that "
            f"checkpoints would hold weights that are not trained; replace self.{trainer.adapter.model_path} before "
            "register_model, or move it by .to(), which keeps its weights"
        )


def refuse_another_device(host: str, features: Tensor, head: nn.Module) -> None:
    """Refuse a model that was moved away from the device that DHO's parts are on.

    Raises:
        ValueError: names both devices.
    """
    place = next(head.parameters()).device
    if features.device != place:
        raise ValueError(
            f"{host} moved its model to {features.device} after build_model, and DHO's head and teacher are on "
            f"{place}, where self.device was then; move it in build_model, and set self.device to the same"
        )


class SecondPass:
    """Looks for a host that takes another step, or throws its gradients away, between two calls of its model.

    Such a one (SAM and its relatives) would train its weights on the second pass, which the KD loss is not part of.

    Args:
        model: the module that the step calls, at its first call.
        head: the KD head, whose gradients are cleared before the step.
    """

    def __init__(self, model: nn.Module, head: nn.Module) -> None:
        self._trained = [(weight, weight._version) for weight in model.parameters() if weight.requires_grad]
        self._head = head

    def refuse(self, host: str) -> None:
        """Called at the second and every further call of the model.

        Raises:
            ValueError: weights were changed, or gradients cleared, since the first.
        """
        changed = any(weight._version != version for weight, version in self._trained)
        passed = any(weight.grad is not None for weight in self._head.parameters())
        left = any(weight.grad is not None and bool(torch.any(weight.grad != 0)) for weight, _ in self._trained)
        if changed or (passed and not left):
            how = "changes its weights" if changed else "clears its gradients"
            raise ValueError(
                f"{host} calls its model twice in a step and {how} in between, as SAM does: the gradient of the KD "
                "loss, which joins the first call, would be lost. DHO does not fit such a step where it trains the "
                "image tower; use the host's own step with a plain optimiser"
            )
