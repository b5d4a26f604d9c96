"""The models that a trainer has registered, with their optimisers and schedules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dho_prompt.engine.utils import unknown_name


class TrainerBase:
    """What a trainer does to all its models, or to those that are named."""

    def __init__(self) -> None:
        self._models: dict[str, nn.Module] = {}
        self._optims: dict[str, Optimizer | None] = {}
        self._scheds: dict[str, Any | None] = {}

    def register_model(
        self,
        name: str = "model",
        model: nn.Module | None = None,
        optim: Optimizer | None = None,
        sched: Any | None = None,
    ) -> None:
        """Make a model known for saving, for switching between training and evaluation, and for its learning rate.

        Args:
            name: the folder of its checkpoints. The first name registered is the one whose rate is logged.
            model: the module.
            optim: its optimiser, if it is trained.
            sched: its schedule.

        Raises:
            AttributeError: ``super().__init__()`` has not run yet.
            ValueError: the name is taken.
        """
        if "_models" not in self.__dict__:
            raise AttributeError("call super().__init__() before register_model()")
        if name in self._models:
            raise ValueError(f"a model named '{name}' is registered already; give each its own name")
        self._models[name], self._optims[name], self._scheds[name] = model, optim, sched

    def get_model_names(self, names: str | Sequence[str] | None = None) -> list[str]:
        """All registered names, or ``names`` as a list.

        Raises:
            ValueError: a name is not registered.
        """
        if names is None:
            return list(self._models)
        names = [names] if isinstance(names, str) else list(names)
        for name in names:
            if name not in self._models:
                raise ValueError(unknown_name("registered model", name, self._models))
        return names

    def set_model_mode(self, mode: str = "train", names: str | Sequence[str] | None = None) -> None:
        """Switch registered models to ``train`` or to ``test``/``eval``."""
        if mode not in ("train", "test", "eval"):
            raise ValueError(unknown_name("mode", mode, ["train", "test", "eval"]))
        for name in self.get_model_names(names):
            self._models[name].train(mode == "train")

    def update_lr(self, names: str | Sequence[str] | None = None) -> None:
        """Step the schedules; a trainer calls this after the last batch of an epoch."""
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

    def get_current_lr(self, names: str | Sequence[str] | None = None) -> float:
        """The rate of the first parameter group of the first registered (or named) model."""
        return self._optims[self.get_model_names(names)[0]].param_groups[0]["lr"]

    def model_zero_grad(self, names: str | Sequence[str] | None = None) -> None:
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].zero_grad()

    def detect_anomaly(self, loss: Tensor) -> None:
        if not torch.isfinite(loss).all():
            raise FloatingPointError("the loss is not finite")

    def model_backward(self, loss: Tensor) -> None:
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names: str | Sequence[str] | None = None) -> None:
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].step()

    def model_backward_and_update(self, loss: Tensor, names: str | Sequence[str] | None = None) -> None:
        """Zero the gradients, back-propagate ``loss`` (it must be finite) and step the optimisers."""
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)
