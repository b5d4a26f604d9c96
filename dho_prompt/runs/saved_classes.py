"""Checkpoints that have a row for each class, on data sets of the same classes or of some of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dho_prompt.data.classes import Classes, find_rows, gather_rows, in_order


def saved_classes(checkpoint: dict[str, Any]) -> Classes | None:
    """The classes that a checkpoint was trained on; None if it does not say, as a host's own."""
    extra = (checkpoint.get("trainer") or {}).get("extra", {})
    return Classes(extra["classnames"], extra.get("class_ids")) if "classnames" in extra else None


def rows_of(
    checkpoint: dict[str, Any], path: str, classes: Classes, own: dict[str, Tensor], cfg: Any
) -> dict[str, Any]:
    """Cut a checkpoint of more classes to those of this data set, in their order.

    Args:
        checkpoint: with ``state_dict`` and what the trainer added.
        path: its file, for messages.
        classes: of the data set at hand.
        own: state dict of the model that takes the weights.
        cfg: of the run.

    Raises:
        ValueError: a class is not among those it was trained on, or they stand in another order.
    """
    trained = saved_classes(checkpoint)
    if trained is None:
        return checkpoint
    rows, count = find_rows(classes, trained, path), len(trained.names)
    if in_order(rows, count):
        return checkpoint
    if len(rows) == count:
        raise ValueError(
            f"{path} was trained on the classes of this data set in another order; evaluate the data set that it "
            "was trained on, with this one in TEST.SHIFTED_SETS"
        )
    if cfg.TEST.ALL_CLASSES:
        raise ValueError(
            f"TEST.ALL_CLASSES is True, but a model built on the {len(rows)} classes of {cfg.DATASET.NAME} "
            f"cannot choose among the {count} that {path} was trained on; evaluate the data set that it was "
            f"trained on, with TEST.SHIFTED_SETS \"('{cfg.DATASET.NAME}',)\""
        )
    print(f"{path}: rows of {len(rows)} of its {count} classes are taken")
    return {**checkpoint, "state_dict": gather_rows(checkpoint["state_dict"], own, rows, count)}


def refuse_other_classes(checkpoint: dict[str, Any], path: str, classes: Classes) -> None:
    """Refuse to start or go on training from a checkpoint of other classes; a host's own does not say.

    Raises:
        ValueError: they differ, or stand in another order.
    """
    trained = saved_classes(checkpoint)
    if trained is not None and not in_order(find_rows(classes, trained, path), len(trained.names)):
        raise ValueError(
            f"{path} was trained on {len(trained.names)} classes, this data set has {len(classes.names)}; to "
            "train from there they must be the same, in the same order"
        )
