"""Linear probing: one head on frozen image features ("linear evaluation" in Table 13)."""

from __future__ import annotations

from torch import Tensor, nn

from dho_prompt.config import HEAD_STARTS, HEADS, PRECISIONS, Setting, declare
from dho_prompt.methods.base import Method
from dho_prompt.students.base import Student

declare(
    "TRAINER.LINEAR_PROBE",
    {
        "PREC": Setting("fp32", "of the frozen tower; the head is in fp32", PRECISIONS),
        "HEAD": Setting("linear", "linear (W z + b, Sec. 3.2) or cosine (Eq. 10's form)", HEADS),
        "HEAD_INIT": Setting(
            "language", "language (class text features, Table 5), language_unit (at length 1) or kaiming", HEAD_STARTS
        ),
    },
)


class LinearProbeMethod(Method):
    """Frozen image features and a trained head.

    Started from the class text features (Li et al., *ELEVATER*, 2022; Table 5) the head begins near the zero-shot
    prediction, and on it if it is a cosine head.

    Args:
        student: the network whose features are probed, frozen.
        head: (batch, d) un-normalised features -> (batch, classes) logits; see :func:`dho_prompt.heads.make_head`.
    """

    class_bound = ("ce_head",)

    def __init__(self, student: Student, head: nn.Module) -> None:
        super().__init__(student)
        self.head = head

    def trainable(self) -> dict[str, nn.Module]:
        return {"ce_head": self.head}

    def logits(self, features: Tensor) -> Tensor:
        return self.head(features)
