"""The trainer that every adaptation method shares: data, precision, evaluation, result file."""

from __future__ import annotations

import contextlib
from typing import Any, ContextManager, Dict, List

import torch
from torch import Tensor
from torch.nn import functional as F

from dho_prompt.clip.loading import LoadedCLIP, load_clip
from dho_prompt.clip.templates import templates_for
from dho_prompt.config import PRECISIONS, check_choice
from dho_prompt.data.batches.unreadable import Replacements
from dho_prompt.data.batches.views import SharedCrop, View
from dho_prompt.data.choose.pool import labelled_batches
from dho_prompt.engine import (
    DataManager,
    DatasetWrapper,
    TrainerX,
    compute_accuracy,
    load_checkpoint,
    load_strictly,
)
from dho_prompt.methods.base import Method
from dho_prompt.runs.record import RecordedRun
from dho_prompt.schedules import warmup_cosine


class SharedViews(DatasetWrapper):
    """Dassl's dataset wrapper for a transform that returns several views of an image.

    For training a few unreadable images are replaced (DATALOADER.MAX_UNREADABLE); for testing one is an error.
    """

    def __init__(self, cfg: Any, data_source: Any, transform: Any = None, is_train: bool = False) -> None:
        super().__init__(cfg, data_source, transform, is_train)
        self.replacements = Replacements(len(data_source), cfg.DATALOADER.MAX_UNREADABLE) if is_train else None

    def __getitem__(self, index: int) -> Dict[str, Any]:
        if self.replacements is None:
            return self._read(index)
        return self.replacements.read(index, self._read, lambda index: self.data_source[index].impath)

    def _read(self, index: int) -> Dict[str, Any]:
        try:
            sample = super().__getitem__(index)
        except OSError as error:  # Dassl's own reader does not say which file it was
            path = self.data_source[index].impath
            raise error if path in str(error) else OSError(f"{path} cannot be read as an image: {error}") from error
        if isinstance(sample["img"], dict):
            sample.update(sample.pop("img"))
        return sample


class MethodTrainer(RecordedRun, TrainerX):
    """Train one adaptation method of CLIP on labelled images.

    A subclass sets :attr:`node` and implements :meth:`build_method`.
    """

    node = ""  # name of the method's node below cfg.TRAINER

    def build_method(self, clip: LoadedCLIP, classnames: List[str]) -> Method:
        """The method on a frozen CLIP that is on the right device and of the right precision."""
        raise NotImplementedError

    # Configuration and data

    def check_cfg(self, cfg: Any) -> None:
        check_choice(f"TRAINER.{self.node}.PREC", self.precision(cfg), PRECISIONS)
        check_choice("OPTIM.SCHEDULE_BY", cfg.OPTIM.SCHEDULE_BY, ("epoch", "iteration"))
        if cfg.OPTIM.SCHEDULE_BY == "iteration":
            check_choice("OPTIM.LR_SCHEDULER (with OPTIM.SCHEDULE_BY iteration)", cfg.OPTIM.LR_SCHEDULER, ("cosine",))
        if cfg.DATALOADER.K_TRANSFORMS != 1:
            raise ValueError(f"DATALOADER.K_TRANSFORMS is {cfg.DATALOADER.K_TRANSFORMS}; these trainers take 1")

    def precision(self, cfg: Any) -> str:
        """The value of ``cfg.TRAINER.<node>.PREC``."""
        return cfg.TRAINER[self.node].PREC

    def build_data_loader(self) -> None:
        cfg = self.cfg
        student = View(cfg.INPUT.SIZE[0], tuple(cfg.INPUT.PIXEL_MEAN), tuple(cfg.INPUT.PIXEL_STD))
        self.crop = SharedCrop(student, None, cfg.INPUT.TRANSFORMS, cfg.INPUT.RRCROP_SCALE, cfg.INPUT.INTERPOLATION)
        self.dm = DataManager(cfg, custom_tfm_train=self.crop, dataset_wrapper=SharedViews)
        self.train_loader_x, self.train_loader_u = self.dm.train_loader_x, None
        self.val_loader, self.test_loader = self.dm.val_loader, self.dm.test_loader
        self.num_classes, self.num_source_domains = self.dm.num_classes, self.dm.num_source_domains
        self.lab2cname = self.dm.lab2cname
        self.know_data()
        self._check_batch_size(cfg.DATALOADER.TRAIN_X.BATCH_SIZE, len(self.dm.dataset.train_x))
        self.pair_batches()

    def pair_batches(self) -> None:
        """Make an epoch as long as TRAIN.COUNT_ITER says, though there are labelled batches alone."""
        self.train_loader_x = labelled_batches(self.cfg, self.train_loader_x)

    def _check_batch_size(self, batch_size: int, images: int) -> None:
        if batch_size <= images:
            return
        if not self.cfg.DATALOADER.FIT_BATCH:
            raise ValueError(
                f"DATALOADER.TRAIN_X.BATCH_SIZE is {batch_size}, but there are {images} labelled images; it may be "
                f"at most {images}. Leave the key out to let every step take all of them"
            )
        print(f"The batch of {batch_size} is larger than the labelled set: every step takes all {images} images")

    # Model

    def build_model(self) -> None:
        cfg = self.cfg
        name, precision = cfg.MODEL.BACKBONE.NAME, self.precision(cfg)
        print(f"Loading CLIP (backbone: {name})")
        clip = load_configured_clip("MODEL.BACKBONE", cfg.MODEL.BACKBONE, weight_precision(precision), self.device)
        if tuple(cfg.INPUT.SIZE) != (clip.image_size, clip.image_size):
            raise ValueError(
                f"INPUT.SIZE is {tuple(cfg.INPUT.SIZE)}, but {name} takes images of ({clip.image_size}, "
                f"{clip.image_size})"
            )
        self.model = self.build_method(clip, self.classnames).to(self.device).eval()
        for folder, module in self.model.trainable():
            self.add_model(folder, module)
        if cfg.MODEL.INIT_WEIGHTS:
            self._start_from(cfg.MODEL.INIT_WEIGHTS)
        self.scaler = _grad_scaler(precision == "amp" and self.device.type == "cuda")

    def build_schedule(self, optimizer: Any, settings: Any) -> Any:
        if settings.SCHEDULE_BY == "epoch":
            return super().build_schedule(optimizer, settings)
        return warmup_cosine(optimizer, settings.WARMUP_STEPS, settings.MAX_EPOCH * len(self.train_loader_x))

    def _start_from(self, path: str) -> None:
        """A checkpoint starts the method's prompts, or its head if it has no prompts."""
        if not self.get_model_names():
            raise ValueError(
                f"MODEL.INIT_WEIGHTS is {path}, but {self.cfg.TRAINER.NAME} trains nothing; leave it empty"
            )
        folder = self.get_model_names()[0]
        checkpoint = load_checkpoint(path, weights=True)
        if self.depends_on_classes:
            self.check_same_classes(checkpoint, path)
        load_strictly(self._models[folder], checkpoint, path)
        print(f"Started {folder} from {path}")

    def autocast(self) -> ContextManager:
        """Mixed precision for PREC amp (float16 on CUDA, bfloat16 elsewhere), else nothing."""
        if self.precision(self.cfg) != "amp":
            return contextlib.nullcontext()
        dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        return torch.autocast(self.device.type, dtype)

    # Training

    def forward_backward(self, batch: Dict[str, Any]) -> Dict[str, float]:
        with self.autocast():
            terms = self.losses(batch)
        self._update(terms["loss"])
        if self.cfg.OPTIM.SCHEDULE_BY == "iteration" or self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {name: value.item() for name, value in terms.items()}

    def losses(self, batch: Dict[str, Any]) -> Dict[str, Tensor]:
        """The loss to differentiate under ``loss``, then what else is logged; scalars."""
        labels = batch["label"].to(self.device)
        output = self.model(batch["img"].to(self.device))
        loss = F.cross_entropy(output.logits, labels) + sum(output.extra.values())
        return {"loss": loss, **output.extra, "acc": compute_accuracy(output.logits, labels)[0]}

    def _update(self, loss: Tensor) -> None:
        if self.scaler is None:
            self.model_backward_and_update(loss)
            return
        self.detect_anomaly(loss)
        self.model_zero_grad()
        self.scaler.scale(loss).backward()
        for name in self.get_model_names():
            self.scaler.step(self._optims[name])
        self.scaler.update()

    # Evaluation

    def predict(self, images: Tensor) -> Dict[str, Tensor]:
        return {"ce": self.model(images).logits}


def prompt_templates(cfg: Any) -> List[str]:
    """The templates of the teacher and of heads that start from text: the configured ones, else the data set's."""
    return list(cfg.TRAINER.DHO.TEACHER.TEMPLATES) or templates_for(cfg.DATASET.NAME)


def load_configured_clip(key: str, node: Any, precision: str, device: torch.device) -> LoadedCLIP:
    """:func:`~dho_prompt.clip.loading.load_clip` for the ``NAME`` and ``WEIGHTS`` of a node; errors name its keys."""
    try:
        return load_clip(node.NAME, node.WEIGHTS, precision, device)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{error} (set by {key}.NAME {node.NAME!r} and {key}.WEIGHTS {node.WEIGHTS!r})") from error


def weight_precision(precision: str) -> str:
    """The precision of the frozen weights for a value of PREC: amp keeps float32 weights."""
    return "fp32" if precision == "amp" else precision


def _grad_scaler(enabled: bool) -> Any:
    if not enabled:
        return None
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler("cuda")
    return torch.cuda.amp.GradScaler()  # torch < 2.3
