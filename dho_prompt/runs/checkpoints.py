"""The checkpoint files of a run: a folder for each registered model, in it a file for each epoch that is kept."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dho_prompt.engine.checkpoint import BEST, UnreadableCheckpoint, checkpoint_name, load_checkpoint
from dho_prompt.engine.rng import why_no_rng_state
from dho_prompt.files import atomic_write
from dho_prompt.runs.finite import not_finite

_NUMBERED = re.compile(r"model\.pth\.tar-(\d+)")


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

    def refuse_to_go_on(self) -> None:
        """Say why a run cannot go on from this folder, which has no file that every model has.

        Raises:
            FileNotFoundError, NotADirectoryError: there is no such folder, or it is a file.
            ValueError: it is of another trainer, or empty.
        """
        if not os.path.exists(self.directory):
            raise FileNotFoundError(f"there is no folder {self.directory} to go on from (--resume)")
        if not os.path.isdir(self.directory):
            raise NotADirectoryError(f"{self.directory} is a file; --resume takes the output folder of a run")
        wanted = ", ".join(self.folders) or "nothing, for it trains nothing"
        raise ValueError(
            f"{self.directory} has no checkpoint to go on from (--resume): this trainer needs those of {wanted}, and "
            f"the folder holds {', '.join(sorted(os.listdir(self.directory))[:8]) or 'nothing'}"
        )

    def read(self, file_name: str) -> dict[str, dict[str, Any]]:
        """Every model's checkpoint of that name.

        Raises:
            UnreadableCheckpoint: one is damaged or no checkpoint, or they are of different epochs.
        """
        paths = self.paths(file_name)
        checkpoints = {name: load_checkpoint(path) for name, path in paths.items()}
        for name, checkpoint in checkpoints.items():
            problem = _malformed(checkpoint)
            if problem:
                raise UnreadableCheckpoint(f"{paths[name]} {problem}")
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
        read = {name: (path, load_checkpoint(path, weights=True)) for name, path in paths.items()}
        for path, checkpoint in read.values():
            problem = _malformed({**checkpoint, "trainer": None} if isinstance(checkpoint, dict) else checkpoint)
            if problem:
                raise UnreadableCheckpoint(f"{path} {problem}; use another epoch's")
        return read

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


def _malformed(checkpoint: Any) -> str:
    """What is wrong with the fields of a checkpoint, in words; "" if nothing is."""
    if not isinstance(checkpoint, dict) or not {"state_dict", "epoch"} <= checkpoint.keys():
        return "has no 'state_dict' and 'epoch'"
    weights, epoch, trainer = checkpoint["state_dict"], checkpoint["epoch"], checkpoint.get("trainer")
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        return f"has a 'state_dict' that is no mapping of names to tensors but a {type(weights).__name__}"
    if type(epoch) is not int or epoch < 0:
        return f"has {epoch!r} for the number of its epoch"
    masks = ("attn_mask",)  # infinite on purpose
    bad = not_finite((name, value) for name, value in weights.items() if not name.endswith(masks))
    if bad:
        return f"holds {len(bad)} weights that are infinite or not numbers ({', '.join(bad[:3])}): the run has diverged"
    if trainer is None:
        return ""
    if not isinstance(trainer, dict) or not isinstance(trainer.get("extra"), dict) or "best_result" not in trainer:
        return "has a malformed 'trainer' entry"
    broken = why_no_rng_state(trainer.get("rng"))
    return f"has a random state that cannot be restored ({broken})" if broken else ""


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
