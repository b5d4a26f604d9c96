"""The checkpoint files of a run: a folder for each registered model, in it a file for each epoch that is kept."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from typing import Any

from dho_prompt.engine.checkpoint import BEST, UnreadableCheckpoint, checkpoint_name, load_checkpoint
from dho_prompt.files import atomic_write

_NUMBERED = re.compile(r"model\.pth\.tar-(\d+)")
_TORN = re.compile(r"\.(model.*|checkpoint)\..*\.tmp")  # what atomic_write leaves when the process is killed


class Checkpoints:
    """Finds, reads and deletes them.

    Args:
        directory: output folder of a run; it may be missing.
        models: names of the registered models, which are those of the folders.
    """

    def __init__(self, directory: str, models: Sequence[str]) -> None:
        self.directory = directory
        self.folders = {name: os.path.join(directory, name) for name in models}

    def paths(self, file_name: str) -> dict[str, str]:
        """A file's path in every model's folder, by name of the model."""
        return {name: os.path.join(folder, file_name) for name, folder in self.folders.items()}

    def common(self) -> list[str]:
        """Names of the files that every model has: numbered ones, newest first, then the best one."""
        listings = [set(_listing(folder)) for folder in self.folders.values()]
        everywhere = set.intersection(*listings) if listings else set()
        numbered = [name for name in everywhere if _NUMBERED.fullmatch(name)]
        newest_first = sorted(numbered, key=_epoch_of, reverse=True)
        return newest_first + ([BEST] if BEST in everywhere else [])

    def read(self, file_name: str) -> dict[str, dict[str, Any]]:
        """Every model's checkpoint of that name.

        Raises:
            UnreadableCheckpoint: one is damaged or no checkpoint, or they are of different epochs.
        """
        paths = self.paths(file_name)
        checkpoints = {name: load_checkpoint(path) for name, path in paths.items()}
        for name, checkpoint in checkpoints.items():
            if not isinstance(checkpoint, dict) or not {"state_dict", "epoch"} <= checkpoint.keys():
                raise UnreadableCheckpoint(f"{paths[name]} has no 'state_dict' and 'epoch'")
        epochs = {checkpoint["epoch"] for checkpoint in checkpoints.values()}
        if len(epochs) > 1:
            raise UnreadableCheckpoint(f"{file_name} of {', '.join(paths)} are of different epochs {sorted(epochs)}")
        return checkpoints

    def read_weights(self, epoch: int | None) -> dict[str, tuple[str, dict[str, Any]]]:
        """Path and content of the checkpoint after so many epochs, or of the best one, by name of the model.

        Raises:
            FileNotFoundError: a model has no such file; the message lists the checkpoints there are.
            ValueError: a file cannot be read safely.
        """
        paths = self.paths(BEST if epoch is None else checkpoint_name(epoch))
        for path in paths.values():
            if not os.path.isfile(path):
                raise FileNotFoundError(f"there is no {path}; {_what_there_is(os.path.dirname(path))}")
        return {name: (path, load_checkpoint(path, weights=True)) for name, path in paths.items()}

    def resume_only(self, kept_every: int) -> set[int]:
        """Epochs whose files a killed run left behind for resuming only.

        Args:
            kept_every: TRAIN.CHECKPOINT_FREQ; the files of its multiples are there to stay.
        """
        found = set()
        for path in self._matching(_NUMBERED):
            epoch = _epoch_of(path)
            if kept_every > 0 and epoch % kept_every == 0:
                continue
            try:
                shared = load_checkpoint(path).get("trainer") or {}
            except UnreadableCheckpoint:
                continue  # its epoch will be trained and written again
            if shared.get("resume_only"):
                found.add(epoch)
        return found

    def delete(self, epoch: int) -> None:
        """Delete every model's file of an epoch."""
        for path in self.paths(checkpoint_name(epoch)).values():
            if os.path.exists(path):
                os.remove(path)

    def delete_torn(self) -> None:
        """Delete half-written temporary files of a run that was killed while it saved."""
        for path in self._matching(_TORN):
            os.remove(path)

    def copy_best_to(self, directory: str) -> None:
        """Copy the best checkpoints to another run's folder, unless it has one."""
        targets = Checkpoints(directory, list(self.folders)).paths(BEST)
        for name, source in self.paths(BEST).items():
            if os.path.isfile(source) and not os.path.exists(targets[name]):
                with open(source, "rb") as best:
                    atomic_write(targets[name], lambda file, best=best: shutil.copyfileobj(best, file))

    def _matching(self, pattern: re.Pattern) -> list[str]:
        return [
            os.path.join(folder, name)
            for folder in self.folders.values()
            for name in _listing(folder)
            if pattern.fullmatch(name)
        ]


def _listing(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


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
