"""Counting right predictions of several heads at once."""

from __future__ import annotations

from collections import Counter
from typing import Dict

from torch import Tensor


class HeadTally:
    """Accuracy of every head over the batches of one test set.

    Example:
        >>> tally = HeadTally()
        >>> tally.add({"blend": probabilities, "ce": ce_logits}, labels)  # (batch, classes) each; (batch,)
        >>> tally.percentages()
        {'blend': 71.5, 'ce': 70.25, 'images': 400}
    """

    def __init__(self) -> None:
        self.correct: Counter = Counter()
        self.images = 0

    def add(self, scores: Dict[str, Tensor], labels: Tensor) -> None:
        """Count a batch: scores (batch, classes) by head, labels (batch,)."""
        for head, values in scores.items():
            self.correct[head] += int((values.argmax(dim=-1) == labels).sum())
        self.images += len(labels)

    def percentages(self) -> Dict[str, float]:
        """Accuracy in percent by head, and the number of ``images``."""
        return {**{head: 100.0 * count / self.images for head, count in self.correct.items()}, "images": self.images}

    def __str__(self) -> str:
        heads = ", ".join(f"{head} {100 * count / self.images:.2f}%" for head, count in self.correct.items())
        return f"{heads} ({self.images:,} images)"
