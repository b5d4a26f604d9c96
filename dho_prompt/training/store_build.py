"""Making a store from a configuration: the tower, the manifest, what it costs, the shards."""

from __future__ import annotations

import io
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dho_prompt.data.batches.batch import Batch
from dho_prompt.data.batches.views import SharedCrop, View
from dho_prompt.engine.rng import untouched_rng
from dho_prompt.files import atomic_write
from dho_prompt.files.checksums import sha256_of
from dho_prompt.store.crops import ViewsOfImages, joined
from dho_prompt.store.images import StoredImages
from dho_prompt.store.layout import MANIFEST, TEXT, Manifest, read_manifest, shard_images, write_manifest
from dho_prompt.store.writing import Writer, asked
from dho_prompt.teachers.base import Teacher
from dho_prompt.teachers.zeroshot import ZeroShotTeacher
from dho_prompt.training.build import build_student, weight_precision
from dho_prompt.training.build_teacher import build_teacher
from dho_prompt.training.loaders import crop_in
from dho_prompt.training.store_of import refuse_another, student_of, teacher_of

TIMED = 8  # views by which the time is estimated


class Order(NamedTuple):
    """What is asked for.

    Attributes:
        kind: teacher or student.
        folder: of the store.
        views: of every image.
        dtype: float16 or float32.
        holds: auto, features or logits.
        part: which of how many equal parts of the shards this process makes.
    """

    kind: str
    folder: str
    views: int
    dtype: str = "float16"
    holds: str = "auto"
    part: tuple[int, int] = (0, 1)


class Source(NamedTuple):
    """What it is made from: the configuration, all training images, the classes, the run's precision, the device."""

    cfg: Any
    images: StoredImages
    classnames: Sequence[str]
    precision: str
    device: torch.device


class _Tower(NamedTuple):
    views: tuple[View, ...]
    rows: Callable[[Batch], Tensor]
    holds: str
    zeta: float | None = None
    text: np.ndarray | None = None


def make_store(order: Order, source: Source, per_run: int) -> None:
    """Make what is missing of a store.

    Args:
        per_run: views that the tower sees in a run without a store, for the break-even.

    Raises:
        OSError: the disk has too little room or is not writable.
        ValueError: the folder holds a store of something else, or the order does not suit the tower.
    """
    with untouched_rng():
        tower = _teacher(order, source) if order.kind == "teacher" else _student(source)
        transform = crop_in(source.cfg, tower.views[0])
        transform.bytes = True
        for view in tower.views[1:]:
            transform.show(view)
        manifest = _manifest(order, source, tower, transform)
        loader = source.cfg.DATALOADER
        options = (loader.TEST.BATCH_SIZE, loader.NUM_WORKERS, loader.MAX_UNREADABLE)
        writer = Writer(order.folder, manifest, source.images, transform, tower.rows, source.device, *options)
        missing = writer.missing(order.part)
        if missing:
            _announce(order, writer, missing, per_run)
            writer.fill(order.part)


def _teacher(order: Order, source: Source) -> _Tower:
    cfg = source.cfg
    teacher: Teacher = build_teacher(cfg, source.classnames, source.precision, source.device)
    zero_shot = type(teacher) is ZeroShotTeacher
    if order.holds == "features" and not zero_shot:
        raise ValueError(
            f"only a zero-shot CLIP's image features can be stored, and this teacher is a {type(teacher).__name__}; "
            "store its logits"
        )
    width = teacher.text_features.shape[1] if zero_shot else 0
    if order.holds == "features" or (order.holds == "auto" and len(source.classnames) >= width > 0):
        encode = lambda batch: teacher.with_features(batch)[1]  # noqa: E731
        return _Tower(teacher.views, encode, "features", teacher.zeta, teacher.text_features.cpu().numpy())
    return _Tower(teacher.views, teacher, "logits", teacher.zeta)


def _student(source: Source) -> _Tower:
    student = build_student(source.cfg, source.precision, source.device)
    return _Tower((student.view,), lambda batch: student(batch.images()), "features")


def _manifest(order: Order, source: Source, tower: _Tower, transform: SharedCrop) -> Manifest:
    """The manifest of the folder, written where there is none."""
    cfg, images, folder = source.cfg, source.images, Path(order.folder)
    teaches = order.kind == "teacher"
    of = teacher_of(cfg, source.classnames, images) if teaches else student_of(cfg, images)
    width = len(source.classnames) if tower.holds == "logits" else _width(tower, images, transform, source.device)
    text = None if tower.text is None else write_text(folder, tower.text)
    precision = (teaches and cfg.TRAINER.DHO.TEACHER.PREC) or weight_precision(source.precision)
    asked_for = Manifest(
        order.kind, tower.holds, order.dtype, width, order.views, len(images), shard_images(len(images), order.views),
        tower.zeta, text, precision, [list(tower.views[0])], of,
    )  # fmt: skip
    if not (folder / MANIFEST).is_file():
        write_manifest(folder, asked_for)
        return asked_for
    found = read_manifest(folder)
    refuse_another(str(folder), "the folder", found, order.kind, of)
    for name in ("holds", "dtype", "views", "precision"):
        if getattr(found, name) != getattr(asked_for, name):
            raise ValueError(
                f"{folder} holds a store whose {name} is {getattr(found, name)}, not {getattr(asked_for, name)}; "
                "take another folder"
            )
    return found


def _width(tower: _Tower, images: StoredImages, transform: SharedCrop, device: torch.device) -> int:
    if tower.text is not None:
        return tower.text.shape[1]
    first = joined([ViewsOfImages(images.paths, images.names, transform)[0, 0, 1]])
    return tower.rows(Batch({**first, "label": torch.zeros(1)}, transform, device)).shape[1]


def write_text(folder: Path, text: np.ndarray) -> str:
    path = folder / TEXT
    if not path.is_file():
        content = io.BytesIO()
        np.save(content, text.astype(np.float32), allow_pickle=False)
        atomic_write(path, lambda file: file.write(content.getbuffer()))
    return sha256_of(path)


def _announce(order: Order, writer: Writer, missing: list[int], per_run: int) -> None:
    """Print size, time and break-even; refuse what has no room."""
    manifest = writer.manifest
    rows = sum(len(manifest.images_of(shard)) for shard in missing) * manifest.views
    free, needed = shutil.disk_usage(order.folder).free, rows * manifest.record.itemsize
    runs = math.ceil(manifest.images * manifest.views / max(per_run, 1))
    print(
        f"Store of the {order.kind}'s {manifest.holds} in {order.folder}: {manifest.images:,} images x "
        f"{manifest.views} views x {manifest.width} numbers in {manifest.dtype}, {in_bytes(manifest.bytes)} "
        f"({in_bytes(needed)} to be written, {in_bytes(free)} free)"
    )
    if needed > free:
        raise OSError(
            f"the store needs {in_bytes(needed)} in {order.folder}, where {in_bytes(free)} are free; take fewer views, "
            "float16, or another folder"
        )
    print(
        f"Time: about {in_time(rows * _seconds_a_view(writer))} in this process. Break-even: a run shows the "
        f"{order.kind} {per_run:,} views, so the store costs what {runs} run{'s' * (runs > 1)} would pay without it",
        flush=True,
    )


def _seconds_a_view(writer: Writer) -> float:
    views = ViewsOfImages(writer.images.paths, writer.images.names, writer.transform)
    count = min(TIMED, len(writer.images))
    (pieces,) = asked(range(count), 1, count)
    begun = time.perf_counter()
    batch = joined([views[piece] for piece in pieces])
    read = time.perf_counter() - begun
    writer.said(batch)  # the first time is slower
    begun = time.perf_counter()
    writer.said(batch)
    encode = time.perf_counter() - begun
    return (max(encode, read / writer.workers) if writer.workers else encode + read) / count


def in_bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"


def in_time(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} seconds"
