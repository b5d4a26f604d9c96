"""Dual-head KD with binary divergences (Yang et al., DHKD, 2024), as a rival objective (Sec. 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dho_prompt.config import Setting, declare
from dho_prompt.distill.base import Terms
from dho_prompt.distill.ce import CE
from dho_prompt.distill.two_heads import TwoHeads
from dho_prompt.losses import DHOLoss
from dho_prompt.methods.base import MethodOutput

GRADIENTS = ("as_is", "project")

declare(
    "TRAINER.DHO",
    {
        "DHKD_GRADIENT": Setting(
            "as_is", "dhkd: leave the divergence's gradient as it is, or project its conflict with CE away", GRADIENTS
        ),
    },
)


def binary_divergence(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0) -> Tensor:
    """``tau^2 * sum_c KL(Bernoulli(1/2) || Bernoulli(sigmoid(s_c)))`` with ``s = (student - teacher) / tau``.

    It is 0 exactly where the logits agree, and works on logits before any softmax.

    Args:
        student_logits, teacher_logits: (images, classes); no gradient flows into the teacher's.
        temperature: tau > 0.

    Returns:
        The mean over images, a scalar in nats; 0 without images.
    """
    if len(student_logits) == 0:
        return student_logits.sum()
    s = (student_logits.float() - teacher_logits.detach().float()) / temperature
    # KL(1/2 || q) = -log 2 - (log q + log(1 - q)) / 2
    divergence = -0.5 * (F.logsigmoid(s) + F.logsigmoid(-s)) - torch.log(s.new_tensor(2.0))
    return temperature**2 * divergence.sum(dim=-1).mean()


class DHKD(TwoHeads):
    """``lambda * CE(head 1) + (1 - lambda) * binary divergence(head 2)``; head 1 predicts.

    The divergence is taken where DHO takes its own, on labelled and unlabelled images; what DHKD does with unlabelled
    ones is said nowhere.

    Args:
        head, loss: see :class:`~dho_prompt.distill.two_heads.TwoHeads`; eta is tau.
        gradient: ``as_is``, or ``project``: where the divergence's gradient of the features points against that of the
            cross-entropy, this part of it is taken away before it reaches the student (DHKD's gradient alignment;
            Yu et al., 2020). The heads' own gradients stay. Frozen features have nothing to project.
    """

    name = "dhkd"

    def __init__(self, head: nn.Module, loss: DHOLoss, gradient: str = "as_is") -> None:
        super().__init__(head, loss)
        if gradient not in GRADIENTS:
            raise ValueError(f"gradient is {gradient!r}; allowed are {', '.join(GRADIENTS)}")
        self.gradient = gradient

    def forward(
        self,
        output: MethodOutput,
        labels: Tensor,
        teacher_logits: Tensor,
        teacher_features: Tensor | None = None,
    ) -> Terms:
        ce, _ = CE()(output, labels)
        projects = self.gradient == "project" and output.features.requires_grad
        features = output.features.detach().requires_grad_() if projects else output.features
        logits, labelled, eta = self.head(features), len(labels), self.loss.temperature
        parts = {
            "loss_kd_x": binary_divergence(logits[:labelled], teacher_logits[:labelled], eta),
            "loss_kd_u": binary_divergence(logits[labelled:], teacher_logits[labelled:], eta),
        }
        kd = sum(parts.values())
        supervised, distilled = self.loss.weights
        total = supervised * ce + distilled * kd
        if projects:
            of_ce, of_kd = (
                torch.autograd.grad(loss, at, retain_graph=True)[0]
                for loss, at in ((ce, output.features), (kd, features))
            )
            carried = (without_conflict(of_kd, of_ce) * output.features).sum()
            total = total + distilled * (carried - carried.detach())  # a gradient, no value
        return Terms(total, {"loss_ce": ce, **parts, **output.extra})


def without_conflict(gradient: Tensor, other: Tensor) -> Tensor:
    """``gradient`` less its part along ``other`` if the two point against each other, else as it is.

    Args:
        gradient, other: of one shape; taken as one vector each.
    """
    inner = (gradient * other).sum()
    return gradient - inner.clamp(max=0) / (other * other).sum().clamp(min=1e-30) * other
