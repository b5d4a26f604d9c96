"""Labels and teacher on one head: CE + KD (logit) of Table 1, the single-head rival of DHO (Eq. 2 and 3)."""

from __future__ import annotations

from torch import Tensor

from dho_prompt.distill.base import Objective, Terms
from dho_prompt.distill.ce import CE
from dho_prompt.distill.kd import own_divergences
from dho_prompt.losses import DHOLoss
from dho_prompt.methods.base import MethodOutput


class CEKD(Objective):
    """``lambda * CE + (1 - lambda) * (KL_labelled + KL_unlabelled)``, all on the method's own logits.

    Args:
        loss: its lambda and eta.
        labelled: whether KL_labelled is part of it (Eq. 3); without, the teacher is heard on unlabelled images alone.
    """

    name = "ce_kd"
    needs_all_logits = True

    def __init__(self, loss: DHOLoss, labelled: bool = True) -> None:
        super().__init__()
        self.loss, self.labelled = loss, labelled

    def forward(
        self,
        output: MethodOutput,
        labels: Tensor,
        teacher_logits: Tensor,
        teacher_features: Tensor | None = None,
    ) -> Terms:
        ce, _ = CE()(output, labels)
        parts = own_divergences(self.loss, output, teacher_logits)
        if not self.labelled:
            parts = {"loss_kd_u": parts["loss_kd_u"]}
        supervised, distilled = self.loss.weights
        total = supervised * ce + distilled * sum(parts.values())
        return Terms(total, {"loss_ce": ce, **parts, **output.extra})
