"""A few-shot teacher: Tip-Adapter(-F) from its file, ours or one that the published DHO code takes (DHO-F)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dho_prompt.clip.loading import LoadedCLIP
from dho_prompt.clip.names import meant
from dho_prompt.data.batches.views import View
from dho_prompt.engine import load_checkpoint
from dho_prompt.teachers.base import Teacher

FILE = "tip_adapter.pt"
TENSORS = ("adapter_weight", "cache_values", "clip_weights")


def is_tip_adapter(path: str) -> bool:
    """Whether a checkpoint is a few-shot teacher's: a run folder with one, or a file of that form."""
    if not Path(path).is_file():
        return (Path(path) / FILE).is_file()
    try:
        return set(TENSORS) <= set(load_checkpoint(path))
    except (ValueError, TypeError):
        return False


def read_tip_adapter(path: str) -> dict[str, Any]:
    """The content of a few-shot teacher's file, of a run's or of one in the published code's form.

    Args:
        path: the file, or a run's folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged or another's.
    """
    path = str(Path(path) / FILE) if Path(path).is_dir() else path
    content = load_checkpoint(path)
    wrong = [name for name in TENSORS if not isinstance(content.get(name), Tensor) or content[name].dim() != 2]
    wrong += [name for name in ("best_alpha", "best_beta") if not _is_number(content.get(name))]
    if wrong:
        raise ValueError(
            f"{path} is no few-shot teacher of Tip-Adapter: {', '.join(wrong)} missing or of another form; it holds "
            f"{', '.join(map(str, list(content)[:7]))}"
        )
    return {**content, "best_alpha": float(content["best_alpha"]), "best_beta": float(content["best_beta"])}


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class TipAdapterTeacher(Teacher):
    """``cos(image, text_c) / zeta + alpha exp(-beta (1 - f K)) V``.

    Args:
        clip: the CLIP that the cache is of.
        classnames: one name per class.
        content: of :func:`read_tip_adapter`.
        path: its file, for messages.
        zeta: temperature > 0 of the zero-shot part, or None for the model's own ``1 / exp(logit_scale)``.

    Raises:
        ValueError: the cache is of other classes or another CLIP.
    """

    def __init__(
        self, clip: LoadedCLIP, classnames: Sequence[str], content: dict[str, Any], path: str, zeta: float | None = None
    ) -> None:
        super().__init__()
        self.clip, self.views, self.embed_dim = clip, (View.of(clip),), clip.embed_dim
        self.zeta = float(zeta) if zeta else 1 / clip.logit_scale
        self.alpha, self.beta = content["best_alpha"], content["best_beta"]
        keys = content["adapter_weight"].float()
        images, width = keys.shape
        if width != clip.embed_dim or meant(content.get("clip", clip.name)) != meant(clip.name):
            raise ValueError(
                f"{path} has a cache of {width} features of {content.get('clip', 'a CLIP')}, {clip.name} gives "
                f"{clip.embed_dim}: it is of another CLIP; "
                "set TRAINER.DHO.TEACHER.NAME to the one that it was made with"
            )
        classes = len(classnames)
        values = _turned(content["cache_values"].float(), (images, classes), "cache_values", path)
        texts = _turned(content["clip_weights"].float(), (classes, width), "clip_weights", path)
        saved = content.get("classnames")
        if saved is not None and list(saved) != list(classnames):
            raise ValueError(
                f"{path} was made for other class names, or the same in another order ({', '.join(saved[:3])}, ...), "
                f"than those of this data set ({', '.join(classnames[:3])}, ...)"
            )
        self.register_buffer("keys", keys)
        self.register_buffer("values", values)
        self.register_buffer("text_features", F.normalize(texts, dim=-1))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        return F.normalize(self.clip.frozen_image_features(images).float(), dim=-1)

    @torch.no_grad()
    def classify(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            cached = torch.exp(-self.beta * (1 - features @ self.keys.t())) @ self.values
            return features @ self.text_features.t() / self.zeta + self.alpha * cached


def _turned(matrix: Tensor, shape: tuple[int, int], name: str, path: str) -> Tensor:
    """A matrix that is stored in either orientation, as ``shape``.

    Raises:
        ValueError: it has neither.
    """
    if tuple(matrix.shape) == shape:
        return matrix
    if tuple(matrix.shape) == shape[::-1]:
        return matrix.t().contiguous()
    raise ValueError(
        f"{path}: {name} is {tuple(matrix.shape)}, but this data set needs {shape} (or turned): the cache is of other "
        "classes"
    )
