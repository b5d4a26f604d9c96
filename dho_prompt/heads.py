"""Prediction heads on image features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dho_prompt.nonlinear_head import NonLinearHead

if TYPE_CHECKING:
    from dho_prompt.students.base import Student

OPENAI_ZETA = 0.01  # of the published CLIPs


class CosineHead(nn.Module):
    """``cos(z, w_c) / zeta`` for every class c: the KD head aligned with a CLIP teacher (Eq. 10).

    Args:
        in_features: size of the image features.
        num_classes: number of classes.
        zeta: temperature > 0 of the cosine similarities; a CLIP model's own is ``1 / exp(logit_scale)``, 0.01 for
            OpenAI's.

    Shapes:
        (batch, in_features) of any floating dtype -> (batch, num_classes) in the dtype of the weights.
    """

    zeta: Tensor

    def __init__(self, in_features: int, num_classes: int, zeta: float = OPENAI_ZETA) -> None:
        super().__init__()
        if not zeta > 0:
            raise ValueError(f"zeta must be positive, got {zeta}")
        self.register_buffer("zeta", torch.tensor(float(zeta), dtype=torch.float64))  # belongs to the weights
        self.weight = nn.Parameter(torch.empty(num_classes, in_features))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            features = F.normalize(features.to(self.weight.dtype), dim=-1)
            return features @ F.normalize(self.weight, dim=-1).t() / self.zeta


class LinearHead(nn.Linear):
    """``W z + b`` (Sec. 3.2): :class:`torch.nn.Linear` in its weights' precision, on features of any floating dtype."""

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.to(self.weight.dtype))


class ScaledHead(nn.Linear):
    """``(W z / |z| + b) / zeta``: the KD head of the authors' code for CLIP students, where the paper has Eq. 10.

    Its weights are not brought to length 1, so it starts from text features with logits that are as many times larger.

    Args:
        in_features, num_classes: sizes.
        zeta: temperature > 0.
    """

    zeta: Tensor

    def __init__(self, in_features: int, num_classes: int, zeta: float = OPENAI_ZETA) -> None:
        super().__init__(in_features, num_classes)
        if not zeta > 0:
            raise ValueError(f"zeta must be positive, got {zeta}")
        self.register_buffer("zeta", torch.tensor(float(zeta), dtype=torch.float64))

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(F.normalize(features.to(self.weight.dtype), dim=-1)) / self.zeta


def make_head(
    in_features: int,
    num_classes: int,
    kind: str = "cosine",
    zeta: float = OPENAI_ZETA,
    text_features: Tensor | None = None,
) -> nn.Module:
    """A linear head on image features in float32: h_KD or h_CE, aligned (Eq. 10) or not, and how it starts (Table 5).

    Args:
        in_features, num_classes: sizes.
        kind: ``cosine`` (:class:`CosineHead`), ``linear`` (:class:`LinearHead`) or ``scaled`` (:class:`ScaledHead`).
        zeta: temperature of a cosine or scaled head.
        text_features: (num_classes, in_features) class embeddings from the student's own text tower to start from
            (Li et al., 2022), or None for PyTorch's default (Kaiming) initialisation. The paper names the teacher's
            text encoder, whose width need not be the student's; the authors' code takes the student's.

    Raises:
        ValueError: an unknown kind, or ``text_features`` has another shape.
    """
    if kind == "linear":
        head: CosineHead | LinearHead | ScaledHead = LinearHead(in_features, num_classes)
    elif kind in ("cosine", "scaled"):
        head = (CosineHead if kind == "cosine" else ScaledHead)(in_features, num_classes, zeta)
    else:
        raise ValueError(f"a head of the kind {kind!r} is asked for; kinds are cosine, linear and scaled")
    if text_features is not None:
        if text_features.shape != head.weight.shape:
            raise ValueError(
                f"language-aware initialisation needs text features of shape {tuple(head.weight.shape)} "
                f"(classes, image feature size), got {tuple(text_features.shape)}"
            )
        with torch.no_grad():
            head.weight.copy_(text_features)
            if isinstance(head, nn.Linear):
                head.bias.zero_()
    return head


def student_head(
    student: Student,
    classnames: Sequence[str],
    templates: Sequence[str],
    kind: str = "cosine",
    start: str = "language",
    zeta: float = 0.0,
    hidden: int = 0,
    dropout: float = 0.1,
) -> nn.Module:
    """:func:`make_head` on the features of a student.

    Args:
        student: gives the number of features and, for a start from language, the text features.
        classnames: one name per class.
        templates: prompt templates of the language-aware start.
        kind: ``cosine``, ``linear``, ``scaled`` or ``nonlinear`` (:class:`~dho_prompt.nonlinear_head.NonLinearHead`).
        start: ``language``: the class text features, for a linear or scaled head as long as the text tower gives them
            (about 10 for CLIP; the paper's f_T is not normalised, and neither is the authors' code), for a cosine head,
            which normalises its weights itself, at length 1. ``language_unit``: at length 1 for any. ``kaiming``:
            PyTorch's default. A non-linear head has no rows to start from language.
        zeta: temperature of a cosine head; 0 takes the student's own, with which a cosine head that starts from
            language is the zero-shot classifier, or 0.01 if it has none.
        hidden, dropout: of a non-linear head.

    Raises:
        ValueError: ``start`` is language, but the student has no text tower.
    """
    if kind == "nonlinear":
        return NonLinearHead(student.embed_dim, len(classnames), hidden, dropout)
    unit = kind == "cosine" or start == "language_unit"
    text_features = None if start == "kaiming" else student.text_features(classnames, templates, unit)
    if start != "kaiming" and text_features is None:
        raise ValueError(
            f"a head that starts from language needs class text features, and {type(student).__name__} has no text "
            "tower; set the head's HEAD_INIT to kaiming"
        )
    zeta = zeta or student.zeta or OPENAI_ZETA
    return make_head(student.embed_dim, len(classnames), kind, zeta, text_features)
