"""Mixing the two predictions (Eq. 11, Algorithm 2) and choosing the mix on validation data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

ALPHAS = tuple(round(0.05 * step, 2) for step in range(21))
SEARCHED = "searched"  # how the sentence begins that says where a mix comes from, if it was
BETAS = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 4.0)
LEAST = 1e-12  # of a probability whose logarithm is taken


def blend(
    ce_logits: Tensor, kd_logits: Tensor, alpha: float = 0.5, beta: float = 1.0, classes: Tensor | None = None
) -> Tensor:
    """``alpha * softmax(ce_logits) + (1 - alpha) * softmax(kd_logits / beta)`` (Eq. 11).

    Args:
        ce_logits: (batch, classes) of the host method's own prediction.
        kd_logits: (batch, classes) of the KD head.
        alpha: share of the host method, in [0, 1].
        beta: temperature of the KD head, > 0.
        classes: (k,) indices of the classes that a test set has, or None for all. They are gathered before each
            softmax, so the mix is the one of a k-way task (ImageNet-A and -R have 200 of the 1000 classes).

    Returns:
        (batch, classes or k) probabilities in float32 or wider, rows summing to 1.
    """
    check_mix(alpha, beta)
    if classes is not None:
        ce_logits, kd_logits = ce_logits[:, classes], kd_logits[:, classes]
    if ce_logits.shape != kd_logits.shape:
        raise ValueError(f"the two heads disagree: {tuple(ce_logits.shape)} against {tuple(kd_logits.shape)}")
    return alpha * probabilities(ce_logits) + (1 - alpha) * probabilities(kd_logits / beta)


class Prediction(NamedTuple):
    """By head, (batch, classes) each; the first head is the method's prediction.

    Attributes:
        scores: the largest is the predicted class.
        probabilities: rows summing to 1; how sure the head is.
    """

    scores: dict[str, Tensor]
    probabilities: dict[str, Tensor]


class Mix(NamedTuple):
    """A choice of alpha and beta and its accuracy (a fraction in [0, 1]) on the data it was chosen on."""

    alpha: float
    beta: float
    accuracy: float


def search_mix(
    ce_logits: Tensor,
    kd_logits: Tensor,
    labels: Tensor,
    fixed: tuple[float, float] = (0.5, 1.0),
    alphas: Sequence[float] = ALPHAS,
    betas: Sequence[float] = BETAS,
) -> Mix:
    """Alpha and beta of a grid on *validation* data (Sec. 4.1; grid of Fig. 10). Never give it test data.

    The paper and its code take the pair of the highest accuracy, which few images cannot tell from its neighbours.
    Here the pair that makes the labels most likely is taken, unless it classifies fewer of the images rightly than the
    ``fixed`` one, which then holds. Equally likely pairs are decided by distance from the paper's fixed values: alpha
    nearest 0.5, then beta nearest 1 (in ratio), then the smaller alpha, then the smaller beta.

    Args:
        ce_logits, kd_logits: (images, classes).
        labels: (images,) class indices; at least one.
        fixed: alpha and beta to fall back on.
        alphas, betas: the grid.
    """
    if len(labels) == 0:
        raise ValueError("alpha and beta cannot be searched on an empty validation set")
    of_labels = labels.unsqueeze(1)
    ce = probabilities(ce_logits.double()).gather(1, of_labels)
    keys = []
    for beta in betas:
        kd = probabilities(kd_logits.double() / beta).gather(1, of_labels)
        for alpha in alphas:
            check_mix(alpha, beta)
            likelihood = (alpha * ce + (1 - alpha) * kd).clamp_min(LEAST).log().mean().item()
            keys.append((-round(likelihood, 9), round(abs(alpha - 0.5), 6), max(beta, 1 / beta), alpha, beta))
    found, kept = (_measured(ce_logits, kd_logits, labels, *pair) for pair in (min(keys)[-2:], fixed))
    return kept if found.accuracy < kept.accuracy else found


def _measured(ce_logits: Tensor, kd_logits: Tensor, labels: Tensor, alpha: float, beta: float) -> Mix:
    predictions = blend(ce_logits, kd_logits, alpha, beta).argmax(dim=-1)
    return Mix(alpha, beta, int((predictions == labels).sum()) / len(labels))


def probabilities(logits: Tensor) -> Tensor:
    """softmax over the last dimension, in float32 or wider."""
    return torch.softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=-1)


def check_mix(alpha: float, beta: float) -> None:
    """Raise a ValueError if alpha is outside [0, 1] or beta is not positive."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")
