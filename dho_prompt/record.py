"""What surrounds every trainer's own method: protocol checks, the split's record, accuracy by head, result files."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, ContextManager, Dict, List, Optional

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dho_prompt.config import plain
from dho_prompt.data.labelled import check_obeyed
from dho_prompt.data.splits import keep_split, split_record
from dho_prompt.engine import (
    ENGINE,
    ENGINE_VERSION,
    build_data_loader,
    build_dataset,
    build_lr_scheduler,
    build_optimizer,
    build_transform,
)
from dho_prompt.evaluation.runs import RESULTS, begin_run, versions
from dho_prompt.evaluation.tally import HeadTally
from dho_prompt.files import write_json


class RecordedRun:
    """Mix into a trainer with Dassl's contract, before its class.

    The trainer gives :meth:`predict`, and calls :meth:`know_data` once its loaders are built.
    """

    # Data

    def know_data(self) -> None:
        """Take the class names from the data set, and refuse to choose a model on the test set."""
        self.accuracies: Dict[str, Dict[str, float]] = {}  # percent, by test set and head
        self._mix_is_open = False
        check_obeyed(self.cfg, self.dm.dataset)
        self.classnames = all_classnames(self.lab2cname, self.num_classes)
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
        cfg = self.cfg
        begin_run(cfg.OUTPUT_DIR, plain(cfg))
        labelled, pool = self.labelled_and_pool()
        self.split = split_record(labelled, pool, getattr(self.dm.dataset, "root", Path(cfg.DATASET.ROOT)))
        keep_split(Path(cfg.OUTPUT_DIR) / "split.json", self.split)
        super().before_train()

    def extra_state(self) -> Dict[str, Any]:
        state: Dict[str, Any] = {"classnames": list(self.classnames)}
        if getattr(self, "scaler", None) is not None:
            state["scaler"] = self.scaler.state_dict()
        return state

    def load_extra_state(self, state: Dict[str, Any]) -> None:
        if getattr(self, "scaler", None) is not None and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])

    # Evaluation

    def predict(self, images: Tensor) -> Dict[str, Tensor]:
        """Scores (batch, classes) by name of the predictor; the first is the method's prediction."""
        raise NotImplementedError

    def parse_batch_test(self, batch: Dict[str, Any]) -> tuple:
        images, self._labels = super().parse_batch_test(batch)
        return images, self._labels

    def model_inference(self, input: Tensor) -> Tensor:
        with self.autocast():
            scores = self.predict(input)
        self._tally.add(scores, self._labels)
        return next(iter(scores.values()))

    @torch.no_grad()
    def test(self, split: Optional[str] = None) -> float:
        if split is None and self._mix_is_open:
            self._mix_is_open = False
            self.before_test()
        self._tally = HeadTally()
        accuracy = super().test(split)
        if split is None:
            self.accuracies[self.cfg.TEST.SPLIT] = self._tally.percentages()
            print(f"{self.cfg.TEST.SPLIT}: {self._tally}")
        return accuracy

    @torch.no_grad()
    def test_shifted(self) -> None:
        """Evaluate the sets of TEST.SHIFTED_SETS; they print no Dassl result lines, which name the test set alone."""
        self.set_model_mode("eval")
        for name in self.cfg.TEST.SHIFTED_SETS:
            self._tally = HeadTally()
            for batch in tqdm(self._shifted_loader(name), desc=name):
                self.model_inference(self.parse_batch_test(batch)[0])
            self.accuracies[name] = self._tally.percentages()
            print(f"{name}: {self._tally}")

    def _shifted_loader(self, name: str) -> Any:
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATASET.NAME = name
        dataset = build_dataset(cfg)
        if all_classnames(dataset.lab2cname, dataset.num_classes) != self.classnames:
            raise ValueError(f"{name} in TEST.SHIFTED_SETS does not have the classes of {self.cfg.DATASET.NAME}")
        return build_data_loader(
            cfg,
            sampler_type=cfg.DATALOADER.TEST.SAMPLER,
            data_source=dataset.test,
            batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
            tfm=build_transform(cfg, is_train=False),
            is_train=False,
        )

    def check_extra_state(self, state: Dict[str, Any], path: str) -> None:
        saved = state.get("classnames")  # a host's checkpoint does not say
        if saved is not None and list(saved) != self.classnames and self.depends_on_classes:
            before, now = (f"{len(names)} classes ({', '.join(names[:3])}, ...)" for names in (saved, self.classnames))
            raise ValueError(f"{path} was trained on {before}, this data set has {now}; they must be the same")

    @property
    def depends_on_classes(self) -> bool:
        """Whether what is trained has a part for each class, which means nothing for other classes."""
        return False

    # Results

    def after_train(self) -> None:
        self._mix_is_open = True  # to be chosen on the model that is deployed, before its test
        super().after_train()
        if not self.cfg.TEST.NO_TEST:
            self.test_shifted()
        write_json(Path(self.cfg.OUTPUT_DIR) / RESULTS, self.results())
        print(f"Results saved to {Path(self.cfg.OUTPUT_DIR) / RESULTS}")

    def before_test(self) -> None:
        """What is chosen after training and before the test set is seen."""

    def results(self) -> Dict[str, Any]:
        """The content of ``results.json``; accuracies in percent."""
        cfg = self.cfg
        return {
            "trainer": cfg.TRAINER.NAME,
            "dataset": cfg.DATASET.NAME,
            "shots": cfg.DATASET.NUM_SHOTS,
            "seed": cfg.SEED,
            "accuracy": self.accuracies,
            "split": {**self.split, "labelled": len(self.split["labelled"])},
            "epochs": cfg.OPTIM.MAX_EPOCH,
            "seconds": round(time.time() - self.time_start, 1),
            "device": str(self.device),
            "engine": f"{ENGINE} {ENGINE_VERSION}",
            "versions": versions(),
            "config": plain(cfg),
        }


def all_classnames(lab2cname: Dict[int, str], num_classes: int) -> List[str]:
    """The class names in the order of the labels.

    Raises:
        ValueError: a label has no name, because a class has no training image in the host's data set.
    """
    missing = [label for label in range(num_classes) if label not in lab2cname]
    if missing:
        raise ValueError(
            f"{len(missing)} of {num_classes} classes have no training image (labels {missing[:5]}...), so their "
            "names are not known; restore their folders"
        )
    return [lab2cname[label] for label in range(num_classes)]


def _share_images(first: Any, second: Any) -> bool:
    if not first or not second:
        return False
    return first is second or not {item.impath for item in first}.isdisjoint(item.impath for item in second)
