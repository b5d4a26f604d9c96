"""Mixing the two predictions (Eq. 11, Algorithm 2) and choosing the mix on validation data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

ALPHAS = tuple(round(0.05 * step, 2) for step in range(21))
SEARCHES = ("likelihood", "accuracy")
LEAST = 1e-12  # a head that is sure of a mistake does not decide alone
BETAS = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 4.0)


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
    alphas: Sequence[float] = ALPHAS,
    betas: Sequence[float] = BETAS,
    by: str = "likelihood",
    fixed: tuple[float, float] | None = None,
) -> Mix:
    """The best alpha and beta of a grid on *validation* data (Sec. 4.1; grid of Fig. 10). Never give it test data.

    The paper takes the best accuracy, which few images give coarsely: it then follows single images. The likelihood of
    the labels uses all of every prediction; where the likeliest pair classifies fewer of the images rightly than the
    ``fixed`` one, that holds. Equal pairs are decided by distance from the paper's fixed values: alpha
    nearest 0.5, then beta nearest 1 (in ratio), then the smaller alpha, then the smaller beta. The result depends on
    nothing else.

    Args:
        ce_logits, kd_logits: (images, classes).
        labels: (images,) class indices; at least one.
        alphas, betas: the grid.
        by: ``likelihood``, the largest mean log-probability of the labels, or ``accuracy``.
        fixed: alpha and beta to fall back on; None for nothing.

    Raises:
        ValueError: there are no images, the grid is empty, or ``by`` is unknown.
    """
    if by not in SEARCHES:
        raise ValueError(f"a mix is searched by {' or '.join(SEARCHES)}, not by {by!r}")
    if len(labels) == 0:
        raise ValueError("alpha and beta cannot be searched on an empty validation set")
    ce_probabilities = probabilities(ce_logits.double())
    best: Mix | None = None
    best_key: tuple[float, ...] = ()
    for beta in betas:
        kd_probabilities = probabilities(kd_logits.double() / beta)
        for alpha in alphas:
            check_mix(alpha, beta)
            mixed = alpha * ce_probabilities + (1 - alpha) * kd_probabilities
            accuracy = int((mixed.argmax(dim=-1) == labels).sum()) / len(labels)
            likelihood = mixed.gather(1, labels[:, None]).clamp(min=LEAST).log().mean().item()
            score = accuracy if by == "accuracy" else round(likelihood, 9)  # nearer ones differ by rounding alone
            key = (-score, round(abs(alpha - 0.5), 6), max(beta, 1 / beta), alpha, beta)
            if best is None or key < best_key:
                best, best_key = Mix(alpha, beta, accuracy), key
    if best is None:
        raise ValueError("alpha and beta cannot be searched on an empty grid")
    if fixed is not None:
        right = int((blend(ce_logits.double(), kd_logits.double(), *fixed).argmax(dim=-1) == labels).sum()) / len(
            labels
        )
        best = Mix(*fixed, right) if right > best.accuracy else best
    return best


def probabilities(logits: Tensor) -> Tensor:
    """softmax over the last dimension, in float32 or wider."""
    return torch.softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=-1)


def check_mix(alpha: float, beta: float) -> None:
    """Raise a ValueError if alpha is outside [0, 1] or beta is not positive."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")
