"""Images in the crops of a store: which view of an image a pass over a loader shows, and its sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from dho_prompt.data.batches.read_image import read_image
from dho_prompt.data.batches.unreadable import Replacements
from dho_prompt.data.batches.views import Crop, SharedCrop
from dho_prompt.store.rows import StoredRows


class ViewSampler(Sampler):
    """The indices of another sampler, each with the view that this pass over the images shows.

    Args:
        sampler: of a loader.
        views: of the store. After the last one the first comes again.
        backwards: from the last view on, so that an image that is labelled and unlabelled is seen in other crops.

    Attributes:
        shown: passes so far; set it to go on from an epoch.
    """

    def __init__(self, sampler: Any, views: int, backwards: bool = False) -> None:
        self.sampler, self.views, self.backwards, self.shown = sampler, views, backwards, 0

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        view = self.shown % self.views
        view = self.views - 1 - view if self.backwards else view
        self.shown += 1
        return ((index, view) for index in self.sampler)


class StoredViews(Dataset):
    """Samples by (index, view), in stored crops; where no image is looked at, none is read.

    A sample has ``index``, ``place`` (in the store), ``view``, the views of ``transform`` and, of labelled images, what
    Dassl's has. For an image that cannot be read, or could not when the store was made, the next one stands in.

    Args:
        items: objects with ``impath`` and, if labelled, ``label`` and ``domain``.
        places: (items,) the number of each in the store.
        transform: which views are shown; none, and whole batches come without images.
        rows: gives the crops.
        labelled: whether labels may be seen.
        max_unreadable: DATALOADER.MAX_UNREADABLE.
    """

    def __init__(
        self,
        items: Sequence[Any],
        places: np.ndarray,
        transform: SharedCrop,
        rows: StoredRows,
        labelled: bool,
        max_unreadable: int = 0,
    ) -> None:
        self.items, self.places, self.transform, self.rows = items, places, transform, rows
        self.labelled, self.replacements = labelled, Replacements(len(items), max_unreadable)
        if not transform.views:
            self._readable = self._without_unreadable()
            self._labels = torch.tensor([item.label for item in items]) if labelled else None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, asked: tuple[int, int]) -> dict[str, Any]:
        index, view = asked
        return self.replacements.read(index, lambda index: self._read(index, view), self._path)

    def __getitems__(self, asked: list[tuple[int, int]]) -> Any:
        """A batch: a list of samples or, without images, the batch itself."""
        if self.transform.views:
            return [self[one] for one in asked]
        index, views = np.array(asked).T
        index = self._readable[index]
        batch = {"index": torch.from_numpy(index), "place": torch.from_numpy(self.places[index])}
        batch["view"] = torch.from_numpy(views.copy())
        return {**batch, "label": self._labels[batch["index"]]} if self.labelled else batch

    def _path(self, index: int) -> str:
        return self.items[index].impath

    def _read(self, index: int, view: int) -> dict[str, Any]:
        item, place = self.items[index], int(self.places[index])
        crop = Crop(*self.rows.crop(place, view).tolist())
        if crop.height < 0:
            raise OSError(f"{item.impath} could not be read when the store was made")
        sample = {**self.transform.cut(read_image(item.impath), crop), "index": index, "place": place, "view": view}
        if self.labelled:
            sample.update(label=item.label, domain=item.domain, impath=item.impath)
        return sample

    def _without_unreadable(self) -> np.ndarray:
        """Index -> itself, or the next one whose image could be read."""
        broken = np.isin(self.places, self.rows.unreadable())
        for index in np.flatnonzero(broken).tolist():
            self.replacements.note(index, self._path, OSError(f"{self._path(index)} was unreadable for the store"))
        readable = np.arange(len(self.items))
        for index in 2 * np.flatnonzero(broken)[::-1].tolist():  # again, for those at the end
            readable[index] = readable[(index + 1) % len(self.items)]
        return readable


def replaying(loader: DataLoader, dataset: StoredViews, views: int, backwards: bool) -> tuple[DataLoader, ViewSampler]:
    """A loader's order over samples in stored crops."""
    sampler = ViewSampler(loader.sampler, views, backwards)
    looks = bool(dataset.transform.views)
    replayed = DataLoader(
        dataset,
        batch_size=loader.batch_size,
        sampler=sampler,
        drop_last=loader.drop_last,
        num_workers=loader.num_workers if looks else 0,
        pin_memory=loader.pin_memory and looks,
        collate_fn=default_collate if looks else _as_it_is,
    )
    return replayed, sampler


def passes(steps: int, loader: Sized) -> int:
    """How often an epoch of ``steps`` batches begins with a loader's images."""
    return -(-steps // len(loader))


def _as_it_is(batch: Any) -> Any:
    return batch
