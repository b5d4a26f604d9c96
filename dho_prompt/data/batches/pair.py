"""Labelled and unlabelled batches side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Callable

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from dho_prompt.data.batches.lasting import lasting
from dho_prompt.data.batches.unreadable import Replacements

COUNTS = ("train_x", "train_u", "smaller_one")


class UnlabelledImages(Dataset):
    """Images without their labels: a sample has its views and its index, so no label can leak into training.

    Args:
        items: objects with ``impath``; nothing else of them is read.
        transform: PIL image -> dict of tensors (:class:`~dho_prompt.data.batches.views.SharedCrop`).
        read_image: path -> PIL image.
        max_unreadable: how many images may be unreadable and are replaced (:class:`.unreadable.Replacements`).
    """

    def __init__(
        self,
        items: Sequence[Any],
        transform: Callable[[Image.Image], dict[str, Any]],
        read_image: Callable[[str], Image.Image],
        max_unreadable: int = 0,
    ) -> None:
        self._items = items  # their labels are known in training sets, and never read
        self.transform, self.read_image = transform, read_image
        self.replacements = Replacements(len(items), max_unreadable)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.replacements.read(index, self._read, self._path)

    def _path(self, index: int) -> str:
        return self._items[index].impath

    def _read(self, index: int) -> dict[str, Any]:
        return {**self.transform(self.read_image(self._path(index))), "index": index}


class PairLoader:
    """Labelled batches, each with an unlabelled batch under keys ending in ``_u`` (Alg. 1 line 7).

    To a Dassl trainer of labelled data it looks like its own ``train_loader_x``: the labelled keys are untouched. The
    shorter loader starts again when it is used up, as in Dassl's TrainerXU. Order and crops of the unlabelled images
    are drawn from a stream of their own: the labelled batches are the same with and without them. Views that a
    dataset gives as a dict under ``img`` are laid beside the other keys. Processes that read images stay between the
    passes (:func:`~dho_prompt.data.batches.lasting.lasting`).

    Args:
        loader_x: yields dicts of the labelled batch.
        loader_u: yields dicts of the unlabelled batch; None leaves the labelled batches alone, and the epoch then
            takes as many steps as ``count`` says with ``length_u`` in its place (the paper's labelled-only rows match
            the number of steps, Sec. D.2).
        count: what one epoch is: ``train_x`` (labelled batches), ``train_u`` (unlabelled) or ``smaller_one``.
        length_u: number of unlabelled batches when ``loader_u`` is None.
    """

    def __init__(
        self, loader_x: DataLoader, loader_u: DataLoader | None, count: str = "train_x", length_u: int = 0
    ) -> None:
        if count not in COUNTS:
            raise ValueError(f"TRAIN.COUNT_ITER is {count!r}; allowed are {', '.join(COUNTS)}")
        self.loader_x, self.loader_u, self.count = loader_x, loader_u, count
        self._lasting_x, self._lasting_u = lasting(loader_x), None if loader_u is None else lasting(loader_u)
        self.length_u = len(loader_u) if loader_u is not None else length_u

    @property
    def dataset(self) -> Dataset:
        """The labelled images, as of a DataLoader."""
        return self.loader_x.dataset

    def __len__(self) -> int:
        length_x = len(self.loader_x)
        if self.length_u == 0 or self.count == "train_x":
            return length_x
        return self.length_u if self.count == "train_u" else min(length_x, self.length_u)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        own = _OwnRandomness()
        batches_x = _endless(self._lasting_x)
        batches_u = None if self._lasting_u is None else _endless(self._lasting_u)
        for _ in range(len(self)):
            batch = _flat(next(batches_x))
            if batches_u is not None:
                with own.draws():
                    batch_u = next(batches_u)
                batch.update({f"{key}_u": value for key, value in batch_u.items()})
            yield batch


class _OwnRandomness:
    """A second stream of PyTorch's CPU random numbers that leaves the first where it is.

    It starts from a digest of the first one's state, so a resumed run, whose state is restored, draws the same.
    """

    def __init__(self) -> None:
        digest = hashlib.sha256(torch.get_rng_state().numpy().tobytes()).digest()
        self.state = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big")).get_state()

    @contextmanager
    def draws(self) -> Iterator[None]:
        outer = torch.get_rng_state()
        torch.set_rng_state(self.state)
        try:
            yield
        finally:
            self.state = torch.get_rng_state()
            torch.set_rng_state(outer)


def _endless(loader: DataLoader) -> Iterator[dict[str, Any]]:
    while True:
        yield from loader


def _flat(batch: dict[str, Any]) -> dict[str, Any]:
    views = batch["img"] if isinstance(batch.get("img"), dict) else {}
    return {**batch, **views}
