"""Writing a store: shard by shard, by one or several processes, each of which may be killed and started again."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from dho_prompt.data.batches.batch import Batch
from dho_prompt.data.batches.unreadable import Replacements
from dho_prompt.data.batches.views import SharedCrop
from dho_prompt.files import PathLike, atomic_write
from dho_prompt.store.crops import ViewsOfImages, joined
from dho_prompt.store.images import StoredImages
from dho_prompt.store.layout import Manifest, checksums, missing_shards, shard_file
from dho_prompt.store.locks import Lock, say_writing

WAIT = 1.0  # seconds between two looks at what other processes are writing


class Writer:
    """Fills the shards of a store.

    Args:
        folder: of the store, with its manifest.
        manifest: what it will hold.
        images: the images.
        transform: shows them to the tower.
        rows: (batch of images) -> (batch, width) what the tower says.
        device: of the tower.
        batch: views that the tower sees at a time.
        workers: processes that read images.
        max_unreadable: images that may be unreadable; the store marks them, and a run replaces them.
    """

    def __init__(
        self,
        folder: PathLike,
        manifest: Manifest,
        images: StoredImages,
        transform: SharedCrop,
        rows: Callable[[Batch], Tensor],
        device: torch.device,
        batch: int = 64,
        workers: int = 0,
        max_unreadable: int = 0,
    ) -> None:
        self.folder, self.manifest, self.images = Path(folder), manifest, images
        self.transform, self.rows, self.device = transform, rows, device
        self.batch, self.workers = batch, workers
        self.unreadable = Replacements(len(images), max_unreadable)
        self._begun: dict[int, tuple[np.ndarray, Lock]] = {}
        self._left: dict[int, int] = {}  # records that a shard still lacks

    def missing(self, part: tuple[int, int] = (0, 1)) -> list[int]:
        return missing_shards(self.folder, self.manifest, part)

    def fill(self, part: tuple[int, int] = (0, 1)) -> None:
        """Write the shards that are missing; those that another process has begun are waited for.

        Raises:
            OSError: the disk is full or not writable, or too many images cannot be read.
            ValueError: a row does not fit the store's dtype.
        """
        writing = say_writing(self.folder)
        total = self._rows(range(part[0], self.manifest.shards, part[1]))
        try:
            with tqdm(total=total, unit="view", desc="storing") as bar:
                while missing := self.missing(part):
                    bar.n = bar.initial = total - self._rows(missing) if not bar.n else bar.n
                    if not self._fill(missing, bar):
                        time.sleep(WAIT)
        finally:
            for _, lock in self._begun.values():
                lock.release(remove=True)
            self._begun.clear()
            writing.release()

    def _rows(self, shards: Sequence[int]) -> int:
        return sum(len(self.manifest.images_of(shard)) for shard in shards) * self.manifest.views

    def _fill(self, shards: list[int], bar: tqdm) -> int:
        """Write those of ``shards`` that nobody else has begun; returns how many records that were."""
        loader = DataLoader(
            ViewsOfImages(self.images.paths, self.images.names, self.transform),
            batch_sampler=_Lazily(lambda: self._asked(shards)),
            num_workers=self.workers,
            collate_fn=joined,
        )
        done = 0
        for batch in loader:
            self._keep(batch, self.said(batch))
            bar.update(len(batch["place"]))
            done += len(batch["place"])
        return done

    def _asked(self, shards: list[int]) -> Iterator[list[tuple[int, int, int]]]:
        """What is read, batch by batch; a shard is claimed when its turn comes."""
        for shard in shards:
            lock = Lock(shard_file(self.folder, shard).with_suffix(".lock"))
            if not lock.held:
                continue
            if shard_file(self.folder, shard).is_file():
                lock.release(remove=True)
                continue
            images = self.manifest.images_of(shard)
            self._begun[shard] = (np.empty((self.manifest.views, len(images)), self.manifest.record), lock)
            self._left[shard] = self.manifest.views * len(images)
            yield from asked(images, self.manifest.views, self.batch)

    @torch.no_grad()
    def said(self, batch: dict[str, Any]) -> np.ndarray:
        """(batch, width) rows in the store's dtype."""
        labels = torch.zeros(len(batch["place"]), dtype=torch.int64)
        rows = self.rows(Batch({**batch, "label": labels}, self.transform, self.device)).float()
        if self.manifest.holds == "logits":  # their softmax stays, and small numbers keep more digits
            rows = rows - rows.amax(1, keepdim=True)
        with np.errstate(over="ignore"):
            found = rows.cpu().numpy().astype(self.manifest.dtype)
        if not np.isfinite(found).all():
            raise ValueError(f"a row has numbers that {self.manifest.dtype} does not hold; store it as float32")
        return found

    def _keep(self, batch: dict[str, Any], rows: np.ndarray) -> None:
        views, places = batch["place"].numpy().T
        shard = int(places[0]) // self.manifest.shard_images
        records, lock = self._begun[shard]
        for place in {int(place) for place, crop in zip(places, batch["crop"].tolist()) if crop[2] < 0}:
            self._note(place, batch["why"])
        new = np.zeros(len(rows), self.manifest.record)
        new["crop"], new["row"] = batch["crop"].numpy(), rows
        new["check"] = checksums(new, views * self.manifest.images + places)
        records[views, places - shard * self.manifest.shard_images] = new
        self._left[shard] -= len(rows)
        if not self._left[shard]:
            write_shard(self.folder, shard, records)
            lock.release(remove=True)
            del self._begun[shard]

    def _note(self, place: int, why: list[str]) -> None:
        if not self.unreadable.broken[place]:
            reason = next((line for line in why if str(self.images.paths[place]) in line), "unreadable")
            self.unreadable.note(place, self.images.paths.__getitem__, OSError(reason))


class _Lazily:
    """An iterable of what a function yields."""

    def __init__(self, make: Callable[[], Iterator[Any]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Any]:
        return self._make()


def asked(images: range, views: int, batch: int) -> Iterator[list[tuple[int, int, int]]]:
    """(image, first view, last view + 1) for all views of images, in batches of at most ``batch`` views."""
    step = min(views, batch)
    pieces = [(image, first, min(first + step, views)) for image in images for first in range(0, views, step)]
    together = batch // step
    for first in range(0, len(pieces), together):
        yield pieces[first : first + together]


def write_shard(folder: PathLike, shard: int, records: np.ndarray) -> None:
    """Write a shard in one step: it is there whole or not at all."""

    content = io.BytesIO()
    np.save(content, records, allow_pickle=False)  # to a file itself it would hide why a disk refuses
    atomic_write(shard_file(folder, shard), lambda file: file.write(content.getbuffer()))
