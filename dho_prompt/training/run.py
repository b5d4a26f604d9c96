"""A run in Dassl's order, whoever's trainer takes the steps: data, parts, training, the mix, tests, the record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dho_prompt.config import check_settings, plain
from dho_prompt.config.dassl_ranges import READ_IN_HOSTS
from dho_prompt.data.batches.pair import PairLoader
from dho_prompt.data.batches.views import SharedCrop
from dho_prompt.data.choose.labelled import refuse_ignored_choice
from dho_prompt.data.choose.splits import keep_split, share_images, split_record
from dho_prompt.data.classes import UnknownClasses
from dho_prompt.distill.base import Objective
from dho_prompt.distill.ce import CE
from dho_prompt.engine import build_lr_scheduler
from dho_prompt.engine.rng import untouched_rng
from dho_prompt.files import write_json
from dho_prompt.runs import folder
from dho_prompt.runs.evaluation import Evaluation, known_classes, logits_of, shifted_sets
from dho_prompt.runs.finite import refuse_loss
from dho_prompt.runs.lock import one_process
from dho_prompt.runs.mix import searches, stored_mix, why_fixed
from dho_prompt.runs.protocol import refuse_choice_on_test
from dho_prompt.runs.record import result_record
from dho_prompt.runs.resume import Resumable
from dho_prompt.runs.saved_classes import refuse_other_classes, rows_of
from dho_prompt.students.base import Student
from dho_prompt.teachers.base import Teacher
from dho_prompt.training.build import AUTO
from dho_prompt.training.build_objective import build_objective
from dho_prompt.training.build_teacher import (
    build_teacher,
    check_teacher,
    describe_teacher,
    find_teacher,
    teaches_nothing,
)
from dho_prompt.training.evaluating import evaluates_only
from dho_prompt.training.loaders import labelled_batches, pair_batches, test_loader, unlabelled_images
from dho_prompt.training.optimisers import optimizer_of
from dho_prompt.training.stores import Stores, wanted


class Run(Resumable):
    """A trainer that has a student, a method, a teacher and an objective; put it before the engine's class.

    What is the trainer's own: :meth:`read_data` makes the loaders and the crop, :meth:`build_method` the method on its
    student, ``forward_backward`` takes a step (Alg. 1) and :meth:`predict` gives the logits of test images by head
    (Alg. 2).

    Attributes:
        distils: whether there are a teacher and the objective of TRAINER.DHO, or labels alone.
        objective: the loss and the prediction, with the heads that it trains beside the method.
        teacher: loaded when training begins; evaluation does without it.
        crop: the training transform that student and teacher share.
        pool: the unlabelled images.
        evaluation: the classes, the shifted test sets, and what was measured on them.
        stores: what is read in the place of towers, if anything.
    """

    distils = False
    host_builds_optimizers = False
    evaluation_file = folder.EVALUATION  # in the output folder; what an evaluation of a trained run writes

    crop: SharedCrop
    objective: Objective
    teacher: Teacher | None = None
    pool: Sequence[Any] = ()
    evaluation: Evaluation
    stores: Stores | None = None

    # What a trainer brings

    def read_data(self) -> SharedCrop:
        """Set Dassl's ``dm``, loaders, ``num_classes`` and ``lab2cname``; return the training transform."""
        raise NotImplementedError

    def build_method(self) -> Student:
        """Build the method and register what it trains; return the student that its features come from."""
        raise NotImplementedError

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (batch, the model's classes) by head."""
        raise NotImplementedError

    def precision(self, cfg: Any) -> str:
        """fp32, fp16, bf16 or amp."""
        raise NotImplementedError

    @property
    def fixed_epochs(self) -> str:
        """What of the trainer depends on OPTIM.MAX_EPOCH besides its schedule, in words, so that a run cannot go on."""
        return ""

    @property
    def class_bound(self) -> Sequence[str]:
        """Which of the method's registered models have a part for each class, which means nothing for others."""
        return ()

    def autocast(self) -> AbstractContextManager:
        """The precision that predictions are computed in; by default whatever the model itself does."""
        return contextlib.nullcontext()

    def build_schedule(self, optimizer: Any, settings: Any) -> Any:
        """The learning rates of an optimiser under an OPTIM node."""
        return build_lr_scheduler(optimizer, settings)

    # Configuration and data

    def check_cfg(self, cfg: Any) -> None:
        super().check_cfg(cfg)
        if cfg.DATALOADER.K_TRANSFORMS != 1:
            raise ValueError(f"DATALOADER.K_TRANSFORMS is {cfg.DATALOADER.K_TRANSFORMS}; these trainers take 1")
        check_settings(cfg, *READ_IN_HOSTS, *(["TRAINER.DHO"] if self.distils else []))
        if self._will_distil(cfg):
            check_teacher(cfg)

    def _will_distil(self, cfg: Any) -> bool:
        """Whether the run that is being built will ask something of a teacher."""
        taught = self.distils and cfg.TRAINER.DHO.OBJECTIVE != "ce" and not teaches_nothing(cfg)
        return taught and not evaluates_only()

    def build_data_loader(self) -> None:
        cfg = self.cfg
        self.distils = type(self).distils and cfg.TRAINER.DHO.OBJECTIVE != "ce"
        self.crop = self.read_data()
        refuse_ignored_choice(cfg, self.dm.dataset)
        classes = known_classes(self.dm)
        self.classnames = list(classes.names)
        # so a set that is missing on the disk, or has other classes, stops the run before a model is loaded
        names = () if cfg.TEST.NO_TEST else cfg.TEST.SHIFTED_SETS
        self.evaluation = Evaluation(classes, shifted_sets(cfg, classes, names), cfg.TEST.ALL_CLASSES)
        self.val_is_test = share_images(self.dm.dataset.val, self.dm.dataset.test)
        refuse_choice_on_test(cfg, self.val_loader is not None, self.val_is_test, self.distils)
        self._training = False  # outside of training a loaded model is an evaluation of a trained run
        self._mix_is_due = False  # to be chosen on the model that is deployed, before its test
        self.evaluated: dict[str, Any] | None = None  # that trained run
        self.pool = unlabelled_images(cfg, self.dm.dataset) if self.distils else ()
        if self.pool:
            self.train_loader_x = pair_batches(cfg, self.train_loader_x, self.pool, self.crop, self.device)
        else:
            self.train_loader_x = self.batches_without_pool()

    def batches_without_pool(self) -> PairLoader:
        """Labelled batches alone, as many as with a pool."""
        return labelled_batches(self.cfg, self.train_loader_x, self.dm.dataset)

    # Parts

    def build_model(self) -> None:
        if self._will_distil(self.cfg) and self.cfg.TRAINER.DHO.TEACHER.STORE in ("", AUTO):
            find_teacher(self.cfg)  # so one that is missing is reported before a student is loaded
        student = self.build_method()
        with untouched_rng():  # the method draws the same with and without an objective of ours
            search = searches(*self._validation)
            objective = build_objective(self.cfg, student, self.classnames, search) if self.distils else CE()
        self.objective = objective.to(self.device)
        for name, head in self.objective.trainable().items():
            self.add_model(name, head, self.cfg.TRAINER.DHO.HEAD_LR)

    @property
    def _validation(self) -> tuple[str, bool, bool, bool]:
        """What decides on a search: SEARCH, whether there is a validation set, whether it is for testing, a teacher."""
        return self.cfg.TRAINER.DHO.SEARCH, self.val_loader is not None, self.val_is_test, not teaches_nothing(self.cfg)

    def add_model(self, name: str, module: nn.Module, learning_rate: float = 0.0) -> None:
        """Register a module with an optimiser and a schedule of its own; 0 takes OPTIM.LR."""
        self.register_model(name, module, None, None)
        self.build_optimizer(name, learning_rate)

    def build_optimizer(self, name: str, learning_rate: float = 0.0) -> None:
        """Give a registered module its optimiser and schedule, anew where it has them; 0 takes OPTIM.LR."""
        optimizer, settings = optimizer_of(
            self._models[name], self.cfg.OPTIM, learning_rate, staged=not self.host_builds_optimizers
        )
        self._optims[name], self._scheds[name] = optimizer, self.build_schedule(optimizer, settings)

    # Training

    def train(self, *args: Any) -> None:
        with one_process(self.cfg.OUTPUT_DIR):
            super().train(*args)

    def before_train(self) -> None:
        cfg, self._training = self.cfg, True
        taught = self.objective.needs_teacher and not teaches_nothing(cfg)
        kinds = wanted(cfg, taught)
        self.stores = Stores(self, kinds) if kinds else None
        if taught:
            self._take_teacher()
        if self.stores is not None:
            self._read_stores(kinds)
        super().before_train()  # may refuse what the checkpoints are of, before anything is written
        folder.begin_run(cfg.OUTPUT_DIR, plain(cfg))
        root = getattr(self.dm.dataset, "root", Path(cfg.DATASET.ROOT))
        self.split = split_record(self.dm.dataset.train_x, self.pool, root)
        keep_split(Path(cfg.OUTPUT_DIR) / folder.SPLIT, self.split)

    def _take_teacher(self) -> None:
        with untouched_rng():
            if self.cfg.TRAINER.DHO.TEACHER.STORE:
                self.teacher = self.stores.teacher().to(self.device)
            else:
                self.teacher = build_teacher(self.cfg, self.classnames, self.precision(self.cfg), self.device)
        self.objective.align(self.teacher)
        for view in self.teacher.views:
            self.crop.show(view)

    def _read_stores(self, kinds: dict[str, str]) -> None:
        """Show the towers that are left the stored crops."""
        if "student" in kinds and self.model.keeps_tower:
            self.crop.show_alone(() if self.teacher is None else self.teacher.views)
        self.stores.attach(self)

    def before_epoch(self) -> None:
        if self.stores is not None:
            self.stores.begin_epoch(self.epoch)
        super().before_epoch()

    def detect_anomaly(self, loss: Tensor) -> None:
        refuse_loss(loss, self)

    def after_train(self) -> None:
        self._mix_is_due = True
        super().after_train()
        if not self.cfg.TEST.NO_TEST:
            self.evaluation.require(self.cfg.TEST.SPLIT)
            self.test_shifted()
        seconds = round(time.time() - self.time_start, 1)
        path = write_json(Path(self.cfg.OUTPUT_DIR) / folder.RESULTS, {**self.results(), "seconds": seconds})
        print(f"Results saved to {path}")
        self._training = False

    # Inference

    def choose_mix(self) -> None:
        """What the heads are mixed with, chosen before the test set is seen."""
        objective = self.objective
        if objective.mix is None:
            return
        why = why_fixed(*self._validation)
        if why:
            objective.mix["chosen"] = f"fixed: {why}"
        elif objective.searches:
            self.set_model_mode("eval")
            objective.search(*logits_of(tqdm(self.val_loader, desc="validation"), self.parse_batch_test, self._logits))
        write_json(Path(self.cfg.OUTPUT_DIR) / folder.MIX, objective.mix)
        print(f"alpha {objective.mix['alpha']}, beta {objective.mix['beta']} ({objective.mix['chosen']})")

    def _logits(self, images: Tensor) -> dict[str, Tensor]:
        with self.autocast():
            return self.predict(images)

    def parse_batch_test(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        images, self._labels = super().parse_batch_test(batch)
        return images, self._labels

    def model_inference(self, input: Tensor) -> Tensor:
        return self.evaluation.add(self._logits(input), self._labels, self.objective.predict)

    @torch.no_grad()
    def test(self, split: str | None = None, **more: Any) -> float:
        """Dassl's test, with what else a fork of Dassl gives it."""
        if split is None and self._mix_is_due:
            self._mix_is_due = False
            self.choose_mix()
        self.evaluation.begin()
        accuracy = super().test(split, **more)
        if split is None:
            self.evaluation.end(self.cfg.TEST.SPLIT)
        if split is None and self.evaluated is not None:
            self.test_shifted()
            path = write_json(Path(self.cfg.OUTPUT_DIR) / self.evaluation_file, self.results())
            print(f"Evaluation saved to {path}")
        return accuracy

    @torch.no_grad()
    def test_shifted(self) -> None:
        """Evaluate the sets of TEST.SHIFTED_SETS; they print no Dassl result lines, which name the test set alone."""
        self.set_model_mode("eval")
        for name, shifted in self.evaluation.shifted.items():
            self.evaluation.begin(name)
            for batch in tqdm(test_loader(self.cfg, shifted.items), desc=name):
                self.model_inference(self.parse_batch_test(batch)[0])
            self.evaluation.end(name)

    # Checkpoints

    def class_bound_models(self) -> list[str]:
        """Names of the registered models that have a part for each class."""
        return [*self.class_bound, *self.objective.class_bound()]

    def fit_checkpoint(self, name: str, checkpoint: dict[str, Any], path: str) -> dict[str, Any] | None:
        if name not in self.class_bound_models():
            return checkpoint
        try:
            return rows_of(checkpoint, path, self.evaluation.classes, self._models[name].state_dict(), self.cfg)
        except UnknownClasses as error:
            if self.class_bound or name not in self.objective.trainable():
                raise
            self.objective.leave_out(name, error)
            return None

    def _restore_all(self, directory: str, file_name: str, checkpoints: dict[str, dict[str, Any]]) -> None:
        for name in self.class_bound_models():  # before anything is loaded
            path = str(Path(directory) / name / file_name)
            refuse_other_classes(checkpoints[name], path, self.evaluation.classes)
        saved = (next(iter(checkpoints.values())).get("trainer") or {}).get("extra", {}).get("config")
        if saved is not None:
            own = directory != self.cfg.RESUME
            folder.refuse_other_run(saved, plain(self.cfg), directory, own, self.fixed_epochs)
        super()._restore_all(directory, file_name, checkpoints)

    def large_state(self) -> dict[str, Any]:
        return {**super().large_state(), "config": folder.binding(plain(self.cfg))}

    def extra_state(self) -> dict[str, Any]:
        classes = self.evaluation.classes
        state: dict[str, Any] = {"classnames": list(classes.names), "class_ids": classes.ids}
        if getattr(self, "scaler", None) is not None:
            state["scaler"] = self.scaler.state_dict()
        if self.stores is not None:
            state["stores"] = self.stores.identities()
        return state

    def load_extra_state(self, state: dict[str, Any]) -> None:
        if self.stores is not None and "stores" in state:
            self.stores.refuse_others(state["stores"])
        if getattr(self, "scaler", None) is not None and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load a run; its mix is the configuration's or, with TRAINER.DHO.SEARCH on or auto, what the run searched."""
        if directory and self.objective.mix is not None and not self._training:
            self.objective.mix = stored_mix(directory, self.cfg.TRAINER.DHO) or self.objective.mix
        self.objective.use_all_heads()
        self.load_weights(directory, epoch)
        if directory and not self._training:  # the next test is an evaluation, which writes a file of its own
            self.recall(directory)
            self.evaluated, self.split = folder.trained_run(directory, epoch)

    def recall(self, directory: str) -> None:
        """Take what else a trained run found out, behind its weights."""

    def load_weights(self, directory: str, epoch: int | None) -> None:
        """The weights alone of every registered model."""
        super().load_model(directory, epoch)

    def results(self) -> dict[str, Any]:
        """The content of ``results.json`` or, for a trained run that was loaded, ``evaluation.json``."""
        record = result_record(self.cfg, self.evaluation.measured, self.split, str(self.device), self.evaluated)
        if self.distils:
            teacher = None if teaches_nothing(self.cfg) else describe_teacher(self.cfg, self.teacher)
            record.update(objective=self.objective.name, teacher=teacher)
            record.update({} if self.objective.mix is None else {"mix": self.objective.mix})
        if self.stores is not None:
            record["stores"] = self.stores.record()
        return record
