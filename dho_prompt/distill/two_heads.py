"""What the dual-head rivals of DHO share: a second head that is trained, and not used for predictions."""

from __future__ import annotations

from torch import Tensor, nn

from dho_prompt.distill.base import KD_HEAD, Objective
from dho_prompt.losses import DHOLoss
from dho_prompt.teachers.base import Teacher


class TwoHeads(Objective):
    """A KD head beside the method's own, which predicts alone; the KD head's accuracy is recorded too.

    Args:
        head: the KD head, (batch, d) features -> (batch, classes) logits.
        loss: lambda and eta.

    Attributes:
        has_head: False where a head of other classes was left out, so that the method's own head predicts alone.
    """

    def __init__(self, head: nn.Module, loss: DHOLoss) -> None:
        super().__init__()
        self.head, self.loss, self.has_head = head, loss, True

    def trainable(self) -> dict[str, nn.Module]:
        return {KD_HEAD: self.head}

    def align(self, teacher: Teacher) -> None:
        """Give a cosine head the teacher's temperature (Eq. 10)."""
        if hasattr(self.head, "zeta"):
            self.head.zeta.fill_(teacher.zeta)

    def logits(self, features: Tensor, method_logits: Tensor) -> dict[str, Tensor]:
        return {"ce": method_logits, "kd": self.head(features)} if self.has_head else {"ce": method_logits}

    def use_all_heads(self) -> None:
        self.has_head = True

    def leave_out(self, head: str, reason: Exception) -> None:
        print(f"The KD head, which predicts nothing, is not loaded ({reason})")
        self.has_head = False
