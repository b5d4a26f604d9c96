"""Cross-entropy on the labelled images: the plain method (Eq. 2)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from dho_prompt.distill.base import Objective, Terms
from dho_prompt.methods.base import MethodOutput


class CE(Objective):
    """The method's own logits against the labels, and what the method adds to that; no teacher."""

    name = "ce"
    needs_teacher = False

    def forward(
        self,
        output: MethodOutput,
        labels: Tensor,
        teacher_logits: Tensor | None = None,
        teacher_features: Tensor | None = None,
    ) -> Terms:
        return Terms(F.cross_entropy(output.logits, labels) + sum(output.extra.values()), output.extra)
