"""A frozen CLIP with a template ensemble as teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dho_prompt.clip.loading import LoadedCLIP
from dho_prompt.clip.zeroshot import class_text_features
from dho_prompt.data.batches.views import View
from dho_prompt.teachers.base import Teacher


class ZeroShotTeacher(Teacher):
    """CLIP with a template ensemble: ``cos(image, text_c) / zeta`` (Eq. 1 before its softmax).

    The text features are computed here, once.

    Args:
        clip: a loaded CLIP, frozen.
        classnames: one name per class.
        templates: prompt templates with one ``{}`` each.
        zeta: temperature > 0, or None for the model's own ``1 / exp(logit_scale)``.
    """

    def __init__(
        self, clip: LoadedCLIP, classnames: Sequence[str], templates: Sequence[str], zeta: float | None = None
    ) -> None:
        super().__init__()
        self.clip, self.views = clip, (View.of(clip),)
        self.zeta = float(zeta) if zeta else 1 / clip.logit_scale
        self.register_buffer("text_features", class_text_features(clip, classnames, templates).float())

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        return F.normalize(self.clip.frozen_image_features(images).float(), dim=-1)

    @torch.no_grad()
    def classify(self, features: Tensor) -> Tensor:
        return cosine_logits(features, self.text_features, self.zeta)


def cosine_logits(features: Tensor, text_features: Tensor, zeta: float) -> Tensor:
    """``cos(image, text_c) / zeta`` of float32 features: (batch, d) of length 1 and (classes, d)."""
    with torch.autocast(features.device.type, enabled=False):
        return features @ text_features.t() / zeta
