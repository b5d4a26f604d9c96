"""Testing a trainer head by head, on its own test set and on shifted ones, each among the classes that it has."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional

import torch
from torch import Tensor
from tqdm import tqdm

from dho_prompt.data.classes import Classes, classes_of, find_rows, gather_rows, in_order
from dho_prompt.engine import build_data_loader, build_dataset, build_transform
from dho_prompt.engine.rng import untouched_rng
from dho_prompt.inference import probabilities
from dho_prompt.runs.tally import HeadTally


class Prediction(NamedTuple):
    """By head, (batch, classes) each; the first head is the method's prediction.

    Attributes:
        scores: the largest is the predicted class.
        probabilities: rows summing to 1; how sure the head is.
    """

    scores: Dict[str, Tensor]
    probabilities: Dict[str, Tensor]


class ShiftedSet(NamedTuple):
    """A further test set.

    Attributes:
        items: its test images.
        rows: (classes of the set,) the model's row of each of its classes.
    """

    items: List[Any]
    rows: List[int]


class EvaluatedRun:
    """Mix into a trainer with Dassl's contract, before its class.

    The trainer gives :meth:`predict`, and calls :meth:`know_classes` once its loaders are built.
    """

    # Classes

    def know_classes(self) -> None:
        """Take the classes from the data set, and find those of the sets in TEST.SHIFTED_SETS among them.

        So a set that is missing on the disk, or has other classes, stops the run before a model is loaded.
        """
        self.measured: Dict[str, Dict[str, Any]] = {}  # by test set: what HeadTally.summary gives, and its classes
        self._rows: Optional[List[int]] = None  # of the set that is being tested; None: all, in their own order
        self.classnames = all_classnames(self.lab2cname, self.num_classes)
        self.classes = classes_of(self.dm.dataset, self.classnames)
        names = () if self.cfg.TEST.NO_TEST else self.cfg.TEST.SHIFTED_SETS
        with untouched_rng():  # a data set may draw while it is built; the run draws what it would without these
            self.shifted = {name: self._shifted_set(name) for name in names}

    def _shifted_set(self, name: str) -> ShiftedSet:
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATASET.NAME = name
        try:
            dataset = build_dataset(cfg)
            classes = classes_of(dataset, all_classnames(dataset.lab2cname, dataset.num_classes))
            return ShiftedSet(dataset.test, find_rows(classes, self.classes, f"the model on {self.cfg.DATASET.NAME}"))
        except (ValueError, OSError) as error:
            kind = FileNotFoundError if isinstance(error, OSError) else ValueError
            raise kind(
                f"{name} of TEST.SHIFTED_SETS cannot be tested: {error}. A trained run can be evaluated on such a set "
                'later; TEST.SHIFTED_SETS "()" goes without'
            ) from error

    @property
    def depends_on_classes(self) -> bool:
        """Whether what the method trains has a part for each class, which means nothing for other classes."""
        return False

    def class_bound_models(self) -> List[str]:
        """Names of the registered models that have a part for each class."""
        return self.get_model_names() if self.depends_on_classes else []

    def fit_checkpoint(self, name: str, checkpoint: Dict[str, Any], path: str) -> Optional[Dict[str, Any]]:
        """Cut a checkpoint of more classes to those of this data set, in their order.

        Raises:
            ValueError: a class is not among those it was trained on.
        """
        extra = (checkpoint.get("trainer") or {}).get("extra", {})
        if name not in self.class_bound_models() or "classnames" not in extra:  # a host's checkpoint does not say
            return checkpoint
        trained = Classes(extra["classnames"], extra.get("class_ids"))
        rows, count = find_rows(self.classes, trained, path), len(trained.names)
        if in_order(rows, count):
            return checkpoint
        if len(rows) == count:
            raise ValueError(
                f"{path} was trained on the classes of this data set in another order; evaluate the data set that it "
                "was trained on, with this one in TEST.SHIFTED_SETS"
            )
        if self.cfg.TEST.ALL_CLASSES:
            raise ValueError(
                f"TEST.ALL_CLASSES is True, but a model built on the {len(rows)} classes of {self.cfg.DATASET.NAME} "
                f"cannot choose among the {count} that {path} was trained on; evaluate the data set that it was "
                f"trained on, with TEST.SHIFTED_SETS \"('{self.cfg.DATASET.NAME}',)\""
            )
        print(f"{path}: rows of {len(rows)} of its {count} classes are taken")
        own = self._models[name].state_dict()
        return {**checkpoint, "state_dict": gather_rows(checkpoint["state_dict"], own, rows, count)}

    def check_same_classes(self, checkpoint: Dict[str, Any], path: str) -> None:
        """Refuse to start or go on training from a checkpoint of other classes; a host's own does not say."""
        extra = (checkpoint.get("trainer") or {}).get("extra", {})
        if "classnames" not in extra:
            return
        trained = Classes(extra["classnames"], extra.get("class_ids"))
        if not in_order(find_rows(self.classes, trained, path), len(trained.names)):
            raise ValueError(
                f"{path} was trained on {len(trained.names)} classes, this data set has {len(self.classnames)}; to "
                "train from there they must be the same, in the same order"
            )

    # Prediction

    def predict(self, images: Tensor) -> Dict[str, Tensor]:
        """Logits (batch, the model's classes) by head."""
        raise NotImplementedError

    def prediction(self, logits: Dict[str, Tensor]) -> Prediction:
        """What the heads, and their mix if there is one, make of logits (batch, classes of the test set)."""
        return Prediction(logits, {head: probabilities(values) for head, values in logits.items()})

    def parse_batch_test(self, batch: Dict[str, Any]) -> tuple:
        images, self._labels = super().parse_batch_test(batch)
        return images, self._labels

    def model_inference(self, input: Tensor) -> Tensor:
        with self.autocast():
            logits = self.predict(input)
        labels = self._labels
        if self._rows is not None:
            rows = torch.tensor(self._rows, device=labels.device)
            if self.cfg.TEST.ALL_CLASSES:
                labels = rows[labels]
            else:  # before every softmax: the mix is the one of a task of so many classes
                logits = {head: values[:, rows] for head, values in logits.items()}
        prediction = self.prediction(logits)
        self._tally.add(prediction.scores, prediction.probabilities, labels)
        return next(iter(prediction.scores.values()))

    # Test sets

    @torch.no_grad()
    def test(self, split: Optional[str] = None) -> float:
        self._tally = HeadTally()
        accuracy = super().test(split)
        if split is None:
            self._measure(self.cfg.TEST.SPLIT, len(self.classnames))
        return accuracy

    @torch.no_grad()
    def test_shifted(self) -> None:
        """Evaluate the sets of TEST.SHIFTED_SETS; they print no Dassl result lines, which name the test set alone."""
        self.set_model_mode("eval")
        for name, (items, rows) in self.shifted.items():
            self._tally = HeadTally()
            self._rows = None if in_order(rows, len(self.classnames)) else rows
            try:
                for batch in tqdm(self._test_loader(items), desc=name):
                    self.model_inference(self.parse_batch_test(batch)[0])
            finally:
                self._rows = None
            self._measure(name, len(rows))

    def _measure(self, name: str, classes: int) -> None:
        scored = len(self.classnames) if self.cfg.TEST.ALL_CLASSES else classes
        self.measured[name] = {**self._tally.summary(), "classes": {"own": classes, "scored": scored}}
        print(f"{name} ({scored}-way): {self._tally}")

    def _test_loader(self, items: List[Any]) -> Any:
        cfg = self.cfg
        return build_data_loader(
            cfg,
            sampler_type=cfg.DATALOADER.TEST.SAMPLER,
            data_source=items,
            batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
            tfm=build_transform(cfg, is_train=False),
            is_train=False,
        )


def all_classnames(lab2cname: Dict[int, str], num_classes: int) -> List[str]:
    """The class names in the order of the labels.

    Raises:
        ValueError: a label has no name, because a class has no training image in the host's data set.
    """
    missing = [label for label in range(num_classes) if label not in lab2cname]
    if missing:
        raise ValueError(
            f"{len(missing)} of {num_classes} classes have no training image (labels {missing[:5]}...), so their "
            "names are not known; restore their folders"
        )
    return [lab2cname[label] for label in range(num_classes)]
