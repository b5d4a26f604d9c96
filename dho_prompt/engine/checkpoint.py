"""Checkpoint files in Dassl's layout, written atomically and read without running pickled code."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dho_prompt.engine.foreign import read_weights
from dho_prompt.files import atomic_write
from dho_prompt.files.checksums import records_match

POINTER = "checkpoint"  # a text file beside the checkpoints: the name of the last one written
BEST = "model-best.pth.tar"


class UnreadableCheckpoint(ValueError):
    """The file is there but holds no checkpoint that can be read safely."""


def checkpoint_name(epoch: int) -> str:
    """File name of the checkpoint after ``epoch`` epochs (counted from 1)."""
    return f"model.pth.tar-{epoch}"


def strip_module(state_dict: dict[str, Any]) -> dict[str, Any]:
    """The same entries without the ``module.`` that DataParallel puts before each name."""
    return {key.removeprefix("module."): value for key, value in state_dict.items()}


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside DataParallel or DistributedDataParallel, else the module itself."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    return model.module if isinstance(model, wrappers) else model


def save_checkpoint(
    state: dict[str, Any], save_dir: str, is_best: bool = False, model_name: str = "", verbose: bool = True
) -> str:
    """Write ``<save_dir>/model.pth.tar-<epoch>`` and then point ``<save_dir>/checkpoint`` to it.

    Args:
        state: has at least ``state_dict`` and ``epoch`` (from 1); plain values and tensors only. DataParallel's prefix
            is dropped from the names.
        save_dir: made when missing.
        is_best: also write ``model-best.pth.tar``.
        model_name: another file name.
        verbose: print where it went.

    Returns:
        The path written.

    Raises:
        TypeError: ``state`` holds something that could not be read back safely; the message says where.
        OSError: the disk is full or not writable; older checkpoints are untouched.
    """
    state = {**state, "state_dict": strip_module(state["state_dict"])}
    _require_plain(state, "checkpoint")
    path = os.path.join(save_dir, model_name or checkpoint_name(state["epoch"]))
    atomic_write(path, lambda file: torch.save(state, file))
    if verbose:
        print(f"Checkpoint saved to {path}")
    atomic_write(os.path.join(save_dir, POINTER), lambda file: file.write(f"{os.path.basename(path)}\n".encode()))
    if is_best:
        best = os.path.join(save_dir, BEST)
        atomic_write(best, lambda file: torch.save(state, file))
        if verbose:
            print(f'Best checkpoint saved to "{best}"')
    return path


def load_checkpoint(fpath: str, weights: bool = False) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; no code inside the file is run, and its content must match its checksums.

    Args:
        fpath: the file.
        weights: only ``state_dict`` and ``epoch`` are needed: of a file that also pickles live objects, as Dassl's
            do after a warm-up, these are then read and the rest is left out.

    Raises:
        ValueError: ``fpath`` is None, or (:class:`UnreadableCheckpoint`) the file is damaged or pickles objects.
        FileNotFoundError: there is no such file.
    """
    if fpath is None:
        raise ValueError("load_checkpoint needs a path, not None")
    if not os.path.isfile(fpath):
        raise FileNotFoundError(f"there is no checkpoint {fpath}")
    try:
        checked = records_match(fpath)
        # always the CPU: the device it was saved from may be absent, and loading copies into place anyway
        content = torch.load(fpath, map_location="cpu", weights_only=True)
        if not checked:
            print(f"Note: {fpath} has no checksums, so damage in it would not be noticed")
        return content
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        if weights:
            return read_weights(fpath)
        raise UnreadableCheckpoint(
            f"{fpath} is damaged, or holds Python objects other than tensors and plain values (Dassl's own checkpoints "
            f"do after a warm-up); such files can run code when opened, so they are refused: {_first_line(error)}"
        ) from error
    except Exception as error:  # torch.load reports damage as RuntimeError, EOFError, KeyError, ...
        raise UnreadableCheckpoint(
            f"{fpath} is damaged or no checkpoint ({type(error).__name__}: {_first_line(error)}); "
            "delete it and use another epoch's"
        ) from error


def restore(
    checkpoint: dict[str, Any], path: str, model: nn.Module, optimizer: Optimizer | None, scheduler: Any | None
) -> None:
    """Load a checkpoint's parts into a model (strictly), an optimiser and a schedule, each on its own device.

    Raises:
        ValueError: the weights are of another model or another setting.
        UnreadableCheckpoint: the state of the optimiser or of the schedule is malformed.
    """
    load_strictly(unwrap(model), checkpoint, path)
    print("Loaded model weights")
    for name, part in (("optimizer", optimizer), ("scheduler", scheduler)):
        if part is None:
            continue
        if checkpoint.get(name) is None:
            print(f"The checkpoint has no {name} state; the {name} starts anew")
        else:
            try:
                part.load_state_dict(checkpoint[name])
            except Exception as error:  # a malformed state can raise nearly anything
                raise UnreadableCheckpoint(f"{path}: its {name} state cannot be restored ({error})") from error
            print(f"Loaded {name}")


def load_strictly(model: nn.Module, checkpoint: dict[str, Any], path: str) -> None:
    """Load a checkpoint's ``state_dict`` (or a bare one) into a model; every entry must find its place.

    Raises:
        ValueError: it does not fit; the message names the file, the differences and what to check.
    """
    try:
        model.load_state_dict(strip_module(checkpoint.get("state_dict", checkpoint)))
    except RuntimeError as error:
        differences = "; ".join(line.strip() for line in str(error).splitlines()[1:4])
        raise ValueError(
            f"{path} does not fit {type(model).__name__}: {differences}. It is of another method, other classes or "
            "another setting such as N_CTX; name the run that it belongs to, or the settings of that run"
        ) from error


def load_pretrained_weights(model: nn.Module, weight_path: str) -> None:
    """Copy the entries of a checkpoint (or of a bare state dict) that fit the model, and say which did not.

    Args:
        model: changed in place.
        weight_path: the file; a ``module.`` before the names is ignored.

    Raises:
        ValueError: no entry fits, or the file cannot be read.
    """
    checkpoint = load_checkpoint(weight_path, weights=True)
    given = strip_module(checkpoint.get("state_dict", checkpoint))
    model = unwrap(model)
    own = model.state_dict()
    fitting, skipped = {}, []
    for name, value in given.items():
        if name not in own:
            skipped.append(f"{name} (the model has none)")
        elif own[name].shape != value.shape:
            skipped.append(f"{name} (shape {tuple(value.shape)}, the model's is {tuple(own[name].shape)})")
        else:
            fitting[name] = value
    if not fitting:
        raise ValueError(
            f"nothing in {weight_path} fits the model: the file has {', '.join(list(given)[:5])} ..., "
            f"the model {', '.join(list(own)[:5])} ...; is it another model's?"
        )
    model.load_state_dict({**own, **fitting})
    print(
        f"Successfully loaded pretrained weights from {weight_path}: {len(fitting)} of the model's {len(own)} tensors"
    )
    if skipped:
        print(f"Skipped from the file: {'; '.join(skipped)}")
    untouched = [name for name in own if name not in fitting]
    if untouched:
        print(f"Not in the file, left as they were: {', '.join(untouched)}")


def _require_plain(value: Any, where: str) -> None:
    """A checkpoint that weights_only loading refuses would be found out at the resume, when it is too late."""
    if value is None or isinstance(value, Tensor) or type(value) in (bool, int, float, str):
        return
    if type(value) in (dict, OrderedDict):
        for key, entry in value.items():
            _require_plain(key, f"a key of {where}")
            _require_plain(entry, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, entry in enumerate(value):
            _require_plain(entry, f"{where}[{index}]")
    else:
        raise TypeError(
            f"{where} is a {type(value).__module__}.{type(value).__name__}; checkpoints take tensors, numbers, "
            "strings, None and lists, tuples or dicts of them (turn NumPy values into Python's or torch's)"
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no details"])[0]
