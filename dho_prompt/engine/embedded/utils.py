"""Small helpers with Dassl's names: seeds, files, images, accuracy."""

from __future__ import annotations

import os
import platform
import random
import warnings
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dho_prompt.data.batches.read_image import read_image

__all__ = [
    "check_isfile",
    "collect_env_info",
    "compute_accuracy",
    "count_num_param",
    "listdir_nohidden",
    "mkdir_if_missing",
    "read_image",
    "set_random_seed",
    "tolist_if_not",
]


def set_random_seed(seed: int) -> None:
    """Seed Python, NumPy and torch on every device. 0 is a seed like any other.

    Raises:
        ValueError: the seed is negative or does not fit 32 bits.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in 0 .. 2**32 - 1, not {seed}; leave SEED negative for an unseeded run")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)  # all devices


def collect_env_info() -> str:
    """Versions of Python, torch and the packages a result depends on, one a line, and the GPUs in sight."""
    lines = [f"Python {platform.python_version()} on {platform.platform()}", f"torch {torch.__version__}"]
    for package in ("torchvision", "open_clip_torch", "numpy", "pillow", "dho_prompt"):
        try:
            lines.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    if torch.cuda.is_available():
        lines.append(f"CUDA {torch.version.cuda}")
        lines += [f"GPU {index}: {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count())]
    else:
        lines.append(f"no GPU, {torch.get_num_threads()} CPU threads")
    return "\n".join(lines)


def mkdir_if_missing(dirname: str) -> None:
    os.makedirs(dirname, exist_ok=True)


def listdir_nohidden(path: str, sort: bool = False) -> list[str]:
    """Names in a folder, without those that start with a dot."""
    names = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(names) if sort else names


def check_isfile(path: str) -> bool:
    """Whether ``path`` is a file; warns when it is not."""
    found = os.path.isfile(path)
    if not found:
        warnings.warn(f"there is no file {path}", stacklevel=2)
    return found


def tolist_if_not(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def count_num_param(model: nn.Module | None = None, params: Iterable | None = None) -> int:
    """Number of scalars in a module's parameters, or in given parameters or parameter groups.

    Raises:
        ValueError: neither is given.
    """
    if model is not None:
        return sum(parameter.numel() for parameter in model.parameters())
    if params is None:
        raise ValueError("count_num_param needs a model or params")
    total = 0
    for entry in params:
        entries = entry["params"] if isinstance(entry, dict) else entry
        total += sum(tensor.numel() for tensor in ([entries] if isinstance(entries, Tensor) else entries))
    return total


def compute_accuracy(output: Tensor, target: Tensor, topk: Sequence[int] = (1,)) -> list[Tensor]:
    """Top-k accuracies of a batch in percent.

    Args:
        output: scores ``(batch, classes)``, or a tuple whose first entry they are.
        target: class indices ``(batch,)``.
        topk: the values of k.

    Returns:
        One tensor of shape ``(1,)`` for each k.
    """
    if isinstance(output, (tuple, list)):
        output = output[0]
    ranked = output.topk(max(topk), dim=1).indices
    hits = ranked.eq(target.view(-1, 1))
    return [hits[:, :k].any(dim=1).float().mean().mul(100.0).view(1) for k in topk]
