"""Reading a store: rows of any images and views, each compared with its checksum."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dho_prompt.files import PathLike
from dho_prompt.files.checksums import sha256_of
from dho_prompt.store.layout import (
    MANIFEST,
    TEXT,
    Manifest,
    checksums,
    missing_shards,
    names_of_missing,
    read_manifest,
    shard_file,
)
from dho_prompt.store.locks import writer_of

ANEW = "delete that file and run the command that made the store again, which makes it anew"


class StoredRows:
    """A complete store, mapped into memory.

    Args:
        folder: of the store.

    Attributes:
        manifest: what it holds.

    Raises:
        FileNotFoundError: there is no store.
        ValueError: it is incomplete, being written, cut short or damaged.
    """

    def __init__(self, folder: PathLike) -> None:
        self.folder, self.manifest = Path(folder), read_manifest(folder)
        self._refuse_incomplete()
        self._shards = [open_shard(self.folder, self.manifest, shard) for shard in range(self.manifest.shards)]
        self._lengths = np.array([len(self.manifest.images_of(shard)) for shard in range(self.manifest.shards)])
        text = self.folder / TEXT
        if self.manifest.text and not (text.is_file() and sha256_of(text) == self.manifest.text):
            raise ValueError(f"{text} is missing or damaged; make the store anew in another folder")

    def _refuse_incomplete(self) -> None:
        missing = missing_shards(self.folder, self.manifest)
        if not missing:
            return
        writer = writer_of(self.folder)
        now = f"{writer} is writing it: wait for it" if writer else "nobody is writing it: run the command again"
        raise ValueError(
            f"the store {self.folder} is not complete: {len(missing)} of {self.manifest.shards} shards are missing "
            f"({names_of_missing(missing)}). {now}; it goes on where it stopped"
        )

    def text_features(self) -> np.ndarray | None:
        """(classes, d) class text features, float32; None from a store without."""
        return np.load(self.folder / TEXT, allow_pickle=False) if self.manifest.text else None

    def read(self, images: np.ndarray, views: np.ndarray) -> np.ndarray:
        """The records of (n,) images in (n,) views, as :func:`.layout.record_type` has them.

        Raises:
            IndexError: no such image or view.
            ValueError: a record is damaged.
        """
        if not (_within(images, self.manifest.images) and _within(views, self.manifest.views)):
            raise IndexError(f"{self.folder} has {self.manifest.images} images in {self.manifest.views} views")
        shard, place = np.divmod(images, self.manifest.shard_images)
        order = np.argsort(shard, kind="stable")
        starts = np.flatnonzero(np.diff(shard[order], prepend=-1))
        rows = (views * self._lengths[shard] + place)[order]
        found, ends = (
            np.empty((len(order), self.manifest.record.itemsize), np.uint8),
            [*starts[1:].tolist(), len(order)],
        )
        for number, start, end in zip(shard[order[starts]].tolist(), starts.tolist(), ends):
            # with clip it writes to its place without a copy
            self._shards[number].take(rows[start:end], axis=0, out=found[start:end], mode="clip")
        records = np.empty(len(order), self.manifest.record)
        records[order] = found.view(self.manifest.record)[:, 0]
        self._compare(records, images, views)
        return records

    def _compare(self, records: np.ndarray, images: np.ndarray, views: np.ndarray) -> None:
        wrong = np.flatnonzero(checksums(records, views * self.manifest.images + images) != records["check"])
        if len(wrong):
            image, view = images[wrong[0]], views[wrong[0]]
            file = shard_file(self.folder, image // self.manifest.shard_images)
            raise ValueError(f"{file} is damaged: view {view} of image {image} does not match its checksum; {ANEW}")

    def crop(self, image: int, view: int) -> np.ndarray:
        """The crop of one view: top, left, height, width, flipped."""
        return self.read(np.array([image]), np.array([view]))["crop"][0]

    def unreadable(self) -> np.ndarray:
        """Images that could not be read when the store was made."""
        at = self.manifest.record.fields["crop"][1] + 4 * 2  # where a crop has its height
        first = [shard[:length, at : at + 4] for shard, length in zip(self._shards, self._lengths)]  # their first view
        heights = [np.ascontiguousarray(part).view("<i4")[:, 0] for part in first]
        return np.flatnonzero(np.concatenate(heights) < 0)

    def check(self, shard: int) -> None:
        """Compare every record of a shard with its checksum."""
        images = np.array(self.manifest.images_of(shard))
        for view in range(self.manifest.views):
            self.read(images, np.full(len(images), view))


def is_complete(folder: PathLike) -> bool:
    """Whether a folder has a store with all its shards."""
    return (Path(folder) / MANIFEST).is_file() and not missing_shards(folder, read_manifest(folder))


def open_shard(folder: PathLike, manifest: Manifest, shard: int) -> np.ndarray:
    """(views * images, bytes of a record) of a shard, mapped from its file.

    Raises:
        ValueError: the file is cut short or of another form.
    """
    path, record = shard_file(folder, shard), manifest.record
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        fits = mapped.shape == (manifest.views, len(manifest.images_of(shard))) and mapped.dtype == record
        size = mapped.offset + mapped.nbytes
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is cut short or damaged ({error}); {ANEW}") from error
    if not fits or path.stat().st_size != size:
        raise ValueError(f"{path} is of another form or length than its manifest says; {ANEW}")
    return mapped.view(np.uint8).reshape(-1, record.itemsize)


def _within(numbers: np.ndarray, end: int) -> bool:
    return not len(numbers) or bool(numbers.min() >= 0 and numbers.max() < end)
