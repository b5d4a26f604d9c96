"""Counting right predictions, and how sure they were, of several heads at once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor

BINS = 15


class HeadTally:
    """Accuracy and calibration of every head over the batches of one test set.

    The calibration error (ECE; Guo et al., On Calibration of Modern Neural Networks, ICML 2017) sorts the images by
    the probability of the predicted class into 15 bins of equal width, and is the mean distance between accuracy and
    mean probability of the bins, weighted by their images.

    Example:
        >>> tally = HeadTally()
        >>> tally.add({"ce": logits}, {"ce": logits.softmax(-1)}, labels)  # (batch, classes) each; (batch,)
        >>> tally.summary()
        {'accuracy': {'ce': 70.25, 'images': 400}, 'ece': {'ce': 3.1}}
    """

    def __init__(self) -> None:
        self.correct: Counter = Counter()
        self.images = 0
        self.bins: dict[str, Tensor] = {}  # by head: (2, BINS) sums of right predictions and of their probabilities

    def add(self, scores: dict[str, Tensor], probabilities: dict[str, Tensor], labels: Tensor) -> None:
        """Count a batch.

        Args:
            scores: (batch, classes) by head; the largest is the predicted class.
            probabilities: (batch, classes) by head, rows summing to 1.
            labels: (batch,).
        """
        for head, values in scores.items():
            predicted = values.argmax(dim=-1)
            right = (predicted == labels).double().cpu()
            sure = probabilities[head].gather(-1, predicted[:, None])[:, 0].double().cpu()
            self.correct[head] += int(right.sum())
            # bin b holds ((b - 1) / BINS, b / BINS]
            number = (torch.ceil(sure * BINS) - 1).clamp(0, BINS - 1).long()
            sums = torch.stack([torch.bincount(number, part, minlength=BINS) for part in (right, sure)])
            self.bins[head] = self.bins[head] + sums if head in self.bins else sums
        self.images += len(labels)

    def percentages(self) -> dict[str, float]:
        """Accuracy in percent by head, and the number of ``images``."""
        return {**{head: 100.0 * count / self.images for head, count in self.correct.items()}, "images": self.images}

    def calibration_errors(self) -> dict[str, float]:
        """ECE in percent by head; the sums of a bin differ by its images times its own distance."""
        return {head: 100.0 * float((sums[0] - sums[1]).abs().sum()) / self.images for head, sums in self.bins.items()}

    def summary(self) -> dict[str, Any]:
        """:meth:`percentages` under ``accuracy`` and :meth:`calibration_errors` under ``ece``."""
        return {"accuracy": self.percentages(), "ece": self.calibration_errors()}

    def __str__(self) -> str:
        errors = self.calibration_errors()
        heads = (f"{name} {100 * n / self.images:.2f}% (ECE {errors[name]:.1f}%)" for name, n in self.correct.items())
        return f"{', '.join(heads)}, {self.images:,} images"
