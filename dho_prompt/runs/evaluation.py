"""What a trained model is tested on, head by head: its own test set and shifted ones, each among its own classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dho_prompt.data.classes import Classes, classes_of, find_rows, in_order
from dho_prompt.engine import build_dataset
from dho_prompt.engine.rng import untouched_rng
from dho_prompt.inference import Prediction
from dho_prompt.runs.tally import HeadTally


class ShiftedSet(NamedTuple):
    """A further test set.

    Attributes:
        items: its test images.
        rows: (classes of the set,) the model's row of each of its classes.
    """

    items: list[Any]
    rows: list[int]


class Evaluation:
    """Counts predictions over test sets.

    Args:
        classes: of the model.
        shifted: further test sets by name.
        all_classes: score sets of fewer classes among all classes of the model (TEST.ALL_CLASSES).

    Attributes:
        measured: by test set, what :meth:`HeadTally.summary` gives, and its ``classes``: how many it has (``own``) and
            among how many its images were scored.

    Example:
        >>> evaluation.begin("ImageNetA")
        >>> for images, labels in loader:
        ...     evaluation.add(logits_by_head(images), labels, objective.predict)
        >>> evaluation.end("ImageNetA")
    """

    def __init__(self, classes: Classes, shifted: Mapping[str, ShiftedSet], all_classes: bool = False) -> None:
        self.classes, self.shifted, self.all_classes = classes, dict(shifted), all_classes
        self.measured: dict[str, dict[str, Any]] = {}
        self.begin()

    def begin(self, name: str = "") -> None:
        """Start counting on a shifted set or, without a name, on images of the model's own classes."""
        self._tally = HeadTally()
        rows = self.shifted[name].rows if name else None
        self._rows = None if rows is None or in_order(rows, len(self.classes.names)) else rows

    def add(
        self, logits: dict[str, Tensor], labels: Tensor, predict: Callable[[dict[str, Tensor]], Prediction]
    ) -> Tensor:
        """Count a batch.

        Args:
            logits: (batch, classes of the model) by head.
            labels: (batch,) of the test set.
            predict: logits of the classes that are scored -> predictions by head.

        Returns:
            (batch, scored classes) scores of the first head, the method's prediction.

        Raises:
            FloatingPointError: a logit is infinite or not a number.
        """
        refuse_not_finite(logits)
        if self._rows is not None:
            rows = torch.tensor(self._rows, device=labels.device)
            if self.all_classes:
                labels = rows[labels]
            else:  # before every softmax: the mix is the one of a task of so many classes
                logits = {head: values[:, rows] for head, values in logits.items()}
        prediction = predict(logits)
        self._tally.add(prediction.scores, prediction.probabilities, labels)
        return next(iter(prediction.scores.values()))

    def require(self, name: str) -> None:
        """Refuse to go on, and so to write a result, where a test set has not been evaluated.

        Raises:
            ValueError: it has not.
        """
        if name not in self.measured:
            raise ValueError(
                f"nothing was evaluated on {name} at the end of training: the trainer's after_train() must call "
                "self.test(); no result is written. TEST.NO_TEST True trains without a test"
            )

    def end(self, name: str) -> None:
        """Write down what was counted since :meth:`begin`, and print it.

        Raises:
            ValueError: no image was counted.
        """
        if not self._tally.images:
            raise ValueError(
                f"no image of {name} was evaluated: the trainer's test() must pass its images to model_inference(), "
                "which counts the predictions"
            )
        own = len(self.shifted[name].rows) if name in self.shifted else len(self.classes.names)
        scored = len(self.classes.names) if self.all_classes else own
        self.measured[name] = {**self._tally.summary(), "classes": {"own": own, "scored": scored}}
        print(f"{name} ({scored}-way): {self._tally}")


def refuse_not_finite(logits: Mapping[str, Tensor]) -> None:
    """Refuse to count or show predictions that are none.

    Raises:
        FloatingPointError: a logit is infinite or not a number.
    """
    for head, values in logits.items():
        if not torch.isfinite(values).all():
            raise FloatingPointError(
                f"the {head} head's logits are infinite or not numbers on test images, so nothing can be counted: "
                "the weights have diverged, or overflow in this precision. Train again in another output folder "
                "with a lower OPTIM.LR, or with PREC fp32"
            )


@torch.no_grad()
def logits_of(
    loader: Iterable[Any],
    parse: Callable[[Any], tuple[Tensor, Tensor]],
    logits: Callable[[Tensor], dict[str, Tensor]],
) -> tuple[dict[str, Tensor], Tensor]:
    """Logits (images, classes) by head in float32 on the CPU, and labels (images,), of all images of a loader.

    Args:
        parse: batch -> images and labels.
        logits: images -> (batch, classes) by head.
    """
    found: dict[str, list[Tensor]] = {}
    labels = []
    for batch in loader:
        images, batch_labels = parse(batch)
        for head, values in logits(images).items():
            found.setdefault(head, []).append(values.float().cpu())
        labels.append(batch_labels.cpu())
    return {head: torch.cat(parts) for head, parts in found.items()}, torch.cat(labels)


def known_classes(data: Any) -> Classes:
    """The classes of a Dassl data manager's data set.

    Raises:
        ValueError: a label has no name, because a class has no training image in the host's data set.
    """
    return classes_of(data.dataset, _all_names(data.lab2cname, data.num_classes))


def shifted_sets(cfg: Any, classes: Classes, names: Iterable[str]) -> dict[str, ShiftedSet]:
    """The test images of further data sets, whose classes are found among the model's.

    Args:
        cfg: of the run; only DATASET.NAME is replaced.
        classes: of the model.
        names: of data sets.

    Raises:
        FileNotFoundError, ValueError: a set is missing on the disk, or has other classes.
    """
    with untouched_rng():  # a data set may draw while it is built; the run draws what it would without these
        return {name: _shifted_set(cfg, classes, name) for name in names}


def _shifted_set(cfg: Any, classes: Classes, name: str) -> ShiftedSet:
    own = cfg.DATASET.NAME
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASET.NAME = name
    try:
        dataset = build_dataset(cfg)
        tested = classes_of(dataset, _all_names(dataset.lab2cname, dataset.num_classes))
        return ShiftedSet(dataset.test, find_rows(tested, classes, f"the model on {own}"))
    except (ValueError, OSError) as error:
        kind = FileNotFoundError if isinstance(error, OSError) else ValueError
        raise kind(
            f"{name} of TEST.SHIFTED_SETS cannot be tested: {error}. A trained run can be evaluated on such a set "
            'later; TEST.SHIFTED_SETS "()" goes without'
        ) from error


def _all_names(lab2cname: Mapping[int, str], num_classes: int) -> list[str]:
    """The class names in the order of the labels."""
    missing = [label for label in range(num_classes) if label not in lab2cname]
    if missing:
        raise ValueError(
            f"{len(missing)} of {num_classes} classes have no training image (labels {missing[:5]}...), so their "
            "names are not known; restore their folders"
        )
    return [lab2cname[label] for label in range(num_classes)]
