"""Linear probing: one head on frozen image features ("linear evaluation" in Table 13)."""

from __future__ import annotations

from typing import List, Tuple

from torch import Tensor, nn

from dho_prompt.clip.loading import LoadedCLIP
from dho_prompt.methods.base import Method


class LinearProbeMethod(Method):
    """A frozen CLIP image tower and a trained head.

    Started from the class text features (Li et al., *ELEVATER*, 2022; Table 5) the head begins near the zero-shot
    prediction, and on it if it is a cosine head.

    Args:
        clip: the student CLIP, frozen.
        head: (batch, d) un-normalised features -> (batch, classes) logits; see :func:`dho_prompt.heads.make_head`.
    """

    def __init__(self, clip: LoadedCLIP, head: nn.Module) -> None:
        super().__init__(clip)
        self.head = head

    def trainable(self) -> List[Tuple[str, nn.Module]]:
        return [("ce_head", self.head)]

    def logits(self, features: Tensor) -> Tensor:
        return self.head(features)
