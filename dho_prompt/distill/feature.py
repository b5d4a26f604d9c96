"""Distilling image features (Yang et al., CLIP-KD, CVPR 2024), the third single-head baseline of Sec. 4.1."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dho_prompt.config import Setting, declare
from dho_prompt.config.ranges import Number

declare(
    "TRAINER.DHO",
    {
        "FEATURE_WEIGHT": Setting(
            0.0,
            "factor of the mean squared distance of features in kd_feature and ce_kd_feature",
            Number(0, 1e9, special=0, meaning="twice the teacher's feature size: CLIP-KD's 2000 at 1000 features"),
        ),
    },
)

PROJECTOR = "projector"  # name of the registered model and of its checkpoint folder


class Projector(nn.Linear):
    """Student features -> the teacher's feature space, in float32 on features of any floating dtype."""

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.to(self.weight.dtype))


def feature_distance(projected: Tensor, teacher_features: Tensor, weight: float = 0.0) -> Tensor:
    """``weight`` times the mean squared difference of features at length 1.

    CLIP-KD's weight of 2000 brings the mean over some 1000 components to the size of a cross-entropy. The paper gives
    neither normalisation nor weight.

    Args:
        projected, teacher_features: (images, d) each, of any length; no gradient flows into the teacher's.
        weight: factor; 0 takes 2 d, which makes the distance 4 (1 - cos) whatever d is.

    Returns:
        A scalar, 0 without images.

    Raises:
        ValueError: the two have different shapes.
    """
    if projected.shape != teacher_features.shape:
        raise ValueError(
            f"features of shape {tuple(projected.shape)} cannot be compared with the teacher's "
            f"{tuple(teacher_features.shape)}; the projector must end in the teacher's feature size"
        )
    if len(projected) == 0:
        return projected.sum()
    teacher = F.normalize(teacher_features.detach().float(), dim=-1)
    return (weight or 2 * projected.shape[1]) * F.mse_loss(F.normalize(projected.float(), dim=-1), teacher)
