"""The trainer that every adaptation method shares: data, precision, evaluation, result file."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, ContextManager, Dict, List, Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from dho_prompt.clip.loading import LoadedCLIP, load_clip
from dho_prompt.config import PRECISIONS, check_choice, plain
from dho_prompt.data.splits import keep_split, split_record
from dho_prompt.data.views import SharedCrop, View
from dho_prompt.engine import (
    ENGINE,
    ENGINE_VERSION,
    DataManager,
    DatasetWrapper,
    TrainerX,
    build_data_loader,
    build_dataset,
    build_lr_scheduler,
    build_optimizer,
    build_transform,
    compute_accuracy,
    load_checkpoint,
    load_strictly,
)
from dho_prompt.evaluation.runs import RESULTS, begin_run, versions
from dho_prompt.evaluation.tally import HeadTally
from dho_prompt.files import write_json


class SharedViews(DatasetWrapper):
    """Dassl's dataset wrapper for a transform that returns several views of an image."""

    def __getitem__(self, index: int) -> Dict[str, Any]:
        sample = super().__getitem__(index)
        if isinstance(sample["img"], dict):
            sample.update(sample.pop("img"))
        return sample


class MethodTrainer(TrainerX):
    """Train one adaptation method of CLIP on labelled images.

    A subclass sets :attr:`node` and implements :meth:`build_method`; its method is a module with ``encode_image``,
    ``logits`` and ``trainable`` as :class:`~dho_prompt.methods.coop.CoOpMethod` has them.
    """

    node = ""  # name of the method's node below cfg.TRAINER

    def build_method(self, clip: LoadedCLIP, classnames: List[str]) -> nn.Module:
        """The method on a frozen CLIP that is on the right device and of the right precision."""
        raise NotImplementedError

    # Configuration and data

    def check_cfg(self, cfg: Any) -> None:
        check_choice(f"TRAINER.{self.node}.PREC", self.precision(cfg), PRECISIONS)
        if cfg.DATALOADER.K_TRANSFORMS != 1:
            raise ValueError(f"DATALOADER.K_TRANSFORMS is {cfg.DATALOADER.K_TRANSFORMS}; these trainers take 1")

    def precision(self, cfg: Any) -> str:
        """The value of ``cfg.TRAINER.<node>.PREC``."""
        return cfg.TRAINER[self.node].PREC

    def build_data_loader(self) -> None:
        cfg = self.cfg
        self.accuracies: Dict[str, Dict[str, float]] = {}  # percent, by test set and head
        self._mix_is_open = False
        student = View(cfg.INPUT.SIZE[0], tuple(cfg.INPUT.PIXEL_MEAN), tuple(cfg.INPUT.PIXEL_STD))
        self.crop = SharedCrop(student, None, cfg.INPUT.TRANSFORMS, cfg.INPUT.RRCROP_SCALE, cfg.INPUT.INTERPOLATION)
        self.dm = DataManager(cfg, custom_tfm_train=self.crop, dataset_wrapper=SharedViews)
        self.train_loader_x, self.train_loader_u = self.dm.train_loader_x, None
        self.val_loader, self.test_loader = self.dm.val_loader, self.dm.test_loader
        self.num_classes, self.num_source_domains = self.dm.num_classes, self.dm.num_source_domains
        self.lab2cname = self.dm.lab2cname
        self.classnames = all_classnames(self.lab2cname, self.num_classes)
        self.val_is_test = _share_images(self.dm.dataset.val, self.dm.dataset.test)
        self._check_protocol()
        self._check_batch_size(cfg.DATALOADER.TRAIN_X.BATCH_SIZE, len(self.dm.dataset.train_x))

    def _check_protocol(self) -> None:
        if self.cfg.TEST.FINAL_MODEL == "best_val" and (self.val_loader is None or self.val_is_test):
            reason = "offers its test images as validation set" if self.val_is_test else "has no validation set"
            raise ValueError(
                f"TEST.FINAL_MODEL is best_val, but {self.cfg.DATASET.NAME} {reason}, so the checkpoint would be "
                "chosen on the test set; use last_step"
            )

    def _check_batch_size(self, batch_size: int, images: int) -> None:
        if batch_size <= images:
            return
        if not self.cfg.DATALOADER.FIT_BATCH:
            raise ValueError(
                f"DATALOADER.TRAIN_X.BATCH_SIZE is {batch_size}, but there are {images} labelled images; it may be "
                f"at most {images}. Leave the key out to let every step take all of them"
            )
        print(f"The batch of {batch_size} is larger than the labelled set: every step takes all {images} images")

    def labelled_and_pool(self) -> tuple:
        """The labelled items and the unlabelled pool (empty for a method without one)."""
        return self.dm.dataset.train_x, []

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
            if cfg.MODEL.INIT_WEIGHTS:
                self._start_from(module, cfg.MODEL.INIT_WEIGHTS)
            self.add_model(folder, module)
        self.scaler = _grad_scaler(precision == "amp" and self.device.type == "cuda")

    def _start_from(self, module: nn.Module, path: str) -> None:
        load_strictly(module, load_checkpoint(path, weights=True), path)
        print(f"Started from {path}")

    def add_model(self, folder: str, module: nn.Module, learning_rate: float = 0.0) -> None:
        """Register a module with an optimiser and a schedule of its own; 0 takes OPTIM.LR."""
        settings = self.cfg.OPTIM.clone()
        if learning_rate:
            settings.defrost()
            settings.LR = learning_rate
        optimizer = build_optimizer(module, settings)
        self.register_model(folder, module, optimizer, build_lr_scheduler(optimizer, settings))

    def autocast(self) -> ContextManager:
        """Mixed precision for PREC amp (float16 on CUDA, bfloat16 elsewhere), else nothing."""
        if self.precision(self.cfg) != "amp":
            return contextlib.nullcontext()
        dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        return torch.autocast(self.device.type, dtype)

    # Training

    def before_train(self) -> None:
        cfg = self.cfg
        begin_run(cfg.OUTPUT_DIR, plain(cfg))
        labelled, pool = self.labelled_and_pool()
        self.split = split_record(labelled, pool, getattr(self.dm.dataset, "root", Path(cfg.DATASET.ROOT)))
        keep_split(Path(cfg.OUTPUT_DIR) / "split.json", self.split)
        super().before_train()

    def forward_backward(self, batch: Dict[str, Any]) -> Dict[str, float]:
        with self.autocast():
            terms = self.losses(batch)
        self._update(terms["loss"])
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {name: value.item() for name, value in terms.items()}

    def losses(self, batch: Dict[str, Any]) -> Dict[str, Tensor]:
        """The loss to differentiate under ``loss``, then what else is logged; scalars."""
        labels = batch["label"].to(self.device)
        logits = self.model(batch["img"].to(self.device))
        return {"loss": F.cross_entropy(logits, labels), "acc": compute_accuracy(logits, labels)[0]}

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

    def extra_state(self) -> Dict[str, Any]:
        state: Dict[str, Any] = {"classnames": list(self.classnames)}
        if self.scaler is not None:
            state["scaler"] = self.scaler.state_dict()
        return state

    def load_extra_state(self, state: Dict[str, Any]) -> None:
        if self.scaler is not None and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])

    # Evaluation

    def predict(self, images: Tensor) -> Dict[str, Tensor]:
        """Scores (batch, classes) by name of the predictor; the first is the method's prediction."""
        return {"ce": self.model(images)}

    def parse_batch_test(self, batch: Dict[str, Any]) -> tuple:
        images, self._labels = batch["img"].to(self.device), batch["label"].to(self.device)
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


def load_configured_clip(key: str, node: Any, precision: str, device: torch.device) -> LoadedCLIP:
    """:func:`~dho_prompt.clip.loading.load_clip` for the ``NAME`` and ``WEIGHTS`` of a node; errors name its keys."""
    try:
        return load_clip(node.NAME, node.WEIGHTS, precision, device)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{error} (set by {key}.NAME {node.NAME!r} and {key}.WEIGHTS {node.WEIGHTS!r})") from error


def weight_precision(precision: str) -> str:
    """The precision of the frozen weights for a value of PREC: amp keeps float32 weights."""
    return "fp32" if precision == "amp" else precision


def _share_images(first: Any, second: Any) -> bool:
    if not first or not second:
        return False
    return first is second or not {item.impath for item in first}.isdisjoint(item.impath for item in second)


def _grad_scaler(enabled: bool) -> Any:
    if not enabled:
        return None
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler("cuda")
    return torch.cuda.amp.GradScaler()  # torch < 2.3
