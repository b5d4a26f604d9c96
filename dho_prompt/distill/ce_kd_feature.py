"""Labels on the method's head, teacher features on a projector: CE + KD (feature) of Table 1."""

from __future__ import annotations

from torch import Tensor, nn

from dho_prompt.distill.base import Objective, Terms
from dho_prompt.distill.ce import CE
from dho_prompt.distill.feature import PROJECTOR, Projector, feature_distance
from dho_prompt.losses import DHOLoss
from dho_prompt.methods.base import MethodOutput


class CEKDFeature(Objective):
    """``lambda * CE + (1 - lambda) * distance of features``; the method predicts alone.

    Args:
        projector: (images, d) student features -> (images, d of the teacher).
        loss: gives lambda.
        weight: see :func:`~dho_prompt.distill.feature.feature_distance`.
        labelled: whether the labelled images are distilled as well (Sec. 4.1 has unlabelled ones).
    """

    name = "ce_kd_feature"
    needs_teacher_features = True

    def __init__(self, projector: Projector, loss: DHOLoss, weight: float = 0.0, labelled: bool = False) -> None:
        super().__init__()
        self.projector, self.loss, self.weight, self.labelled = projector, loss, weight, labelled

    def trainable(self) -> dict[str, nn.Module]:
        return {PROJECTOR: self.projector}

    def class_bound(self) -> tuple[str, ...]:
        return ()

    def forward(
        self, output: MethodOutput, labels: Tensor, teacher_logits: Tensor | None, teacher_features: Tensor
    ) -> Terms:
        ce, _ = CE()(output, labels)
        first = 0 if self.labelled else len(labels)
        distance = feature_distance(self.projector(output.features[first:]), teacher_features[first:], self.weight)
        supervised, distilled = self.loss.weights
        return Terms(supervised * ce + distilled * distance, {"loss_ce": ce, "loss_kd": distance, **output.extra})
