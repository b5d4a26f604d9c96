"""The training loop with Dassl's method names, attributes, log lines and TensorBoard tags."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from tqdm import tqdm

from .checkpoint import BEST
from .data import DataManager
from .evaluation import build_evaluator
from .meters import AverageMeter, MetricMeter
from .registry import Registry, unknown_name
from .utils import tolist_if_not

TRAINER_REGISTRY = Registry("TRAINER")


def build_trainer(cfg: Any) -> TrainerBase:
    """Build the trainer that ``TRAINER.NAME`` names.

    Raises:
        ValueError: no trainer goes by that name; the message names the nearest.
    """
    return TRAINER_REGISTRY.build(cfg.TRAINER.NAME, cfg, verbose=cfg.VERBOSE)


class TrainerBase:
    """Registered models with their optimisers and schedules, and the order of a run.

    Writing checkpoints and resuming from them is :class:`dho_prompt.engine.resume.Resumable`'s part.
    """

    def __init__(self) -> None:
        self._models: dict[str, nn.Module] = {}
        self._optims: dict[str, Optimizer | None] = {}
        self._scheds: dict[str, Any | None] = {}
        self._writer: Any | None = None

    def register_model(
        self,
        name: str = "model",
        model: nn.Module | None = None,
        optim: Optimizer | None = None,
        sched: Any | None = None,
    ) -> None:
        """Make a model known for saving, for switching between training and evaluation, and for its learning rate.

        Args:
            name: the folder of its checkpoints. The first name registered is the one whose rate is logged.
            model: the module.
            optim: its optimiser, if it is trained.
            sched: its schedule.

        Raises:
            AttributeError: ``super().__init__()`` has not run yet.
            ValueError: the name is taken.
        """
        if "_models" not in self.__dict__:
            raise AttributeError("call super().__init__() before register_model()")
        if name in self._models:
            raise ValueError(f"a model named '{name}' is registered already; give each its own name")
        self._models[name], self._optims[name], self._scheds[name] = model, optim, sched

    def get_model_names(self, names: str | Sequence[str] | None = None) -> list[str]:
        """All registered names, or ``names`` as a list.

        Raises:
            ValueError: a name is not registered.
        """
        if names is None:
            return list(self._models)
        names = tolist_if_not(names)
        for name in names:
            if name not in self._models:
                raise ValueError(unknown_name("registered model", name, self._models))
        return names

    def set_model_mode(self, mode: str = "train", names: str | Sequence[str] | None = None) -> None:
        """Switch registered models to ``train`` or to ``test``/``eval``."""
        if mode not in ("train", "test", "eval"):
            raise ValueError(unknown_name("mode", mode, ["train", "test", "eval"]))
        for name in self.get_model_names(names):
            self._models[name].train(mode == "train")

    def update_lr(self, names: str | Sequence[str] | None = None) -> None:
        """Step the schedules; a trainer calls this after the last batch of an epoch."""
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

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

    def train(self, start_epoch: int, max_epoch: int) -> None:
        """Run the epochs ``start_epoch`` .. ``max_epoch - 1``; ``before_train`` may move ``self.start_epoch``."""
        self.start_epoch, self.max_epoch = start_epoch, max_epoch
        self.before_train()
        for epoch in range(self.start_epoch, self.max_epoch):
            self.epoch = epoch
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def before_train(self) -> None:
        pass

    def after_train(self) -> None:
        pass

    def before_epoch(self) -> None:
        pass

    def after_epoch(self) -> None:
        pass

    def run_epoch(self) -> None:
        raise NotImplementedError

    def test(self) -> float:
        raise NotImplementedError

    def parse_batch_train(self, batch: Any) -> Any:
        raise NotImplementedError

    def parse_batch_test(self, batch: Any) -> Any:
        raise NotImplementedError

    def forward_backward(self, batch: Any) -> Any:
        raise NotImplementedError

    def model_inference(self, input: Tensor) -> Tensor:
        raise NotImplementedError

    def model_zero_grad(self, names: str | Sequence[str] | None = None) -> None:
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].zero_grad()

    def detect_anomaly(self, loss: Tensor) -> None:
        if not torch.isfinite(loss).all():
            raise FloatingPointError("the loss is not finite")

    def model_backward(self, loss: Tensor) -> None:
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names: str | Sequence[str] | None = None) -> None:
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].step()

    def model_backward_and_update(self, loss: Tensor, names: str | Sequence[str] | None = None) -> None:
        """Zero the gradients, back-propagate ``loss`` (it must be finite) and step the optimisers."""
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)


class SimpleTrainer(TrainerBase):
    """A classifier's run: data, model, epochs, validation, final test.

    Subclasses write ``build_model`` (which registers the models) and ``forward_backward`` (which returns a dict of
    numbers to log, and calls ``update_lr`` on the last batch).

    Args:
        cfg: the run's config.
    """

    def __init__(self, cfg: Any) -> None:
        super().__init__()
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
        for name in ("train_loader_x", "train_loader_u", "val_loader", "test_loader"):
            setattr(self, name, getattr(self.dm, name))
        self.num_classes = self.dm.num_classes
        self.num_source_domains = self.dm.num_source_domains
        self.lab2cname = self.dm.lab2cname

    def build_model(self) -> None:
        raise NotImplementedError(
            f"{type(self).__name__} must build and register its models in build_model(); "
            "the embedded engine has no backbones of its own"
        )

    def train(self) -> None:
        super().train(self.start_epoch, self.max_epoch)

    def before_train(self) -> None:
        self.start_epoch = self.resume_model_if_exist(self.cfg.RESUME or self.cfg.OUTPUT_DIR)
        writer_dir = os.path.join(self.output_dir, "tensorboard")
        os.makedirs(writer_dir, exist_ok=True)
        self.init_writer(writer_dir)
        self.time_start = time.time()

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

    def after_epoch(self) -> None:
        if self.cfg.TEST.FINAL_MODEL == "best_val" and not self.cfg.TEST.NO_TEST:
            result = self.test(split="val")
            if result > self.best_result:
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name=BEST)
        done, freq = self.epoch + 1, self.cfg.TRAIN.CHECKPOINT_FREQ
        if done == self.max_epoch or (freq > 0 and done % freq == 0):
            self.save_model(self.epoch, self.output_dir)

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
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def get_current_lr(self, names: str | Sequence[str] | None = None) -> float:
        """The rate of the first parameter group of the first registered (or named) model."""
        return self._optims[self.get_model_names(names)[0]].param_groups[0]["lr"]

    def _run_batches(self, batches: Iterable[tuple], num_batches: int) -> None:
        """An epoch: one ``forward_backward(*batch)`` for each of ``num_batches`` batches, timed and logged."""
        self.set_model_mode("train")
        self.num_batches = num_batches
        losses, batch_time, data_time = MetricMeter(), AverageMeter(), AverageMeter()
        end = time.time()
        for self.batch_idx, batch in enumerate(batches):
            data_time.update(time.time() - end)
            summary = self.forward_backward(*batch)
            batch_time.update(time.time() - end)
            losses.update(summary)
            few_batches = num_batches < self.cfg.TRAIN.PRINT_FREQ
            if few_batches or (self.batch_idx + 1) % self.cfg.TRAIN.PRINT_FREQ == 0:
                print(self._progress(losses, batch_time, data_time))
            step = self.epoch * num_batches + self.batch_idx
            for name, meter in losses.meters.items():
                self.write_scalar(f"train/{name}", meter.avg, step)
            self.write_scalar("train/lr", self.get_current_lr(), step)
            end = time.time()

    def _progress(self, losses: MetricMeter, batch_time: AverageMeter, data_time: AverageMeter) -> str:
        batches_left = (self.max_epoch - self.epoch) * self.num_batches - self.batch_idx - 1
        eta = datetime.timedelta(seconds=int(batch_time.avg * batches_left))
        return (
            f"epoch [{self.epoch + 1}/{self.max_epoch}] batch [{self.batch_idx + 1}/{self.num_batches}] "
            f"time {batch_time.val:.3f} ({batch_time.avg:.3f}) data {data_time.val:.3f} ({data_time.avg:.3f}) "
            f"{losses} lr {self.get_current_lr():.4e} eta {eta}"
        )


class TrainerX(SimpleTrainer):
    """Trains on labelled batches: ``forward_backward(batch)``."""

    def run_epoch(self) -> None:
        self._run_batches(((batch,) for batch in self.train_loader_x), len(self.train_loader_x))

    def parse_batch_train(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Images, labels and domains on the trainer's device."""
        return batch["img"].to(self.device), batch["label"].to(self.device), batch["domain"].to(self.device)


class TrainerXU(SimpleTrainer):
    """Trains on pairs of a labelled and an unlabelled batch: ``forward_backward(batch_x, batch_u)``.

    ``TRAIN.COUNT_ITER`` says whose batches make an epoch; the other loader starts over when it runs out.
    """

    def run_epoch(self) -> None:
        if self.train_loader_u is None:
            raise ValueError(
                f"{type(self).__name__} needs unlabelled images, but the data set "
                f"{self.cfg.DATASET.NAME} has no train_u"
            )
        num_x, num_u = len(self.train_loader_x), len(self.train_loader_u)
        lengths = {"train_x": num_x, "train_u": num_u, "smaller_one": min(num_x, num_u)}
        count_iter = self.cfg.TRAIN.COUNT_ITER
        if count_iter not in lengths:
            raise ValueError(unknown_name("TRAIN.COUNT_ITER", count_iter, lengths))
        pairs = _pairs(self.train_loader_x, self.train_loader_u, lengths[count_iter])
        self._run_batches(pairs, lengths[count_iter])

    def parse_batch_train(self, batch_x: dict[str, Any], batch_u: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Labelled images, their labels and unlabelled images on the trainer's device."""
        return batch_x["img"].to(self.device), batch_x["label"].to(self.device), batch_u["img"].to(self.device)


def _pairs(loader_x: DataLoader, loader_u: DataLoader, count: int) -> Iterator[tuple[Any, Any]]:
    """``count`` pairs of batches; a loader that runs out starts a fresh pass in a fresh order."""
    # both passes start before the first batch, as in Dassl, so that a seed draws the same batches on both engines
    iterator_x, iterator_u = iter(loader_x), iter(loader_u)
    for _ in range(count):
        batch_x, iterator_x = _next(iterator_x, loader_x)
        batch_u, iterator_u = _next(iterator_u, loader_u)
        yield batch_x, batch_u


def _next(iterator: Iterator[Any], loader: DataLoader) -> tuple[Any, Iterator[Any]]:
    try:
        return next(iterator), iterator
    except StopIteration:
        iterator = iter(loader)
        return next(iterator), iterator
