"""What a test run reports: accuracy, error, macro F1, per-class results, the confusion matrix."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dho_prompt.engine.embedded.registry import Registry
from dho_prompt.files import atomic_write

EVALUATOR_REGISTRY = Registry("EVALUATOR")


def build_evaluator(cfg: Any, **kwargs: Any) -> Any:
    """Build the evaluator that ``TEST.EVALUATOR`` names.

    Raises:
        ValueError: no evaluator goes by that name; the message names the nearest.
    """
    return EVALUATOR_REGISTRY.build(cfg.TEST.EVALUATOR, cfg, verbose=cfg.VERBOSE, **kwargs)


def confusion(labels: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes that occur, rising, and how many images of each (row) are taken for each (column).

    As scikit-learn's ``confusion_matrix``, whose import takes longer than a small evaluation.
    """
    classes, places = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
    rows, columns = places.reshape(2, -1)
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (rows, columns), 1)
    return classes, counts


@EVALUATOR_REGISTRY.register()
class Classification:
    """Top-1 classification in percent, in the numbers of scikit-learn's metrics.

    Args:
        cfg: the run's config; reads ``TEST.PER_CLASS_RESULT``, ``TEST.COMPUTE_CMAT`` and ``OUTPUT_DIR``.
        lab2cname: label to class name, needed for the per-class result.

    Raises:
        ValueError: the per-class result is wanted without ``lab2cname``.
    """

    def __init__(self, cfg: Any, lab2cname: Mapping[int, str] | None = None) -> None:
        if cfg.TEST.PER_CLASS_RESULT and lab2cname is None:
            raise ValueError("TEST.PER_CLASS_RESULT needs the class names: build_evaluator(cfg, lab2cname=...)")
        self.cfg, self._lab2cname = cfg, lab2cname
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
        total = len(labels)
        if not total:
            raise ValueError("there is nothing to evaluate: the test set gave no batch")
        classes, counts = confusion(labels, predictions)
        hits, images = counts.diagonal(), counts.sum(axis=1)
        correct = int(hits.sum())
        f1 = 2 * hits / (images + counts.sum(axis=0))
        accuracy = 100.0 * correct / total
        macro_f1 = 100.0 * float(f1[images > 0].mean())  # of the classes that have images
        results = {"accuracy": accuracy, "error_rate": 100.0 - accuracy, "macro_f1": macro_f1}
        print("=> result")
        print(f"* total: {total:,}")
        print(f"* correct: {correct:,}")
        print(f"* accuracy: {results['accuracy']:.1f}%")
        print(f"* error: {results['error_rate']:.1f}%")
        print(f"* macro_f1: {results['macro_f1']:.1f}%")
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._print_per_class(classes, counts)
        if self.cfg.TEST.COMPUTE_CMAT:
            self._save_confusion_matrix(counts / np.maximum(images, 1)[:, None])
        return results

    def _print_per_class(self, classes: np.ndarray, counts: np.ndarray) -> float:
        print("=> per-class result")
        accuracies = []
        for label, correct, total in zip(classes.tolist(), counts.diagonal().tolist(), counts.sum(axis=1).tolist()):
            if not total:  # predicted, but no image's class
                continue
            accuracies.append(100.0 * correct / total)
            name = self._lab2cname.get(label, "no training image")
            print(f"* class: {label} ({name})\ttotal: {total:,}\tcorrect: {correct:,}\tacc: {accuracies[-1]:.1f}%")
        mean = float(np.mean(accuracies))
        print(f"* average: {mean:.1f}%")
        return mean

    def _save_confusion_matrix(self, shares: np.ndarray) -> None:
        """Rows: true classes, each summing to 1, or zeros; classes: all labels and predictions that occur, rising."""
        matrix = torch.from_numpy(shares)
        path = os.path.join(self.cfg.OUTPUT_DIR, "cmat.pt")
        atomic_write(path, lambda file: torch.save(matrix, file))
        print(f"Confusion matrix is saved to {path}")
