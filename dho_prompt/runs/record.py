"""What surrounds every trainer's own method: protocol checks, the split's record, result files."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, ContextManager, Dict, Optional

from torch import nn

from dho_prompt.config import plain
from dho_prompt.data.choose.labelled import check_obeyed
from dho_prompt.data.choose.splits import keep_split, split_record
from dho_prompt.engine import ENGINE, ENGINE_VERSION, build_lr_scheduler, build_optimizer
from dho_prompt.files import read_json, write_json
from dho_prompt.runs.evaluation import EvaluatedRun
from dho_prompt.runs.folder import CONFIG, EVALUATION, RESULTS, begin_run, versions

MEASURED = ("accuracy", "ece", "classes")


class RecordedRun(EvaluatedRun):
    """Mix into a trainer with Dassl's contract, before its class.

    The trainer gives :meth:`predict`, and calls :meth:`know_data` once its loaders are built.
    """

    # Data

    evaluation_file = EVALUATION  # in the output folder; what an evaluation of a trained run writes

    def know_data(self) -> None:
        """Take the classes from the data set, and refuse to choose a model on the test set."""
        self._training = self._mix_is_open = False
        self.evaluated: Optional[Dict[str, Any]] = None  # the trained run that is evaluated, see note_loaded
        check_obeyed(self.cfg, self.dm.dataset)
        self.know_classes()
        self.val_is_test = _share_images(self.dm.dataset.val, self.dm.dataset.test)
        self._check_protocol()

    def _check_protocol(self) -> None:
        if self.cfg.TEST.FINAL_MODEL == "best_val" and (self.val_loader is None or self.val_is_test):
            reason = "offers its test images as validation set" if self.val_is_test else "has no validation set"
            raise ValueError(
                f"TEST.FINAL_MODEL is best_val, but {self.cfg.DATASET.NAME} {reason}, so the checkpoint would be "
                "chosen on the test set; use last_step"
            )

    def labelled_and_pool(self) -> tuple:
        """The labelled items and the unlabelled pool (empty for a method without one)."""
        return self.dm.dataset.train_x, []

    # Model

    def add_model(self, folder: str, module: nn.Module, learning_rate: float = 0.0) -> None:
        """Register a module with an optimiser and a schedule of its own; 0 takes OPTIM.LR."""
        settings = self.cfg.OPTIM.clone()
        if learning_rate:
            settings.defrost()
            settings.LR = learning_rate
        optimizer = build_optimizer(module, settings)
        self.register_model(folder, module, optimizer, self.build_schedule(optimizer, settings))

    def build_schedule(self, optimizer: Any, settings: Any) -> Any:
        """The learning rates of an optimiser under an OPTIM node."""
        return build_lr_scheduler(optimizer, settings)

    def autocast(self) -> ContextManager:
        """The precision that predictions are computed in; by default whatever the model itself does."""
        return contextlib.nullcontext()

    # Training

    def before_train(self) -> None:
        cfg, self._training = self.cfg, True
        begin_run(cfg.OUTPUT_DIR, plain(cfg))
        labelled, pool = self.labelled_and_pool()
        self.split = split_record(labelled, pool, getattr(self.dm.dataset, "root", Path(cfg.DATASET.ROOT)))
        keep_split(Path(cfg.OUTPUT_DIR) / "split.json", self.split)
        super().before_train()

    def extra_state(self) -> Dict[str, Any]:
        state: Dict[str, Any] = {"classnames": list(self.classes.names), "class_ids": self.classes.ids}
        if getattr(self, "scaler", None) is not None:
            state["scaler"] = self.scaler.state_dict()
        return state

    def _restore_all(self, directory: str, file_name: str, checkpoints: Dict[str, Dict[str, Any]]) -> None:
        for name in self.class_bound_models():  # before anything is loaded
            self.check_same_classes(checkpoints[name], str(Path(directory) / name / file_name))
        super()._restore_all(directory, file_name, checkpoints)

    def load_extra_state(self, state: Dict[str, Any]) -> None:
        if getattr(self, "scaler", None) is not None and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])

    # Evaluation

    def load_model(self, directory: str, epoch: Optional[int] = None) -> None:
        super().load_model(directory, epoch)
        self.note_loaded(directory, epoch)

    def note_loaded(self, directory: str, epoch: Optional[int]) -> None:
        """Outside of training, the next test is the evaluation of a trained run: it writes a file of its own."""
        if not directory or self._training:
            return
        folder = Path(directory)
        trained = read_json(folder / CONFIG)["DATASET"] if (folder / CONFIG).exists() else {}
        self.evaluated = {
            "run": str(folder),
            "epoch": "best on validation" if epoch is None else epoch,
            "trained_on": {key: trained.get(key) for key in ("NAME", "NUM_SHOTS", "SUBSAMPLE_CLASSES")},
        }
        self.split = read_json(folder / "split.json") if (folder / "split.json").exists() else None

    def test(self, split: Optional[str] = None) -> float:
        if split is None and self._mix_is_open:
            self._mix_is_open = False
            self.before_test()
        accuracy = super().test(split)
        if split is None and self.evaluated is not None:
            self.test_shifted()
            path = write_json(Path(self.cfg.OUTPUT_DIR) / self.evaluation_file, self.results())
            print(f"Evaluation saved to {path}")
        return accuracy

    # Results

    def after_train(self) -> None:
        self._mix_is_open = True  # to be chosen on the model that is deployed, before its test
        super().after_train()
        if not self.cfg.TEST.NO_TEST:
            self.test_shifted()
        seconds = round(time.time() - self.time_start, 1)
        write_json(Path(self.cfg.OUTPUT_DIR) / RESULTS, {**self.results(), "seconds": seconds})
        print(f"Results saved to {Path(self.cfg.OUTPUT_DIR) / RESULTS}")
        self._training = False

    def before_test(self) -> None:
        """What is chosen after training and before the test set is seen."""

    def results(self) -> Dict[str, Any]:
        """The content of ``results.json`` or, for a trained run that was loaded, ``evaluation.json``.

        Accuracies and calibration errors (``ece``) are in percent, by test set and head. ``classes`` says how many
        classes a set has and among how many its images were scored.
        """
        cfg = self.cfg
        return {
            "trainer": cfg.TRAINER.NAME,
            "dataset": cfg.DATASET.NAME,
            "shots": cfg.DATASET.NUM_SHOTS,
            "seed": cfg.SEED,
            **{kind: {name: found[kind] for name, found in self.measured.items()} for kind in MEASURED},
            "split": None if self.split is None else {**self.split, "labelled": len(self.split["labelled"])},
            "epochs": cfg.OPTIM.MAX_EPOCH,
            "device": str(self.device),
            "engine": f"{ENGINE} {ENGINE_VERSION}",
            "versions": versions(),
            **({} if self.evaluated is None else {"evaluated": self.evaluated}),
            "config": plain(cfg),
        }


def _share_images(first: Any, second: Any) -> bool:
    if not first or not second:
        return False
    return first is second or not {item.impath for item in first}.isdisjoint(item.impath for item in second)
