"""The KD head's learning rate in a host, whose own rate is made for prompts, and a word when the KD loss rises."""

from __future__ import annotations

from typing import Any

from torch import nn

from dho_prompt.heads import CosineHead, ScaledHead
from dho_prompt.losses import DHOLoss

RISE = 1.5  # how much larger than at its lowest an epoch's mean KD loss is worth a word


def safe_rate(head: nn.Module, loss: DHOLoss, terms: int, settings: Any) -> float:
    """The highest rate at which SGD cannot make a head with unit features overshoot, whatever the images.

    Logits ``cos / zeta`` with unit weights, as a cosine head starts, change by at most ``1 / zeta`` for a step of
    length 1, and the second derivative of a KL divergence by logits is at most 1/2 (of a softmax; eta^2 in front and
    the two divisions by eta cancel). So the loss has a curvature of at most ``c = terms (1 - lambda) / (2 zeta^2)``,
    and gradient descent with momentum mu on such a loss converges for rates below ``2 (1 + mu) / c``. Half of that is
    safe: at the limit itself nothing damps the swing.

    Args:
        head: the KD head, with the zeta of the teacher.
        terms: how many KL terms are added up: labelled images, unlabelled ones.
        settings: an OPTIM node.

    Returns:
        The rate; infinity for other optimisers than SGD and for heads without zeta, of which this says nothing.
    """
    weight = loss.weights[1] * (1.0 if loss.scale_by_temperature else loss.temperature**-2)
    if settings.NAME != "sgd" or not isinstance(head, (CosineHead, ScaledHead)) or not weight:
        return float("inf")
    length = 2 if isinstance(head, ScaledHead) else 1  # of the features, squared; a bias is one more of them
    curvature = terms * weight * length / (2 * float(head.zeta) ** 2)
    return (1 + settings.MOMENTUM) / curvature


class RisingLoss:
    """Says once when the KD loss of an epoch lies far above that of an earlier one."""

    def __init__(self) -> None:
        self.lowest, self.said = float("inf"), False
        self._total, self._steps = 0.0, 0

    def add(self, loss: float) -> None:
        """The KD loss of a step."""
        self._total, self._steps = self._total + loss, self._steps + 1

    def end_epoch(self, rate: float) -> None:
        """Compare the epoch's mean with the lowest so far; ``rate`` is the head's peak learning rate."""
        if not self._steps:
            return
        mean = self._total / self._steps
        self._total, self._steps = 0.0, 0
        if mean > RISE * self.lowest and not self.said:
            self.said = True
            print(
                f"Warning: the KD loss rose from {self.lowest:.3g} to {mean:.3g}; where it does not come down again, "
                f"train with a TRAINER.DHO.HEAD_LR below {rate:.2g}, or a lower OPTIM.LR where the image tower is "
                "trained"
            )
        self.lowest = min(self.lowest, mean)
