"""Zero-shot CLIP: the baseline that trains nothing (first row of Tables 12 and 13)."""

from __future__ import annotations

from typing import List, Sequence, Tuple

from torch import Tensor, nn

from dho_prompt.clip.loading import LoadedCLIP
from dho_prompt.clip.zeroshot import class_text_features
from dho_prompt.methods.base import Method, cosine_logits


class ZeroShotMethod(Method):
    """``exp(logit_scale) * cos(image, text_c)`` with the text features of fixed prompts.

    Args:
        clip: the CLIP to evaluate.
        classnames: one name per class.
        templates: prompt templates with one ``{}`` each; several are averaged.
    """

    def __init__(self, clip: LoadedCLIP, classnames: Sequence[str], templates: Sequence[str]) -> None:
        super().__init__(clip)
        self.register_buffer("text_features", class_text_features(clip, classnames, templates))

    def trainable(self) -> List[Tuple[str, nn.Module]]:
        return []

    def logits(self, features: Tensor) -> Tensor:
        return cosine_logits(features, self.text_features, self.clip.logit_scale)
