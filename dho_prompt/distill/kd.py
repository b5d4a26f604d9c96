"""Distilling logits into the method's own head: KD (logit) of Table 1, which sees no label (Eq. 3)."""

from __future__ import annotations

from torch import Tensor

from dho_prompt.config import Setting, declare
from dho_prompt.distill.base import Objective, Terms
from dho_prompt.losses import DHOLoss
from dho_prompt.methods.base import MethodOutput

declare(
    "TRAINER.DHO",
    {
        "KD_ON": Setting(
            "paper",
            "images that single-head rivals distil: unlabeled, both, or what the paper says of each (ce_kd both, "
            "Eq. 3; kd and those on features unlabeled, Sec. 4.1)",
            ("paper", "unlabeled", "both"),
        ),
    },
)


class KD(Objective):
    """``KL(teacher || method)`` on unlabelled images, on labelled ones too if asked for; the method predicts alone.

    Sec. 4.1 trains this baseline on unlabelled images, while Eq. 3 has both.

    Args:
        loss: gives the divergence with its eta; its lambda is not used.
        labelled: whether the labelled images are distilled as well (Eq. 3), without their labels.
    """

    name = "kd"
    needs_all_logits = True

    def __init__(self, loss: DHOLoss, labelled: bool = False) -> None:
        super().__init__()
        self.loss, self.labelled = loss, labelled

    def forward(
        self,
        output: MethodOutput,
        labels: Tensor,
        teacher_logits: Tensor,
        teacher_features: Tensor | None = None,
    ) -> Terms:
        parts = own_divergences(self.loss, output, teacher_logits)
        total = parts["loss_kd_u"] + (parts["loss_kd_x"] if self.labelled else 0)
        return Terms(total, parts if self.labelled else {"loss_kd_u": parts["loss_kd_u"]})


def own_divergences(loss: DHOLoss, output: MethodOutput, teacher_logits: Tensor) -> dict[str, Tensor]:
    """Eq. 3's two terms on the method's own logits: of the labelled images and of the unlabelled ones.

    Raises:
        ValueError: the method gave no logits of unlabelled images.
    """
    if output.unlabelled_logits is None:
        raise ValueError("the method's logits of the unlabelled images are needed: call it with all_logits=True")
    labelled = len(output.logits)
    return {
        "loss_kd_x": loss.divergence(output.logits, teacher_logits[:labelled]),
        "loss_kd_u": loss.divergence(output.unlabelled_logits, teacher_logits[labelled:]),
    }
