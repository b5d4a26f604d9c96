"""The training images beyond the labelled ones: the pool of unlabelled images (Alg. 1 line 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

POOLS = ("all", "exclude_labeled", "none")


def unlabelled_pool(every: Sequence[Any], labelled: Sequence[Any], which: str) -> Sequence[Any]:
    """The images whose labels are hidden from training.

    Args:
        every: all training images, objects with ``impath``.
        labelled: those whose labels are known.
        which: ``all`` takes every one (Alg. 1 line 7), ``exclude_labeled`` those that are not labelled (Sec. 3.1),
            ``none`` none.

    Raises:
        ValueError: nothing is left without the labelled ones.
    """
    if which == "none":
        return []
    if which == "all":
        return every
    known = {item.impath for item in labelled}
    pool = [item for item in every if item.impath not in known]
    if not pool:
        raise ValueError(
            "TRAINER.DHO.UNLABELED is exclude_labeled, but every training image is labelled; use all or none, or fewer "
            "DATASET.NUM_SHOTS"
        )
    return pool
