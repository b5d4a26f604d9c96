"""The non-linear prediction head of the paper's App. E.2."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NonLinearHead(nn.Module):
    """Linear, LayerNorm, GELU, Dropout, Linear (Tables 14 and 15), in float32 on features of any floating dtype.

    Args:
        in_features: d, size of the image features.
        num_classes: number of classes.
        hidden: width in between; 0 takes d. The paper does not give it.
        dropout: share of hidden values that are dropped in training, in [0, 1). The paper does not give it.

    Shapes:
        (batch, in_features) -> (batch, num_classes).
    """

    def __init__(self, in_features: int, num_classes: int, hidden: int = 0, dropout: float = 0.1) -> None:
        super().__init__()
        hidden = hidden or in_features
        self.layers = nn.Sequential(
            nn.Linear(in_features, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return self.layers(features.float())
