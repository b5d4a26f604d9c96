"""Worker processes that stay between the passes over a data set, and draw what new ones would.

PyTorch can keep a loader's workers, but does not seed them again then: crops would differ from those of a loader that
starts anew, as it does where an interrupted run is resumed. Here the pass says its seed with every index.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info


def lasting(loader: DataLoader) -> DataLoader:
    """A loader that gives the same batches, pass by pass, as ``loader`` would, from workers that are started once.

    One without workers, or with a batch sampler of its own, is returned as it is. Only one pass at a time.
    """
    if loader.num_workers == 0 or loader.batch_size is None or loader.persistent_workers:
        return loader
    return DataLoader(
        _Reseeding(loader.dataset),
        batch_size=loader.batch_size,
        sampler=_Passes(loader.sampler, loader.generator),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=True,
    )


class _Seeded(NamedTuple):
    """An index, and the seed of the pass that it is of."""

    index: Any
    seed: int


class _Passes(Sampler):
    """Indices of a sampler; from the second pass on with a seed, which PyTorch draws for new workers at this place."""

    def __init__(self, sampler: Any, generator: torch.Generator | None) -> None:
        self.sampler, self.generator = sampler, generator
        self.begun = 0

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        self.begun += 1
        if self.begun == 1:  # the workers have just been started
            yield from self.sampler
            return
        seed = int(torch.empty((), dtype=torch.int64).random_(generator=self.generator))
        for index in self.sampler:
            yield _Seeded(index, seed)


class _Reseeding(Dataset):
    """A data set whose worker draws anew with every pass."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self._seed: int | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, _Seeded):
            if index.seed != self._seed:
                self._seed = index.seed
                _seed_worker(index.seed, get_worker_info().id)
            index = index.index
        return self.dataset[index]


def _seed_worker(base_seed: int, worker: int) -> None:
    """Seed the generators as PyTorch seeds those of a new worker."""
    random.seed(base_seed + worker)
    torch.manual_seed(base_seed + worker)
    with suppress(ImportError):
        import numpy as np
        from torch.utils.data._utils.worker import _generate_state  # what a new worker gives to NumPy

        np.random.seed(_generate_state(base_seed, worker))
