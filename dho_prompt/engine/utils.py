"""Small helpers: error texts, and with Dassl's names the environment, images and accuracy."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib import metadata

import torch
from torch import Tensor

from dho_prompt.data.batches.read_image import read_image

__all__ = ["collect_env_info", "compute_accuracy", "read_image", "unknown_name"]


def unknown_name(kind: str, given: str, allowed: Iterable[str]) -> str:
    """The error text for a name that nothing goes by: what was given, the nearest name, all names."""
    allowed = sorted(allowed)
    near = get_close_matches(given, allowed, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"unknown {kind} '{given}'.{hint} Allowed: {', '.join(allowed) or 'none are registered yet'}"


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


def compute_accuracy(output: Tensor, target: Tensor, topk: Sequence[int] = (1,)) -> list[Tensor]:
    """Top-k accuracies of a batch in percent.

    Args:
        output: scores ``(batch, classes)``.
        target: class indices ``(batch,)``.
        topk: the values of k.

    Returns:
        One tensor of shape ``(1,)`` for each k.
    """
    ranked = output.topk(max(topk), dim=1).indices
    hits = ranked.eq(target.view(-1, 1))
    return [hits[:, :k].any(dim=1).float().mean().mul(100.0).view(1) for k in topk]
