"""The stores of a run: opened, compared with the run, made where that is asked for, and its batches drawn from them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dho_prompt.data.batches.batch import Batch
from dho_prompt.data.batches.pair import PairLoader
from dho_prompt.data.batches.stored import StoredViews, ViewSampler, passes, replaying
from dho_prompt.store.images import StoredImages
from dho_prompt.store.rows import StoredRows, is_complete
from dho_prompt.teachers.stored import StoredTeacher, stored_rows
from dho_prompt.training.build import AUTO
from dho_prompt.training.loaders import every_training_image
from dho_prompt.training.store_build import Order, Source, make_store
from dho_prompt.training.store_of import refuse_another, student_of, teacher_of

KEYS = {"teacher": "TRAINER.DHO.TEACHER.STORE", "student": "MODEL.BACKBONE.STORE"}
ENVIRONMENT, FOLDER = "DHO_PROMPT_STORES", "dho_prompt_stores"
SAMPLE = 64  # crops by which two stores are compared


class Stores:
    """What a run reads instead of asking towers.

    Args:
        trainer: a run whose loaders are built.

    Attributes:
        rows: the open stores, by kind.
    """

    def __init__(self, trainer: Any, kinds: dict[str, str]) -> None:
        cfg = self.cfg = trainer.cfg
        dataset = trainer.dm.dataset
        self.images = StoredImages(every_training_image(cfg, dataset), getattr(dataset, "root", cfg.DATASET.ROOT))
        self.needed = shown(trainer.train_loader_x, cfg.OPTIM.MAX_EPOCH)
        self.source = Source(cfg, self.images, trainer.classnames, trainer.precision(cfg), trainer.device)
        self.rows: dict[str, StoredRows] = {}
        self.unknown: list[str] = []
        loader = trainer.train_loader_x
        self._per_run = images_of_run(loader, cfg.OPTIM.MAX_EPOCH)
        for kind, path in kinds.items():
            self.rows[kind] = self._open(kind, path)
        self._refuse_other_crops()
        self._refuse_reuse()
        self._samplers: list[tuple[ViewSampler, int]] = []

    def _open(self, kind: str, path: str) -> StoredRows:
        classnames = self.source.classnames
        of = teacher_of(self.cfg, classnames, self.images) if kind == "teacher" else student_of(self.cfg, self.images)
        if path == AUTO:
            path = self._made(kind, of)
        rows = StoredRows(path)
        self.unknown += refuse_another(path, KEYS[kind], rows.manifest, kind, of)
        wanted = self.cfg.TRAINER.DHO.TEACHER.PREC
        if kind == "teacher" and wanted and wanted != rows.manifest.precision:
            raise ValueError(
                f"{KEYS[kind]} is {path}, made in {rows.manifest.precision}, and TRAINER.DHO.TEACHER.PREC is {wanted}; "
                "leave that empty to take the store's"
            )
        print(f"Reading the {kind}'s {rows.manifest.holds} from {path} ({rows.manifest.views} views)")
        return rows

    def _made(self, kind: str, of: dict[str, Any]) -> str:
        """The folder of the store that STORE auto keeps; made, or completed, where it has to be."""
        views = self.cfg.DATALOADER.STORE_VIEWS or max(self.needed.values())
        digest = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]
        home = os.environ.get(ENVIRONMENT) or Path(self.cfg.DATASET.ROOT) / FOLDER
        folder = str(Path(home) / f"{self.cfg.DATASET.NAME}-{kind}-{digest}-{views}")
        if not is_complete(folder):
            make_store(Order(kind, folder, views), self.source, self._per_run)
        return folder

    def _refuse_other_crops(self) -> None:
        if len(self.rows) < 2:
            return
        teacher, student = self.rows["teacher"], self.rows["student"]
        views = {teacher.manifest.views, student.manifest.views}
        draw = np.random.default_rng(0)
        images = draw.integers(0, len(self.images), SAMPLE)
        which = draw.integers(0, min(views), SAMPLE)
        crops = [rows.read(images, which)["crop"] for rows in (teacher, student)]
        if len(views) > 1 or not np.array_equal(*crops):
            raise ValueError(
                f"the stores {teacher.folder} and {student.folder} are of other crops or numbers of views "
                f"({teacher.manifest.views} and {student.manifest.views}); student and teacher must see the same"
            )

    @property
    def views(self) -> int:
        return next(iter(self.rows.values())).manifest.views

    def _refuse_reuse(self) -> None:
        most = max(self.needed.values())
        if most > self.views and not self.cfg.DATALOADER.STORE_REUSE:
            told = " and ".join(f"each {name} image {count} times" for name, count in self.needed.items())
            raise ValueError(
                f"{', '.join(str(rows.folder) for rows in self.rows.values())} holds {self.views} views of an image, "
                f"and this run of {self.cfg.OPTIM.MAX_EPOCH} epochs shows {told}: make a store of {most} views, or set "
                "DATALOADER.STORE_REUSE True to show views again"
            )

    # In a run

    def teacher(self) -> StoredTeacher:
        """The teacher, on the CPU."""
        return StoredTeacher(self.rows["teacher"], self.cfg.TRAINER.DHO.ZETA or None)

    @property
    def has_student(self) -> bool:
        """Whether the student's features are stored."""
        return "student" in self.rows

    def student_features(self, batch: Batch, count: int | None = None) -> Tensor:
        """(labelled + unlabelled, d) float32 features of the student, or (count, d), those of the first images."""
        return stored_rows(self.rows["student"], batch, count)

    def attach(self, trainer: Any) -> None:
        """Let the trainer's loaders give the stored crops; its crop shows the right views by now."""
        pair: PairLoader = trainer.train_loader_x
        steps = len(pair)
        items = getattr(pair.loader_x.dataset, "data_source", trainer.dm.dataset.train_x)
        loader_x = self._replaying(pair.loader_x, items, trainer.crop, True, steps)
        loader_u = pair.loader_u
        if loader_u is not None:
            loader_u = self._replaying(loader_u, trainer.pool, trainer.crop, False, steps)
        trainer.train_loader_x = PairLoader(loader_x, loader_u, pair.count, pair.length_u)

    def _replaying(self, loader: Any, items: Any, crop: Any, labelled: bool, steps: int) -> Any:
        places = np.array([self.images.place(item.impath) for item in items])
        rows = next(iter(self.rows.values()))
        dataset = StoredViews(items, places, crop, rows, labelled, self.cfg.DATALOADER.MAX_UNREADABLE)
        replayed, sampler = replaying(loader, dataset, self.views, backwards=labelled)
        self._samplers.append((sampler, passes(steps, loader)))
        return replayed

    def begin_epoch(self, epoch: int) -> None:
        """The views of an epoch, counted from 0, which a resumed run shows too."""
        for sampler, count in self._samplers:
            sampler.shown = epoch * count

    def identities(self) -> dict[str, str]:
        """What a resumed run must find again."""
        return {kind: rows.manifest.digest() for kind, rows in self.rows.items()}

    def refuse_others(self, before: dict[str, str]) -> None:
        """Refuse to go on with other stores than those of the epochs that are done.

        Raises:
            ValueError: they are others.
        """
        if before != self.identities():
            raise ValueError(
                f"this run began with other stores than {' and '.join(str(rows.folder) for rows in self.rows.values())}"
                ": put those back, or start a new run in another output folder"
            )

    def record(self) -> dict[str, Any]:
        """What the results file says."""
        told: dict[str, Any] = {"views": self.views, "shown": self.needed}
        told["reused"] = max(self.needed.values()) > self.views
        for kind, rows in self.rows.items():
            manifest = rows.manifest
            told[kind] = {"holds": manifest.holds, "dtype": manifest.dtype, "precision": manifest.precision}
            told[kind]["weights"] = manifest.of["model"].get("weights")
        return {**told, **({"not compared": self.unknown} if self.unknown else {})}


def shown(loader: PairLoader, epochs: int) -> dict[str, int]:
    """How often a run shows a labelled and an unlabelled image, at most."""
    loaders = {"labelled": loader.loader_x, "unlabelled": loader.loader_u}
    return {name: epochs * passes(len(loader), part) for name, part in loaders.items() if part is not None}


def images_of_run(loader: PairLoader, epochs: int) -> int:
    """How many images all steps of a run have together."""
    parts = [part for part in (loader.loader_x, loader.loader_u) if part is not None]
    return len(loader) * epochs * sum(min(part.batch_size, len(part.dataset)) for part in parts)


def wanted(cfg: Any, teaches: bool) -> dict[str, str]:
    """The stores that a run asks for, by kind."""
    asked = {"teacher": cfg.TRAINER.DHO.TEACHER.STORE if teaches else "", "student": cfg.MODEL.BACKBONE.STORE}
    return {kind: path for kind, path in asked.items() if path}
