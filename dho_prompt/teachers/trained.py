"""A trained method with its objective as teacher: it teaches what it predicts."""

from __future__ import annotations

import torch
from torch import Tensor

from dho_prompt.distill.base import Objective
from dho_prompt.heads import OPENAI_ZETA
from dho_prompt.methods.base import Method
from dho_prompt.teachers.base import Teacher


class TrainedTeacher(Teacher):
    """The prediction of a run: its method's logits or, where heads are mixed, the logarithm of the mixed probabilities.

    Args:
        method: trained.
        objective: of the same run, with its heads and its mix.
    """

    def __init__(self, method: Method, objective: Objective) -> None:
        super().__init__()
        self.method, self.objective = method.requires_grad_(False).eval(), objective.requires_grad_(False).eval()
        self.views, self.zeta = (method.student.view,), method.student.zeta or OPENAI_ZETA

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        output = self.method(images)
        heads = self.objective.logits(output.features, output.logits)
        scores, probabilities = self.objective.predict(heads)
        first = next(iter(scores))
        return heads[first].float() if first in heads else probabilities[first].float().clamp(min=1e-30).log()
