"""What a test run reports: accuracy, error, macro F1, per-class results, the confusion matrix."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dho_prompt.files import atomic_write

from .registry import Registry

EVALUATOR_REGISTRY = Registry("EVALUATOR")


def build_evaluator(cfg: Any, **kwargs: Any) -> EvaluatorBase:
    """Build the evaluator that ``TEST.EVALUATOR`` names.

    Raises:
        ValueError: no evaluator goes by that name; the message names the nearest.
    """
    return EVALUATOR_REGISTRY.build(cfg.TEST.EVALUATOR, cfg, verbose=cfg.VERBOSE, **kwargs)


class EvaluatorBase:
    """Collects batches with ``process`` and reports with ``evaluate``."""

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg

    def reset(self) -> None:
        raise NotImplementedError

    def process(self, mo: Tensor, gt: Tensor) -> None:
        raise NotImplementedError

    def evaluate(self) -> Mapping[str, float]:
        raise NotImplementedError


@EVALUATOR_REGISTRY.register()
class Classification(EvaluatorBase):
    """Top-1 classification in percent.

    Args:
        cfg: the run's config; reads ``TEST.PER_CLASS_RESULT``, ``TEST.COMPUTE_CMAT`` and ``OUTPUT_DIR``.
        lab2cname: label to class name, needed for the per-class result.

    Raises:
        ValueError: the per-class result is wanted without ``lab2cname``.
    """

    def __init__(self, cfg: Any, lab2cname: Mapping[int, str] | None = None, **kwargs: Any) -> None:
        super().__init__(cfg)
        if cfg.TEST.PER_CLASS_RESULT and lab2cname is None:
            raise ValueError("TEST.PER_CLASS_RESULT needs the class names: build_evaluator(cfg, lab2cname=...)")
        self._lab2cname = lab2cname
        self.reset()

    def reset(self) -> None:
        self._labels: list[int] = []
        self._predictions: list[int] = []

    def process(self, mo: Tensor, gt: Tensor) -> None:
        """Add a batch.

        Args:
            mo: scores ``(batch, classes)``; the highest is the prediction.
            gt: class indices ``(batch,)``.
        """
        self._labels.extend(gt.tolist())
        self._predictions.extend(mo.max(dim=1).indices.tolist())

    def evaluate(self) -> dict[str, float]:
        """Print and return the results in percent; the first one, accuracy, is what a test run returns.

        Raises:
            ValueError: no batch was processed.
        """
        labels, predictions = np.array(self._labels), np.array(self._predictions)
        if not len(labels):
            raise ValueError("there is nothing to evaluate: the test set gave no batch")
        hits = labels == predictions
        correct, total = int(hits.sum()), len(labels)
        accuracy = 100.0 * correct / total
        results = {
            "accuracy": accuracy,
            "error_rate": 100.0 - accuracy,
            "macro_f1": 100.0 * _macro_f1(labels, predictions),
        }
        print("=> result")
        print(f"* total: {total:,}")
        print(f"* correct: {correct:,}")
        print(f"* accuracy: {results['accuracy']:.1f}%")
        print(f"* error: {results['error_rate']:.1f}%")
        print(f"* macro_f1: {results['macro_f1']:.1f}%")
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._print_per_class(labels, hits)
        if self.cfg.TEST.COMPUTE_CMAT:
            self._save_confusion_matrix(labels, predictions)
        return results

    def _print_per_class(self, labels: np.ndarray, hits: np.ndarray) -> float:
        print("=> per-class result")
        accuracies = []
        for label in np.unique(labels).tolist():
            own = hits[labels == label]
            correct, total = int(own.sum()), len(own)
            accuracies.append(100.0 * correct / total)
            name = self._lab2cname.get(label, "no training image")
            print(f"* class: {label} ({name})\ttotal: {total:,}\tcorrect: {correct:,}\tacc: {accuracies[-1]:.1f}%")
        mean = float(np.mean(accuracies))
        print(f"* average: {mean:.1f}%")
        return mean

    def _save_confusion_matrix(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Rows: true classes, each summing to 1; classes: all labels and predictions that occur, rising."""
        classes, index = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
        matrix = torch.zeros(len(classes), len(classes), dtype=torch.float64)
        rows, columns = torch.from_numpy(index[: len(labels)]), torch.from_numpy(index[len(labels) :])
        matrix.index_put_((rows, columns), torch.ones(len(labels), dtype=torch.float64), accumulate=True)
        matrix = matrix / matrix.sum(dim=1, keepdim=True).clamp(min=1)
        path = os.path.join(self.cfg.OUTPUT_DIR, "cmat.pt")
        atomic_write(path, lambda file: torch.save(matrix, file))
        print(f"Confusion matrix is saved to {path}")


def _macro_f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Mean F1 over the classes that occur among the labels, as a fraction."""
    size = int(max(labels.max(), predictions.max())) + 1
    true = np.bincount(labels, minlength=size)
    predicted = np.bincount(predictions, minlength=size)
    hit = np.bincount(labels[labels == predictions], minlength=size)
    present = true > 0
    return float(np.mean(2 * hit[present] / (true[present] + predicted[present])))
