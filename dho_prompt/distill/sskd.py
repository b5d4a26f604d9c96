"""Semi-supervised KD with two heads (He et al., SSKD, ICCV 2021), as Sec. 4.1 describes it."""

from __future__ import annotations

from torch import Tensor

from dho_prompt.distill.base import Terms
from dho_prompt.distill.ce import CE
from dho_prompt.distill.two_heads import TwoHeads
from dho_prompt.methods.base import MethodOutput


class SSKD(TwoHeads):
    """``lambda * CE(head 1, labelled) + (1 - lambda) * KL(head 2, unlabelled)``; head 1 predicts."""

    name = "sskd"

    def forward(
        self,
        output: MethodOutput,
        labels: Tensor,
        teacher_logits: Tensor,
        teacher_features: Tensor | None = None,
    ) -> Terms:
        ce, _ = CE()(output, labels)
        labelled = len(labels)
        kd = self.loss.divergence(self.head(output.features[labelled:]), teacher_logits[labelled:])
        supervised, distilled = self.loss.weights
        return Terms(supervised * ce + distilled * kd, {"loss_ce": ce, "loss_kd_u": kd, **output.extra})
