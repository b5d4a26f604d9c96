"""The trainer of our own methods: one adaptation method of a student network, with or without a teacher."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from dho_prompt.config import check_choice, check_extended, check_settings
from dho_prompt.data.batches.batch import Batch
from dho_prompt.data.batches.views import SharedCrop
from dho_prompt.data.choose.labelled import check_labels
from dho_prompt.distill.base import Terms
from dho_prompt.engine import ENGINE, DataManager, TrainerX, compute_accuracy, load_checkpoint, load_strictly
from dho_prompt.engine.schedules import warmup_cosine
from dho_prompt.methods.base import Method, MethodOutput
from dho_prompt.runs.saved_classes import refuse_other_classes
from dho_prompt.students.base import Student
from dho_prompt.training.build import build_student, check_student
from dho_prompt.training.ema import MovingAverage
from dho_prompt.training.loaders import SharedViews, shared_crop
from dho_prompt.training.run import Run


class MethodTrainer(Run, TrainerX):
    """Train one adaptation method. A subclass sets :attr:`node` and implements :meth:`method`.

    Example: a method with and without DHO, which ``TRAINER.COOP`` and ``TRAINER.DHO`` configure::

        class CoOp(MethodTrainer):
            node = "COOP"

            def method(self, student, classnames):
                return CoOpMethod(student, classnames, self.cfg.TRAINER.COOP.N_CTX)

        @register_trainer
        class CoOpDHO(CoOp):
            distils = True
    """

    node = ""  # name of the method's node below cfg.TRAINER
    reads: tuple[str, ...] = ()  # keys of other nodes below cfg.TRAINER that the method reads
    trains = True  # whether there is anything to train, without which an evaluation needs no checkpoint
    model: Method

    def method(self, student: Student, classnames: Sequence[str]) -> Method:
        """The method on a student that is on the right device and of the right precision."""
        raise NotImplementedError

    # Configuration and data

    def check_cfg(self, cfg: Any) -> None:
        check_extended(cfg)
        super().check_cfg(cfg)
        check_settings(cfg, f"TRAINER.{self.node}")
        if cfg.OPTIM.SCHEDULE_BY == "iteration":
            check_choice("OPTIM.LR_SCHEDULER (with OPTIM.SCHEDULE_BY iteration)", cfg.OPTIM.LR_SCHEDULER, ("cosine",))
        if cfg.OPTIM.EMA and cfg.TEST.FINAL_MODEL == "best_val":
            raise ValueError(
                "OPTIM.EMA averages the weights until the last epoch, and TEST.FINAL_MODEL best_val takes another; set "
                "one of them to its default"
            )
        self.check_student(cfg)

    def check_student(self, cfg: Any) -> None:
        """Refuse a student that :meth:`build_student` cannot build, before anything is loaded."""
        check_student(cfg)

    def build_student(self, cfg: Any, precision: str) -> Student:
        """The network that the method adapts."""
        return build_student(cfg, precision, self.device)

    def precision(self, cfg: Any) -> str:
        return cfg.TRAINER[self.node].PREC

    def read_data(self) -> SharedCrop:
        cfg, crop = self.cfg, shared_crop(self.cfg)
        crop.bytes = True  # our steps read their batches by Batch, which finishes the pixels
        self.dm = DataManager(cfg, custom_tfm_train=crop, dataset_wrapper=SharedViews)
        self.train_loader_x, self.train_loader_u = self.dm.train_loader_x, None
        self.val_loader, self.test_loader = self.dm.val_loader, self.dm.test_loader
        self.num_classes, self.num_source_domains = self.dm.num_classes, self.dm.num_source_domains
        self.lab2cname = self.dm.lab2cname
        check_labels(cfg, self.dm.dataset, needed=self.trains)
        self._check_batch_size(cfg.DATALOADER.TRAIN_X.BATCH_SIZE, len(self.dm.dataset.train_x))
        return crop

    def _check_batch_size(self, batch_size: int, images: int) -> None:
        if batch_size <= images:
            return
        if not self.cfg.DATALOADER.FIT_BATCH:
            raise ValueError(
                f"DATALOADER.TRAIN_X.BATCH_SIZE is {batch_size}, but there are {images} labelled images; it may be "
                f"at most {images}. Leave the key out to let every step take all of them"
            )
        print(f"The batch of {batch_size} is larger than the labelled set: every step takes all {images} images")

    # Parts

    def build_method(self) -> Student:
        cfg, precision = self.cfg, self.precision(self.cfg)
        student = self.build_student(cfg, precision)
        self.model = self.method(student, self.classnames).to(self.device).eval()
        for name, module in self.model.trainable().items():
            self.add_model(name, module)
        if cfg.MODEL.INIT_WEIGHTS:
            self._start_from(cfg.MODEL.INIT_WEIGHTS)
        if cfg.MODEL.BACKBONE.STORE and not (self.model.keeps_tower or self.model.frozen_pass):
            raise ValueError(
                f"MODEL.BACKBONE.STORE is {cfg.MODEL.BACKBONE.STORE}, but {cfg.TRAINER.NAME} changes what the image "
                "tower says, so that its features cannot be stored; leave the key empty"
            )
        self.scaler = _grad_scaler(precision == "amp" and self.device.type == "cuda")
        return student

    @property
    def fixed_epochs(self) -> str:
        kind = type(self.model)
        counts = any(getattr(kind, name) is not getattr(Method, name) for name in ("before_training", "after_epoch"))
        return f"{kind.__name__} takes all its epochs together" if counts else ""

    @property
    def class_bound(self) -> Sequence[str]:
        return self.model.class_bound

    def build_model(self) -> None:
        super().build_model()
        decay = self.cfg.OPTIM.EMA if self.trains else 0
        self.average = (
            MovingAverage({name: self._models[name] for name in self.get_model_names()}, decay) if decay else None
        )

    def build_schedule(self, optimizer: Any, settings: Any) -> Any:
        if settings.SCHEDULE_BY == "epoch":
            return super().build_schedule(optimizer, settings)
        return warmup_cosine(optimizer, settings.WARMUP_STEPS, settings.MAX_EPOCH * len(self.train_loader_x))

    def _start_from(self, path: str) -> None:
        """A checkpoint starts the method's prompts, or its head if it has no prompts."""
        trained = self.model.trainable()
        if not trained:
            raise ValueError(
                f"MODEL.INIT_WEIGHTS is {path}, but {self.cfg.TRAINER.NAME} trains nothing; leave it empty"
            )
        name, module = next(iter(trained.items()))
        checkpoint = load_checkpoint(path, weights=True)
        if name in self.class_bound:
            refuse_other_classes(checkpoint, path, self.evaluation.classes)
        load_strictly(module, checkpoint, path)
        print(f"Started {name} from {path}")

    def autocast(self) -> AbstractContextManager:
        """Mixed precision for PREC amp (float16 on CUDA, bfloat16 elsewhere), else nothing."""
        if self.precision(self.cfg) != "amp":
            return contextlib.nullcontext()
        dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        return torch.autocast(self.device.type, dtype)

    # Training

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One step of Alg. 1."""
        parts = Batch(batch, self.crop, self.device).parts(self.cfg.OPTIM.ACCUMULATE)
        self.model_zero_grad()
        logged: dict[str, Tensor] = {}
        for images in parts:
            terms, accuracy = self._terms(images)
            loss = terms.total / len(parts)
            self.detect_anomaly(loss)
            (loss if self.scaler is None else self.scaler.scale(loss)).backward()
            for name, value in {"loss": terms.total, **terms.parts, "acc": accuracy}.items():
                logged[name] = logged.get(name, 0) + value.detach() / len(parts)
        self._update()
        if self.cfg.OPTIM.SCHEDULE_BY == "iteration" or self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return logged if self.reads_late else {name: value.item() for name, value in logged.items()}

    @property
    def reads_late(self) -> bool:
        """Whether what a step reports stays on an accelerator until it is printed, so that the step does not wait."""
        return self.device.type != "cpu" and ENGINE == "embedded"

    def detect_anomaly(self, loss: Tensor) -> None:
        """Refuse a loss that is no number: at once or, where that would wait for an accelerator, when it is read."""
        if loss.device.type == "cpu" or not self.reads_late:
            super().detect_anomaly(loss)

    def _terms(self, images: Batch) -> tuple[Terms, Tensor]:
        """The loss of a batch, or of a part of it, and the accuracy on its labelled images in percent."""
        objective = self.objective
        with self.autocast():
            output = self._output(images)
            logits = features = None
            if objective.needs_teacher_features:
                logits, features = self.teacher.with_features(images)
            elif self.teacher is not None:
                logits = self.teacher(images)
            terms = objective(output, images.labels, logits, features)
        return terms, compute_accuracy(output.logits, images.labels)[0]

    def _output(self, images: Batch) -> MethodOutput:
        """What the method says of a batch, from stored features where these take the place of the tower."""
        labelled, all_logits = images.labelled, self.objective.needs_all_logits
        if self.stores is None or not self.stores.has_student:
            return self.model(images.images(), labelled, all_logits)
        if self.model.keeps_tower:
            return self.model.of_features(self.stores.student_features(images), labelled, all_logits)
        frozen = self.stores.student_features(images, labelled)
        return self.model(images.images(), labelled, all_logits, frozen_image=frozen)

    def _update(self) -> None:
        """A step of every optimiser on the gradients at hand."""
        names = [name for name in self.get_model_names() if _has_gradient(self._models[name])]
        optimizers = [self._optims[name] for name in names]  # a scaler refuses one without any gradient
        if self.cfg.OPTIM.CLIP_NORM:
            if self.scaler is not None:
                for optimizer in optimizers:
                    self.scaler.unscale_(optimizer)
            weights = [weight for name in names for weight in self._models[name].parameters()]
            torch.nn.utils.clip_grad_norm_(weights, self.cfg.OPTIM.CLIP_NORM)
        for optimizer in optimizers:
            optimizer.step() if self.scaler is None else self.scaler.step(optimizer)
        if self.scaler is not None:
            self.scaler.update()
        if self.average is not None:
            self.average.add()

    def before_train(self) -> None:
        super().before_train()
        self.model.before_training(self.start_epoch, self.max_epoch)

    def after_epoch(self) -> None:
        self.model.after_epoch(self.epoch + 1, self.max_epoch)
        if self.average is not None and self.epoch + 1 == self.max_epoch:
            self.average.apply()
        super().after_epoch()

    def extra_state(self) -> dict[str, Any]:
        return {**super().extra_state(), **self.model.extra_state()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        super().load_extra_state(state)
        self.model.load_extra_state(state)
        if self.average is not None:
            self.average.load_state(state)

    def large_state(self) -> dict[str, Any]:
        return {**super().large_state(), **({} if self.average is None else self.average.state())}

    # Inference

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        output = self.model(images)
        return self.objective.logits(output.features, output.logits)


def _has_gradient(module: nn.Module) -> bool:
    return any(weight.grad is not None for weight in module.parameters())


def _grad_scaler(enabled: bool) -> Any:
    if not enabled:
        return None
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler("cuda")
    return torch.cuda.amp.GradScaler()  # torch < 2.3
