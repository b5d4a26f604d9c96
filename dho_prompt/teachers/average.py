"""Several teachers as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dho_prompt.data.batches.batch import Batch
from dho_prompt.teachers.base import Teacher

KINDS = ("probabilities", "logits")


class AverageTeacher(Teacher):
    """The weighted mean of what several teachers say of a batch.

    Of probabilities, ``log(sum_i w_i softmax(logits_i))`` is given as logits: their softmax is the mean, and eta
    softens that. Of logits, it is their mean, which the surest teacher leads.

    Args:
        teachers: at least one; each sees images in its own view. The first one's zeta aligns the KD head.
        shares: a positive number for each, whatever their sum; () for equal ones.
        kind: ``probabilities`` or ``logits``.

    Raises:
        ValueError: shares that do not fit, or an unknown kind.
    """

    def __init__(self, teachers: Sequence[Teacher], shares: Sequence[float] = (), kind: str = "probabilities") -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"teachers are averaged over their {', '.join(KINDS)}, not {kind!r}")
        shares = list(shares) or [1.0] * len(teachers)
        if len(shares) != len(teachers) or not all(share > 0 for share in shares):
            raise ValueError(
                f"{len(teachers)} teachers have the shares {shares}; one positive number for each is needed"
            )
        self.teachers, self.kind = nn.ModuleList(teachers), kind
        self.register_buffer("shares", torch.tensor(shares, dtype=torch.float64) / sum(shares))
        self.views, self.zeta = tuple(view for teacher in teachers for view in teacher.views), teachers[0].zeta

    @torch.no_grad()
    def forward(self, batch: Batch) -> Tensor:
        each = torch.stack([teacher(batch).float() for teacher in self.teachers])
        shares = self.shares.to(each.dtype)[:, None, None]
        if self.kind == "logits":
            return (shares * each).sum(0)
        return torch.logsumexp(each.log_softmax(-1) + shares.log(), dim=0)
