"""Distilling features alone: KD (feature) of Sec. 4.1, which sees no label."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dho_prompt.distill.base import Objective, Terms
from dho_prompt.distill.feature import PROJECTOR, Projector, feature_distance
from dho_prompt.methods.base import MethodOutput
from dho_prompt.teachers.base import Teacher

TEXT = "text_features"


class TextClassifier(nn.Module):
    """The teacher's zero-shot classifier on projected student features: ``cos(project(z), text_c) / zeta``.

    The paper does not say how a student without a supervised head predicts; in the teacher's feature space its class
    text features are there. They are frozen, and saved with the projector.

    Args:
        in_features: size of the student's features.
        teacher_features: size of the teacher's.
        num_classes: number of classes.
    """

    def __init__(self, in_features: int, teacher_features: int, num_classes: int) -> None:
        super().__init__()
        self.project = Projector(in_features, teacher_features)
        self.register_buffer(TEXT, torch.zeros(num_classes, teacher_features))
        self.register_buffer("zeta", torch.tensor(0.01, dtype=torch.float64))

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return F.normalize(self.project(features), dim=-1) @ self.text_features.t() / self.zeta.float()


class KDFeature(Objective):
    """Squared distance of projected features to the teacher's on unlabelled images; the teacher's texts classify.

    Args:
        head: projector and classifier.
        weight: see :func:`~dho_prompt.distill.feature.feature_distance`.
        labelled: whether the labelled images are distilled as well, without their labels.
    """

    name = "kd_feature"
    needs_teacher_features = True

    def __init__(self, head: TextClassifier, weight: float = 0.0, labelled: bool = False) -> None:
        super().__init__()
        self.head, self.weight, self.labelled = head, weight, labelled

    def trainable(self) -> dict[str, nn.Module]:
        return {PROJECTOR: self.head}

    def align(self, teacher: Teacher) -> None:
        """Take the teacher's class text features and temperature.

        Raises:
            ValueError: it has none, so nothing classifies.
        """
        text = getattr(teacher, TEXT, None)
        if text is None:
            raise ValueError(
                f"TRAINER.DHO.OBJECTIVE kd_feature classifies by the teacher's class text features, and a "
                f"{type(teacher).__name__} has none; take a zero-shot CLIP (TRAINER.DHO.TEACHER.CHECKPOINT '')"
            )
        self.head.text_features.copy_(text)
        self.head.zeta.fill_(teacher.zeta)

    def forward(
        self, output: MethodOutput, labels: Tensor, teacher_logits: Tensor | None, teacher_features: Tensor
    ) -> Terms:
        first = 0 if self.labelled else len(labels)
        projected = self.head.project(output.features[first:])
        distance = feature_distance(projected, teacher_features[first:], self.weight)
        return Terms(distance, {"loss_kd": distance})

    def logits(self, features: Tensor, method_logits: Tensor) -> dict[str, Tensor]:
        return {"kd": self.head(features)}
