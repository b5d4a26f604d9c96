"""Which classes a data set has, so that saved rows of one class list meet the same classes in another data set.

Labels alone do not say: base and new halves both count from 0, and ImageNet-A's 200 classes stand elsewhere among
ImageNet's 1000. Names alone do not either: ImageNet has two classes "missile" and two "sunglasses".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor


class Classes(NamedTuple):
    """A data set's classes; position = label.

    Args:
        names: in words; they may repeat.
        ids: what each class is called in every data set that has it (wnids for ImageNet and its relatives); no two are
            equal. None where only the names are known.
    """

    names: list[str]
    ids: list[str] | None = None

    @property
    def are_wnids(self) -> bool:
        """Whether the ids are WordNet's, as ImageNet's folders are named."""
        return self.ids is not None and all(re.fullmatch(r"n\d{8}", name) for name in self.ids)

    def show(self, label: int) -> str:
        """One class for a message."""
        name = self.names[label]
        return name if self.ids is None or self.ids[label] == name else f"{self.ids[label]} ({name})"


class UnknownClasses(ValueError):
    """A data set has classes that are not among the trained ones."""


def classes_of(dataset: Any, names: Sequence[str]) -> Classes:
    """The classes of a Dassl data set.

    The ids are its ``class_ids`` if it has them, as our data sets do. Else they are the names of the folders that hold
    the images, when each class has one of its own: a host's ImageNet keeps its wnids there. Folders that are numbers
    (ImageNet-V2's 0 to 999) only repeat the label and are not taken.

    Args:
        dataset: has ``train_x`` and ``test``: lists of items with ``impath`` and ``label``.
        names: its class names in the order of the labels.

    Raises:
        ValueError: ``class_ids`` are not one for each class, or repeat.
    """
    names = list(names)
    given = getattr(dataset, "class_ids", None)
    if given is None:
        return Classes(names, _folders(dataset, len(names)))
    if len(given) != len(names) or len(set(given)) != len(given):
        raise ValueError(
            f"{type(dataset).__name__}.class_ids has {len(given)} entries, {len(set(given))} of them different, for "
            f"{len(names)} classes; it must have one for each class, in the order of the labels"
        )
    return Classes(names, list(given))


def _folders(dataset: Any, count: int) -> list[str] | None:
    found: list[set[str]] = [set() for _ in range(count)]
    for items in (dataset.train_x, dataset.test):
        for item in items or ():
            found[item.label].add(item.impath.replace("\\", "/").rpartition("/")[0].rpartition("/")[2])
    if any(len(folders) != 1 for folders in found):
        return None
    ids = [folders.pop() for folders in found]
    return None if len(set(ids)) < count or all(name.isdecimal() for name in ids) else ids


def find_rows(tested: Classes, trained: Classes, what: str) -> list[int]:
    """For each class of a data set, its row among the trained classes.

    Classes meet by their ids, and wnids by nothing else. Where ids do not say (ImageNet-V2 in a host, old checkpoints),
    two equal lists of names are the same classes, and else a class is the one of its name if both lists have that name
    once; what the ids say then must agree.

    Args:
        tested: classes of the data set.
        trained: the classes that a head or a model has rows for.
        what: what has them, for the message.

    Raises:
        UnknownClasses: some are not among the trained ones, or cannot be told from their names.
    """
    by_id = _by_id(tested, trained)
    if None not in by_id:
        return by_id
    unknown = [label for label, row in enumerate(by_id) if row is None]
    if not (tested.are_wnids and trained.are_wnids):
        by_name = list(range(len(trained.names))) if tested.names == trained.names else _by_name(tested, trained)
        agree = all(row is None or row == by_name[label] for label, row in enumerate(by_id))
        if None not in by_name and agree:
            return by_name
        unknown = [label for label in unknown if by_name[label] is None] or unknown
    shown = ", ".join(map(tested.show, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
    first = ", ".join(map(trained.show, range(min(3, len(trained.names)))))
    raise UnknownClasses(
        f"{what} was trained on {len(trained.names)} classes ({first}, ...); {len(unknown)} of the {len(tested.names)} "
        f"classes of this data set are not among them, or not by a name of their own: {shown}"
    )


def _by_id(tested: Classes, trained: Classes) -> list[int | None]:
    rows = {} if trained.ids is None else {name: row for row, name in enumerate(trained.ids)}
    return [None if tested.ids is None else rows.get(tested.ids[label]) for label in range(len(tested.names))]


def _by_name(tested: Classes, trained: Classes) -> list[int | None]:
    ours, theirs = Counter(tested.names), Counter(trained.names)
    rows = {name: row for row, name in enumerate(trained.names)}
    return [rows[name] if ours[name] == theirs[name] == 1 else None for name in tested.names]


def in_order(rows: Sequence[int], count: int) -> bool:
    """Whether ``rows`` are all ``count`` trained classes in their own order, so that there is nothing to gather."""
    return list(rows) == list(range(count))


def gather_rows(
    weights: dict[str, Tensor], own: dict[str, Tensor], rows: Sequence[int], count: int
) -> dict[str, Tensor]:
    """The weights of a model of ``count`` classes, for a model of the classes ``rows`` alone.

    Args:
        weights: state dict of the saved model.
        own: state dict of the model that will take them. What has ``len(rows)`` rows there and ``count`` in the saved
            one has a row for each class.
        rows: in the order of the other model's labels; fewer than ``count``.
        count: classes of the saved model.
    """
    index = list(rows)

    def per_class(name: str, value: Tensor) -> bool:
        mine = own.get(name)
        return mine is not None and min(value.dim(), mine.dim()) > 0 and (len(value), len(mine)) == (count, len(index))

    return {name: value[index] if per_class(name, value) else value for name, value in weights.items()}
