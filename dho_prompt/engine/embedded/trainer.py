"""The training loop with Dassl's method names, attributes, log lines and TensorBoard tags."""

from __future__ import annotations

import datetime
import math
import os
import time
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dho_prompt.engine.checkpoint import BEST
from dho_prompt.engine.embedded.data import DataManager
from dho_prompt.engine.embedded.evaluation import build_evaluator
from dho_prompt.engine.embedded.meters import AverageMeter, LateNumbers, MetricMeter
from dho_prompt.engine.embedded.models import TrainerBase
from dho_prompt.engine.embedded.registry import Registry

TRAINER_REGISTRY = Registry("TRAINER")


def build_trainer(cfg: Any) -> TrainerX:
    """Build the trainer that ``TRAINER.NAME`` names.

    Raises:
        ValueError: no trainer goes by that name; the message names the nearest.
    """
    return TRAINER_REGISTRY.build(cfg.TRAINER.NAME, cfg, verbose=cfg.VERBOSE)


class TrainerX(TrainerBase):
    """A classifier's run on labelled batches: data, model, epochs, validation, final test.

    Subclasses write ``build_model`` (which registers the models) and ``forward_backward(batch)`` (which returns a dict
    of numbers to log, and calls ``update_lr`` on the last batch). Writing checkpoints and resuming from them is
    :class:`dho_prompt.runs.resume.Resumable`'s part.

    Args:
        cfg: the run's config.
    """

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        self._writer: Any | None = None
        self.check_cfg(cfg)
        self.cfg = cfg
        self.device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        self.start_epoch = self.epoch = 0
        self.max_epoch = cfg.OPTIM.MAX_EPOCH
        self.output_dir = cfg.OUTPUT_DIR
        self.build_data_loader()
        self.build_model()
        self.evaluator = build_evaluator(cfg, lab2cname=self.lab2cname)
        self.best_result = -float("inf")

    def check_cfg(self, cfg: Any) -> None:
        """Refuse values that the trainer cannot work with; by default all are accepted."""

    def build_data_loader(self) -> None:
        """Set the loaders, ``num_classes``, ``num_source_domains``, ``lab2cname`` and ``dm``."""
        self.dm = DataManager(self.cfg)
        self.train_loader_x, self.val_loader = self.dm.train_loader_x, self.dm.val_loader
        self.test_loader = self.dm.test_loader
        self.num_classes, self.num_source_domains = self.dm.num_classes, self.dm.num_source_domains
        self.lab2cname = self.dm.lab2cname

    def build_model(self) -> None:
        raise NotImplementedError(
            f"{type(self).__name__} must build and register its models in build_model(); "
            "the embedded engine has no backbones of its own"
        )

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, float]:
        raise NotImplementedError(f"{type(self).__name__} must take a training step in forward_backward()")

    def save_model(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            f"{type(self).__name__} neither saves nor resumes; put dho_prompt.runs.resume.Resumable before TrainerX "
            "among its base classes"
        )

    resume_model_if_exist = load_model = save_model

    # Training

    def train(self) -> None:
        """Run the epochs that are left."""
        self.before_train()
        for epoch in range(self.start_epoch, self.max_epoch):
            self.epoch = epoch
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def before_train(self) -> None:
        self.start_epoch = self.resume_model_if_exist(self.cfg.RESUME or self.cfg.OUTPUT_DIR)
        writer_dir = os.path.join(self.output_dir, "tensorboard")
        os.makedirs(writer_dir, exist_ok=True)
        self.init_writer(writer_dir)
        self.time_start = time.time()

    def before_epoch(self) -> None:
        """Nothing, here."""

    def run_epoch(self) -> None:
        """One ``forward_backward`` for each batch, timed and logged."""
        self.set_model_mode("train")
        self.num_batches = len(self.train_loader_x)
        losses, batch_time, data_time = MetricMeter(), AverageMeter(), AverageMeter()
        reported = LateNumbers()
        end = time.time()
        for batch_idx, batch in enumerate(self.train_loader_x):
            self.batch_idx = batch_idx
            data_time.update(time.time() - end)
            reported.add(batch_idx, self.forward_backward(batch))
            batch_time.update(time.time() - end)
            few_batches = self.num_batches < self.cfg.TRAIN.PRINT_FREQ
            printed = few_batches or (batch_idx + 1) % self.cfg.TRAIN.PRINT_FREQ == 0
            if printed or batch_idx + 1 == self.num_batches or not reported.late:
                self._take(reported, losses)
            if printed:
                print(self._progress(losses, batch_time, data_time))
            self.write_scalar("train/lr", self.get_current_lr(), self.epoch * self.num_batches + batch_idx)
            end = time.time()

    def _take(self, reported: LateNumbers, losses: MetricMeter) -> None:
        """Read what steps reported, refuse losses that are no numbers, and log."""
        for batch_idx, values in reported.read():
            losses.update(values)
            loss = (values or {}).get("loss", 0.0)
            if not math.isfinite(loss):
                self.batch_idx = batch_idx
                self.detect_anomaly(torch.tensor(loss))
            for name, meter in losses.meters.items():
                self.write_scalar(f"train/{name}", meter.avg, self.epoch * self.num_batches + batch_idx)

    def _progress(self, losses: MetricMeter, batch_time: AverageMeter, data_time: AverageMeter) -> str:
        batches_left = (self.max_epoch - self.epoch) * self.num_batches - self.batch_idx - 1
        eta = datetime.timedelta(seconds=int(batch_time.avg * batches_left))
        return (
            f"epoch [{self.epoch + 1}/{self.max_epoch}] batch [{self.batch_idx + 1}/{self.num_batches}] "
            f"time {batch_time.val:.3f} ({batch_time.avg:.3f}) data {data_time.val:.3f} ({data_time.avg:.3f}) "
            f"{losses} lr {self.get_current_lr():.4e} eta {eta}"
        )

    def after_epoch(self) -> None:
        if self.cfg.TEST.FINAL_MODEL == "best_val" and not self.cfg.TEST.NO_TEST:
            result = self.test(split="val")
            if result > self.best_result:
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name=BEST)
        done, freq = self.epoch + 1, self.cfg.TRAIN.CHECKPOINT_FREQ
        if done == self.max_epoch or (freq > 0 and done % freq == 0):
            self.save_model(self.epoch, self.output_dir)

    def after_train(self) -> None:
        print("Finish training")
        if not self.cfg.TEST.NO_TEST:
            if self.cfg.TEST.FINAL_MODEL == "best_val":
                print("Deploy the model with the best val performance")
                self.load_model(self.output_dir)
            else:
                print("Deploy the last-epoch model")
            self.test()
        print(f"Elapsed: {datetime.timedelta(seconds=round(time.time() - self.time_start))}")
        self.close_writer()

    # Evaluation

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate on ``split`` (``val`` or ``test``; default ``TEST.SPLIT``) and return the accuracy in percent.

        Without validation images ``val`` means the test set, as in Dassl.
        """
        self.set_model_mode("eval")
        self.evaluator.reset()
        split = self.cfg.TEST.SPLIT if split is None else split
        if split != "val" or self.val_loader is None:
            split = "test"
        print(f"Evaluate on the *{split}* set")
        for batch in tqdm(self.val_loader if split == "val" else self.test_loader):
            images, labels = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(images), labels)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        return next(iter(results.values()))

    def model_inference(self, input: Tensor) -> Tensor:
        return self.model(input)

    def parse_batch_test(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Images and labels on the trainer's device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)

    # TensorBoard

    def init_writer(self, log_dir: str) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            print(f"Initialize tensorboard (log_dir={log_dir})")
            self._writer = SummaryWriter(log_dir=log_dir)

    def close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def write_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        """Log a number to TensorBoard; does nothing outside training."""
        if self._writer is not None:
            self._writer.add_scalar(tag, scalar_value, global_step)
