"""The frozen image tower of a CLIP as student."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dho_prompt.clip.loading import LoadedCLIP
from dho_prompt.clip.zeroshot import class_text_features
from dho_prompt.data.batches.views import View
from dho_prompt.students.base import Student


class CLIPStudent(Student):
    """A CLIP whose towers stay as they are.

    Args:
        clip: the model, frozen, on its device and in its precision.

    Attributes:
        clip: for methods that put prompts into the towers.
    """

    def __init__(self, clip: LoadedCLIP) -> None:
        super().__init__()
        self.clip = clip
        self.view = View.of(clip)
        self.embed_dim = clip.embed_dim
        self.zeta = 1 / clip.logit_scale

    def forward(self, images: Tensor) -> Tensor:
        return self.clip.frozen_image_features(images)

    def text_features(self, classnames: Sequence[str], templates: Sequence[str], unit: bool = True) -> Tensor:
        return class_text_features(self.clip, classnames, templates, normalize_each=unit, unit=unit).float()
