"""How a store lies on the disk: a manifest, and shards of records that are mapped into memory.

A record is what a tower said of one view of one image: the crop, the row (features or logits) and a checksum, which
covers both and the record's place. A shard holds some images in all views, as an ordinary ``.npy`` file of
(views, images) records: one view of its images lies together, as an epoch reads it. A shard is complete from the
moment that it has its name.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dho_prompt.files import PathLike, read_json, write_json

MANIFEST = "manifest.json"
TEXT = "text_features.npy"
FORMAT = 1
DTYPES = ("float16", "float32")
KINDS = ("teacher", "student")
HOLDS = ("features", "logits")
SHARD_ROWS, MOST_SHARDS = 512, 1024  # a shard is what a killed process loses; all of them are mapped by a run
_ENTRIES = {
    "format": int, "kind": str, "holds": str, "dtype": str, "width": int, "views": int, "images": int,
    "shard_images": int, "zeta": (float, type(None)), "text": (str, type(None)), "precision": str, "view": list,
    "of": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Manifest:
    """What a store holds, and of what.

    Attributes:
        kind: teacher or student.
        holds: image features or class logits.
        dtype: of the rows.
        width: numbers in a row.
        views: of every image.
        images: number of images.
        shard_images: images of a shard; the last one may have fewer.
        zeta: temperature of the teacher's cosine logits; None for a student.
        text: SHA-256 of the file of the class text features, if it has one.
        precision: of the tower, e.g. fp32.
        view: how the tower saw an image: size, mean, standard deviation.
        of: what a run must agree in with the store: model, weights, crops, images, classes.
    """

    kind: str
    holds: str
    dtype: str
    width: int
    views: int
    images: int
    shard_images: int
    zeta: float | None
    text: str | None
    precision: str
    view: list[Any]
    of: dict[str, Any]

    @property
    def shards(self) -> int:
        return -(-self.images // self.shard_images)

    @property
    def record(self) -> np.dtype:
        """The type of a record."""
        return record_type(self.dtype, self.width)

    @property
    def bytes(self) -> int:
        """Size of all shards, without their headers of 128 bytes or so."""
        return self.images * self.views * self.record.itemsize

    def digest(self) -> str:
        """SHA-256 of all that it says."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def images_of(self, shard: int) -> range:
        first = shard * self.shard_images
        return range(first, min(first + self.shard_images, self.images))


def record_type(dtype: str, width: int) -> np.dtype:
    """Crop (top, left, height, width, flipped), row and checksum; a crop of height -1 is an unreadable image's."""
    return np.dtype([("crop", "<i4", (5,)), ("row", np.dtype(dtype).newbyteorder("<"), (width,)), ("check", "<u4")])


def shard_images(images: int, views: int) -> int:
    """How many images a shard takes."""
    rows = max(SHARD_ROWS, -(-images * views // MOST_SHARDS))
    return max(1, rows // views)


def shard_file(folder: PathLike, shard: int) -> Path:
    return Path(folder) / f"shard-{shard:05d}.npy"


def missing_shards(folder: PathLike, manifest: Manifest, part: tuple[int, int] = (0, 1)) -> list[int]:
    """Shards that are not there, of the ``part[0]``-th of ``part[1]`` equal parts."""
    return [shard for shard in range(part[0], manifest.shards, part[1]) if not shard_file(folder, shard).is_file()]


def checksums(records: np.ndarray, places: np.ndarray) -> np.ndarray:
    """CRC-32 of each of (n,) contiguous records and of its place, ``view * images + image``."""
    size = records.dtype.itemsize
    content, checked = memoryview(records.view(np.uint8)), size - 4  # the checksum itself is at the end
    starts = zip(range(0, len(records) * size, size), (places & 0xFFFFFFFF).tolist())
    return np.array([zlib.crc32(content[start : start + checked], place) for start, place in starts], "<u4")


def write_manifest(folder: PathLike, manifest: Manifest) -> None:
    write_json(Path(folder) / MANIFEST, {"format": FORMAT, **asdict(manifest)})


def read_manifest(folder: PathLike) -> Manifest:
    """The manifest of a store.

    Raises:
        FileNotFoundError: there is no store.
        ValueError: the manifest is damaged, or of a later version.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no store in {folder} (no {MANIFEST}); make it with python -m dho_prompt.store; STORE auto "
            "makes one itself"
        )
    content = read_json(path, _ENTRIES, "make the store anew in another folder")
    if content.pop("format") != FORMAT:
        raise ValueError(f"{path} is of another version of the format; make the store anew in another folder")
    try:
        return Manifest(**content)
    except TypeError as error:
        raise ValueError(f"{path} is not of the form that it should have ({error}); make the store anew") from error


def names_of_missing(shards: list[int]) -> str:
    shown = ", ".join(f"{shard:05d}" for shard in shards[:5])
    return shown + (f" and {len(shards) - 5} more" if len(shards) > 5 else "")
