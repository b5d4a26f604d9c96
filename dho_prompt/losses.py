"""The DHO objective (Kang et al., Simple Semi-supervised Knowledge Distillation ..., Eq. 2-7 and Algorithm 1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def kd_divergence(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0, scale_by_temperature: bool = True
) -> Tensor:
    """KL(teacher || student) of softened predictions, averaged over the batch (Eq. 7; softening as in Alg. 1).

    Algorithm 1 prints the divergence the other way round; Eq. 3 and 7 and the authors' code agree on this one.

    Args:
        student_logits: (batch, classes), of any floating dtype; the divergence is computed in float32 or wider.
        teacher_logits: (batch, classes), ``cos / zeta`` for a CLIP teacher. No gradient flows into them.
        temperature: eta > 0, divides both logits before the softmax.
        scale_by_temperature: multiply by ``temperature ** 2`` (Hinton et al., 2015), which keeps the size of the
            gradient independent of the temperature. The authors' code does; the paper does not print it.

    Returns:
        A scalar in nats; 0 for an empty batch.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"the KD head gives logits of shape {tuple(student_logits.shape)}, the teacher "
            f"{tuple(teacher_logits.shape)}; both must be (batch, classes) over the same classes"
        )
    if len(student_logits) == 0:
        return student_logits.sum()
    student = F.log_softmax(_at_least_float32(student_logits) / temperature, dim=-1)
    teacher = F.log_softmax(_at_least_float32(teacher_logits.detach()) / temperature, dim=-1)
    divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2 if scale_by_temperature else divergence


class DHOTerms(NamedTuple):
    """The loss to differentiate and its parts, all scalars: ``total = lam * ce + (1 - lam) * (kd_x + kd_u)``."""

    total: Tensor
    ce: Tensor
    kd_x: Tensor
    kd_u: Tensor


class DHOLoss(nn.Module):
    """``lam * CE + (1 - lam) * (KD on labelled + KD on unlabelled)``, each a batch mean (Eq. 6-7, Alg. 1 line 24).

    Args:
        lam: weight of the supervised side, in [0, 1].
        temperature: eta of :func:`kd_divergence`, > 0.
        scale_by_temperature: see :func:`kd_divergence`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> terms = DHOLoss()(ce_logits, labels, kd_logits, teacher_logits, kd_logits_u, teacher_logits_u)
        >>> terms.total.backward()
    """

    def __init__(self, lam: float = 0.5, temperature: float = 2.0, scale_by_temperature: bool = True) -> None:
        super().__init__()
        if not 0 <= lam <= 1:
            raise ValueError(f"lam must lie in [0, 1], got {lam}")
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.lam, self.temperature, self.scale_by_temperature = lam, temperature, scale_by_temperature

    @property
    def weights(self) -> tuple[float, float]:
        """Of the supervised side and of the distilled one: lambda and 1 - lambda."""
        return self.lam, 1 - self.lam

    def forward(
        self,
        ce_logits: Tensor,
        labels: Tensor,
        kd_logits_x: Tensor,
        teacher_logits_x: Tensor,
        kd_logits_u: Tensor | None = None,
        teacher_logits_u: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> DHOTerms:
        """Combine the two pathways.

        Args:
            ce_logits: (batch, classes), the host method's own prediction for the labelled images.
            labels: (batch,) class indices.
            kd_logits_x, teacher_logits_x: (batch, classes), the KD head and the teacher on the labelled images.
            kd_logits_u, teacher_logits_u: (unlabelled batch, classes), or None when there are no unlabelled images.
            extra: a scalar that the host adds to its cross-entropy (its own regularisation), or None.

        Raises:
            ValueError: shapes differ, or one of the two for unlabelled images is missing.
        """
        if (kd_logits_u is None) != (teacher_logits_u is None):
            raise ValueError("kd_logits_u and teacher_logits_u belong together: give both, or neither")
        ce = F.cross_entropy(_at_least_float32(ce_logits), labels)
        if extra is not None:
            ce = ce + extra
        kd_x = self.divergence(kd_logits_x, teacher_logits_x)
        kd_u = ce.new_zeros(())
        if kd_logits_u is not None and teacher_logits_u is not None:
            kd_u = self.divergence(kd_logits_u, teacher_logits_u)
        supervised, distilled = self.weights
        return DHOTerms(supervised * ce + distilled * (kd_x + kd_u), ce, kd_x, kd_u)

    def divergence(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """:func:`kd_divergence` with this loss's temperature."""
        return kd_divergence(student_logits, teacher_logits, self.temperature, self.scale_by_temperature)


class SelfRegularisation(NamedTuple):
    """PromptSRC's three terms, weighted scalars; see :func:`self_regularisation`."""

    text: Tensor
    image: Tensor
    logits: Tensor


def self_regularisation(
    logits: Tensor,
    text_features: Tensor,
    image_features: Tensor,
    frozen_logits: Tensor,
    frozen_text_features: Tensor,
    frozen_image_features: Tensor,
    text_weight: float = 25.0,
    image_weight: float = 10.0,
) -> SelfRegularisation:
    """What holds a prompted CLIP to the frozen one (Khattak et al., PromptSRC, ICCV 2023, and its code).

    The mean absolute difference of the text features, that of the image features, and the divergence KL(frozen ||
    prompted) of the predictions. As in the authors' code the latter is divided by batch times classes, not by the
    batch.

    Args:
        logits, frozen_logits: (batch, classes). No gradient flows into what is frozen.
        text_features, frozen_text_features: (classes, d), any length; they are compared at length 1.
        image_features, frozen_image_features: (batch, d), likewise.
        text_weight, image_weight: factors of the first two terms; that of the third is 1.
    """
    prompted = [_unit(features) for features in (text_features, image_features)]
    frozen = [_unit(features.detach()) for features in (frozen_text_features, frozen_image_features)]
    divergence = F.kl_div(
        F.log_softmax(_at_least_float32(logits), dim=1),
        F.log_softmax(_at_least_float32(frozen_logits.detach()), dim=1),
        reduction="sum",
        log_target=True,
    )
    return SelfRegularisation(
        text_weight * F.l1_loss(prompted[0], frozen[0]),
        image_weight * F.l1_loss(prompted[1], frozen[1]),
        divergence / logits.numel(),
    )


def _unit(features: Tensor) -> Tensor:
    return F.normalize(_at_least_float32(features), dim=-1)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
