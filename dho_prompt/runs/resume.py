"""Runs that can be killed at any moment and go on as if nothing had happened."""

from __future__ import annotations

import os
from typing import Any

from dho_prompt.engine.checkpoint import UnreadableCheckpoint, load_strictly, restore, save_checkpoint, unwrap
from dho_prompt.engine.rng import rng_state, set_rng_state
from dho_prompt.runs.checkpoints import Checkpoints
from dho_prompt.runs.finite import refuse_weights


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

    # What a trainer may add

    def extra_state(self) -> dict[str, Any]:
        """More to restore, such as a GradScaler's state; tensors and plain values only."""
        return {}

    def large_state(self) -> dict[str, Any]:
        """What of the extra state is too large for every file; it is written with the first registered model only."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`extra_state` and :meth:`large_state` gave."""

    def fit_checkpoint(self, name: str, checkpoint: dict[str, Any], path: str) -> dict[str, Any] | None:
        """What :meth:`load_model` gives to the model ``name`` of a checkpoint; None leaves the model as it is.

        Raises:
            ValueError: it does not belong to this trainer's data.
        """
        return checkpoint

    # Saving

    def save_model(
        self, epoch: int, directory: str, is_best: bool = False, val_result: float | None = None, model_name: str = ""
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
        self, epoch: int, directory: str, is_best=False, val_result=None, model_name="", resume_only=False
    ) -> None:
        refuse_weights(self._models, f"after epoch {epoch + 1}")
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
            self._checkpoints(self.output_dir).delete(epoch)
            self._resume_only.discard(epoch)

    def _is_output(self, directory: str) -> bool:
        return os.path.realpath(directory) == os.path.realpath(self.output_dir)

    def _checkpoints(self, directory: str) -> Checkpoints:
        return Checkpoints(directory, self.get_model_names())

    # Resuming

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
            ValueError: they are of another method or setting, or RESUME names a folder without any.
        """
        found, problems = self._checkpoints(directory), []
        candidates = found.common()
        if not candidates:
            if directory == self.cfg.RESUME:
                found.refuse_to_go_on()
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        for file_name in candidates:
            try:
                checkpoints = found.read(file_name)
                self._restore_all(directory, file_name, checkpoints)
            except UnreadableCheckpoint as error:
                problems.append(str(error))
                print(f"Passing over {file_name}: {error}")
                continue
            epoch = next(iter(checkpoints.values()))["epoch"]
            if self._is_output(directory):
                self._resume_only = found.resume_only(self.cfg.TRAIN.CHECKPOINT_FREQ)
                self._delete_superseded(epoch)
            else:  # no later epoch may beat the best one so far, and the end deploys it
                found.copy_best_to(self.output_dir)
            return epoch
        raise UnreadableCheckpoint(
            f"no checkpoint in {directory} can be resumed from; delete the models' folders to train from scratch. "
            + " | ".join(problems)
        )

    def _restore_all(self, directory: str, file_name: str, checkpoints: dict[str, dict[str, Any]]) -> None:
        for name, checkpoint in checkpoints.items():
            path = os.path.join(directory, name, file_name)
            print(f'Loading checkpoint from "{path}"')
            restore(checkpoint, path, self._models[name], self._optims[name], self._scheds[name])
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

    # Loading a finished model

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
        read = self._checkpoints(directory).read_weights(epoch)
        fitted = {name: (path, self.fit_checkpoint(name, found, path)) for name, (path, found) in read.items()}
        return {name: (path, checkpoint) for name, (path, checkpoint) in fitted.items() if checkpoint is not None}
