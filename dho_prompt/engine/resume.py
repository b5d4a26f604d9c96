"""Runs that can be killed at any moment and go on as if nothing had happened."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any

import torch
from torch import Tensor

from dho_prompt.files import atomic_write

from .embedded.checkpoint import (
    BEST,
    UnreadableCheckpoint,
    checkpoint_name,
    load_checkpoint,
    load_strictly,
    restore,
    save_checkpoint,
    unwrap,
)
from .rng import rng_state, set_rng_state

_NUMBERED = re.compile(r"model\.pth\.tar-(\d+)")
_TORN = re.compile(r"\.(model.*|checkpoint)\..*\.tmp")  # what atomic_write leaves when the process is killed


class Resumable:
    """A mixin that gives a Dassl-style trainer exact resuming; put it before the trainer's class.

    After every epoch each registered model's state goes to ``<output>/<name>/model.pth.tar-<epoch>``. Files that only
    serve resuming are deleted once all models have a newer one, so a finished run leaves the files that Dassl leaves:
    the last epoch's, those of ``TRAIN.CHECKPOINT_FREQ``, and ``model-best.pth.tar`` with validation.

    A file holds Dassl's keys (``state_dict``, ``epoch``, ``optimizer``, ``scheduler``, ``val_result``) and
    ``trainer``: the random generators (``rng``), ``best_result``, the trainer's own ``extra`` state (its large part in
    the first registered model's file alone), and ``resume_only`` (whether the file may be deleted later). All are read
    with ``weights_only=True``.

    A trainer that overrides ``after_epoch`` or ``before_train`` calls ``super()``'s last in the former and first in
    the latter, and draws no random numbers after either call.

    Example:
        >>> class MyTrainer(Resumable, HostTrainer): ...
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._saved_epoch = 0  # last epoch (from 1) whose numbered files are complete in the output folder
        self._resume_only: set[int] = set()  # epochs (from 1) whose files there may go once a newer one is complete
        self._rng: dict[str, Any] | None = None  # to be restored when everything else is
        super().__init__(*args, **kwargs)

    # what a trainer may add

    def extra_state(self) -> dict[str, Any]:
        """More to restore, such as a GradScaler's state; tensors and plain values only."""
        return {}

    def large_state(self) -> dict[str, Any]:
        """What of the extra state is too large for every file; it is written with the first registered model only."""
        return {}

    def fit_checkpoint(self, name: str, checkpoint: dict[str, Any], path: str) -> dict[str, Any] | None:
        """What :meth:`load_model` gives to the model ``name`` of a checkpoint; None leaves the model as it is.

        Raises:
            ValueError: it does not belong to this trainer's data.
        """
        return checkpoint

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`extra_state` and :meth:`large_state` gave."""

    # saving

    def save_model(
        self,
        epoch: int,
        directory: str,
        is_best: bool = False,
        val_result: float | None = None,
        model_name: str = "",
    ) -> None:
        """Write a checkpoint of every registered model.

        Args:
            epoch: index of the epoch just done, from 0; the file's name and content count from 1.
            directory: each model's folder lies below it.
            is_best: also write ``model-best.pth.tar``.
            val_result: accuracy in percent, if known.
            model_name: another file name.

        Raises:
            OSError: the disk is full or not writable; older checkpoints are untouched.
        """
        self._write(epoch, directory, is_best=is_best, val_result=val_result, model_name=model_name)

    def _write(
        self,
        epoch: int,
        directory: str,
        is_best: bool = False,
        val_result: float | None = None,
        model_name: str = "",
        resume_only: bool = False,
    ) -> None:
        best = getattr(self, "best_result", None)
        shared = {
            "rng": rng_state(),
            "best_result": None if best is None else float(best),
            "extra": self.extra_state(),
            "resume_only": resume_only,
        }
        only_first = {**shared, "extra": {**shared["extra"], **self.large_state()}}
        for index, name in enumerate(self.get_model_names()):
            optim, sched = self._optims[name], self._scheds[name]
            state = {
                "state_dict": unwrap(self._models[name]).state_dict(),
                "epoch": epoch + 1,
                "optimizer": None if optim is None else optim.state_dict(),
                "scheduler": None if sched is None else sched.state_dict(),
                "val_result": None if val_result is None else float(val_result),
                "trainer": shared if index else only_first,
            }
            folder = os.path.join(directory, name)
            save_checkpoint(state, folder, is_best=is_best, model_name=model_name, verbose=not resume_only)
        if not model_name and self._is_output(directory):
            self._saved_epoch = epoch + 1
            (self._resume_only.add if resume_only else self._resume_only.discard)(epoch + 1)

    def after_epoch(self) -> None:
        super().after_epoch()
        if self._saved_epoch != self.epoch + 1:
            self._write(self.epoch, self.output_dir, resume_only=True)
        self._delete_superseded(self._saved_epoch)

    def _delete_superseded(self, newest: int) -> None:
        """Delete what only served resuming before epoch ``newest``, of which every model has a complete file."""
        for epoch in [epoch for epoch in self._resume_only if epoch < newest]:
            for name in self.get_model_names():
                path = os.path.join(self.output_dir, name, checkpoint_name(epoch))
                if os.path.exists(path):
                    os.remove(path)
            self._resume_only.discard(epoch)

    def _is_output(self, directory: str) -> bool:
        return os.path.realpath(directory) == os.path.realpath(self.output_dir)

    # resuming

    def before_train(self) -> None:
        super().before_train()
        if self.start_epoch > 0:
            self.epoch = self.start_epoch - 1  # a finished run logs its test at its last epoch
        if self._rng is not None:
            set_rng_state(self._rng)
            self._rng = None
        if self.start_epoch > self.max_epoch:
            print(f"{self.start_epoch} epochs are done, OPTIM.MAX_EPOCH is {self.max_epoch}: nothing is left to train")

    def resume_model_if_exist(self, directory: str) -> int:
        """Restore the newest epoch that every registered model has, complete and readable.

        Args:
            directory: the folder of an earlier run, or the run's own.

        Returns:
            The number of epochs done, 0 when there is no checkpoint.

        Raises:
            UnreadableCheckpoint: there are checkpoints but none can be read.
        """
        candidates = self._candidates(directory)
        if not candidates:
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        problems = []
        for file_name in candidates:
            try:
                checkpoints = self._read_all(directory, file_name)
            except UnreadableCheckpoint as error:
                problems.append(str(error))
                print(f"Passing over {file_name}: {error}")
                continue
            self._restore_all(directory, file_name, checkpoints)
            epoch = next(iter(checkpoints.values()))["epoch"]
            if self._is_output(directory):
                self._delete_torn_files()
                self._resume_only = self._find_resume_only()
                self._delete_superseded(epoch)
            else:
                self._adopt_best(directory)
            return epoch
        raise UnreadableCheckpoint(
            f"no checkpoint in {directory} can be resumed from; delete the models' folders to train from scratch. "
            + " | ".join(problems)
        )

    def _candidates(self, directory: str) -> list[str]:
        """Names of the files that every model has: numbered ones, newest first, then the best one."""
        folders = [os.path.join(directory, name) for name in self.get_model_names()]
        listings = [set(os.listdir(folder)) if os.path.isdir(folder) else set() for folder in folders]
        everywhere = set.intersection(*listings) if listings else set()
        numbered = [name for name in everywhere if _NUMBERED.fullmatch(name)]
        newest_first = sorted(numbered, key=_epoch_of, reverse=True)
        return newest_first + ([BEST] if BEST in everywhere else [])

    def _read_all(self, directory: str, file_name: str) -> dict[str, dict[str, Any]]:
        paths = {name: os.path.join(directory, name, file_name) for name in self.get_model_names()}
        checkpoints = {name: load_checkpoint(path) for name, path in paths.items()}
        for name, checkpoint in checkpoints.items():
            if not isinstance(checkpoint, dict) or not {"state_dict", "epoch"} <= checkpoint.keys():
                raise UnreadableCheckpoint(f"{paths[name]} has no 'state_dict' and 'epoch'")
        epochs = {checkpoint["epoch"] for checkpoint in checkpoints.values()}
        if len(epochs) > 1:
            raise UnreadableCheckpoint(f"{file_name} of {', '.join(paths)} are of different epochs {sorted(epochs)}")
        return checkpoints

    def _restore_all(self, directory: str, file_name: str, checkpoints: dict[str, dict[str, Any]]) -> None:
        for name, checkpoint in checkpoints.items():
            print(f'Loading checkpoint from "{os.path.join(directory, name, file_name)}"')
            restore(checkpoint, self._models[name], self._optims[name], self._scheds[name])
        checkpoint = next(iter(checkpoints.values()))
        print(f"Previous epoch: {checkpoint['epoch']}")
        shared = checkpoint.get("trainer")
        if shared is None:
            print("The checkpoint has no random state: the next draws differ from an uninterrupted run's")
            return
        if shared["best_result"] is not None:
            self.best_result = shared["best_result"]
        self.load_extra_state(shared["extra"])
        self._rng = shared["rng"]

    def _find_resume_only(self) -> set[int]:
        """Epochs whose files a killed run left behind in the output folder for resuming only."""
        found = set()
        for path in self._files(_NUMBERED):
            epoch, freq = _epoch_of(path), self.cfg.TRAIN.CHECKPOINT_FREQ
            if freq > 0 and epoch % freq == 0:
                continue
            try:
                shared = load_checkpoint(path).get("trainer") or {}
            except UnreadableCheckpoint:
                continue  # its epoch will be trained and written again
            if shared.get("resume_only"):
                found.add(epoch)
        return found

    def _adopt_best(self, directory: str) -> None:
        """Copy the best models so far from another folder: no later epoch may beat them, and the end deploys them."""
        for name in self.get_model_names():
            source, target = os.path.join(directory, name, BEST), os.path.join(self.output_dir, name, BEST)
            if os.path.isfile(source) and not os.path.exists(target):
                with open(source, "rb") as best:
                    atomic_write(target, lambda file, best=best: shutil.copyfileobj(best, file))

    def _delete_torn_files(self) -> None:
        """Half-written temporary files of a run that was killed while it saved."""
        for path in self._files(_TORN):
            os.remove(path)

    def _files(self, pattern: re.Pattern) -> list[str]:
        folders = [os.path.join(self.output_dir, name) for name in self.get_model_names()]
        return [
            os.path.join(folder, name)
            for folder in folders
            if os.path.isdir(folder)
            for name in os.listdir(folder)
            if pattern.fullmatch(name)
        ]

    # loading a finished model

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load the weights of every registered model, strictly.

        Each checkpoint passes :meth:`fit_checkpoint` first. What :meth:`extra_state` gave when the file was written
        is not applied.

        Args:
            directory: output folder of a run; empty: nothing is loaded, which is said.
            epoch: the checkpoint after so many epochs; default ``model-best.pth.tar``.

        Raises:
            FileNotFoundError: a model has no such file; the message lists the checkpoints there are.
            ValueError: the file cannot be read safely, or its weights do not fit.
        """
        if not directory:
            print("No model directory is given, so load_model() keeps the weights as they are")
            return
        for name, (path, checkpoint) in self.checked_checkpoints(directory, epoch).items():
            result = checkpoint.get("val_result")
            result = "none" if result is None else f"{result:.1f}"
            print(f"Load {path} to {name} (epoch={checkpoint['epoch']}, val_result={result})")
            load_strictly(unwrap(self._models[name]), checkpoint, path)

    def checked_checkpoints(self, directory: str, epoch: int | None) -> dict[str, tuple[str, dict[str, Any]]]:
        """Path and content of what :meth:`load_model` loads, by name of the model; its errors are those of that."""
        file_name = BEST if epoch is None else checkpoint_name(epoch)
        paths = {name: os.path.join(directory, name, file_name) for name in self.get_model_names()}
        for path in paths.values():
            if not os.path.isfile(path):
                raise FileNotFoundError(f"there is no {path}; {_what_there_is(os.path.dirname(path))}")
        checkpoints = {name: load_checkpoint(path, weights=True) for name, path in paths.items()}
        fitted = {name: self.fit_checkpoint(name, checkpoint, paths[name]) for name, checkpoint in checkpoints.items()}
        return {name: (paths[name], checkpoint) for name, checkpoint in fitted.items() if checkpoint is not None}

    # a loss that is not a number

    def detect_anomaly(self, loss: Tensor) -> None:
        """Stop the run when a loss is infinite or not a number, before it reaches the weights.

        Raises:
            FloatingPointError: says where, the loss, the learning rates and what to try.
        """
        if torch.isfinite(loss).all():
            return
        if self._writer is not None:
            self._writer.flush()
        rates = [
            f"{name} {optim.param_groups[0]['lr']:.4e}" for name, optim in self._optims.items() if optim is not None
        ]
        batch = f"batch {getattr(self, 'batch_idx', 0) + 1} of {getattr(self, 'num_batches', '?')}"
        raise FloatingPointError(
            f"the loss is {loss.detach().float().tolist()} in epoch {self.epoch + 1}, {batch}, at learning rate "
            f"{', '.join(rates) or 'none'}. Lower OPTIM.LR, or train in float32 (the trainer's PREC fp32). "
            "The checkpoint of the last complete epoch is kept; to change the learning rate from the start, "
            "use a new OUTPUT_DIR"
        )


def _epoch_of(path: str) -> int:
    return int(path.rsplit("-", 1)[1])


def _what_there_is(folder: str) -> str:
    if os.path.isdir(folder):
        names = sorted(name for name in os.listdir(folder) if name == BEST or _NUMBERED.fullmatch(name))
        return f"{folder} holds {', '.join(names) or 'no checkpoint'}"
    parent = os.path.dirname(folder)
    if os.path.isdir(parent):
        folders = sorted(entry.name for entry in os.scandir(parent) if entry.is_dir())
        return f"{parent} has no folder of that model, only {', '.join(folders) or 'files'}"
    return f"the folder {parent} does not exist"
