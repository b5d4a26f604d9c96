"""PromptSRC: deep prompts in both towers, held to the frozen CLIP (Khattak et al., Self-regulating Prompts, ICCV 2023).

Its third part, the averaging of the prompts over epochs, is :mod:`dho_prompt.methods.averaging`.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from dho_prompt.clip.loading import LoadedCLIP
from dho_prompt.clip.prompted_vision import PromptedVisionEncoder
from dho_prompt.clip.templates import PROMPTSRC
from dho_prompt.clip.text import PromptedTextEncoder, embed_context
from dho_prompt.clip.zeroshot import class_text_features
from dho_prompt.losses import self_regularisation
from dho_prompt.methods.base import MethodOutput, TextPromptMethod, cosine_logits
from dho_prompt.methods.deep_prompts import VisionLanguagePrompts

FOLDER = "VLPromptLearner"  # the published name of the registered model
MOST_WORDS = 4  # longer contexts start from noise, as in the authors' code


class PromptSRCMethod(TextPromptMethod):
    """CLIP with learned tokens in the first blocks of both towers.

    Args:
        clip: the student CLIP, frozen.
        classnames: one name per class.
        n_ctx_text, depth_text: context tokens, and blocks that have such of their own (at least 1).
        n_ctx_vision, depth_vision: visual prompt tokens, and blocks that have such of their own; depth 0 for none.
        ctx_init: words whose first ``n_ctx_text`` start the context; further ones stay words behind it. "" or an
            ``n_ctx_text`` over 4 for normal noise of std 0.02, like all deeper prompts.
        text_weight, image_weight: of the terms of :func:`~dho_prompt.losses.self_regularisation`.
        templates: prompts of the frozen text features; () takes PromptSRC's 60.

    Raises:
        ValueError: a depth or a length that the towers do not have room for, or a tower that takes no such prompts.
    """

    def __init__(
        self,
        clip: LoadedCLIP,
        classnames: Sequence[str],
        n_ctx_text: int = 4,
        depth_text: int = 9,
        n_ctx_vision: int = 4,
        depth_vision: int = 9,
        ctx_init: str = "a photo of a",
        text_weight: float = 25.0,
        image_weight: float = 10.0,
        templates: Sequence[str] = (),
    ) -> None:
        super().__init__(clip)
        words = ctx_init if n_ctx_text <= MOST_WORDS else ""
        self.text_encoder = PromptedTextEncoder(clip.model, clip.tokenizer, classnames, n_ctx_text, prefix=words)
        if not 1 <= depth_text <= self.text_encoder.layers:
            raise ValueError(
                f"the depth of the text prompts is {depth_text}; the text tower has {self.text_encoder.layers} blocks "
                f"(1-{self.text_encoder.layers})"
            )
        self.image_encoder = None
        if depth_vision:
            self.image_encoder = PromptedVisionEncoder(clip.model, n_ctx_vision, depth_vision)
        if words:
            start = embed_context(clip.model, clip.tokenizer, words)[:n_ctx_text]
        else:
            start = torch.empty(n_ctx_text, self.text_encoder.width).normal_(std=0.02)
        width = self.image_encoder.width if depth_vision else 0
        self.prompts = VisionLanguagePrompts(start, depth_text, n_ctx_vision, width, depth_vision)
        self.text_weight, self.image_weight = text_weight, image_weight
        self.classnames, self.templates = list(classnames), list(templates or PROMPTSRC)
        self._frozen_text: Optional[Tensor] = None

    def trainable(self) -> List[Tuple[str, nn.Module]]:
        return [(FOLDER, self.prompts)]

    def encode_text(self) -> Tensor:
        return self.text_encoder(self.prompts.context, self.prompts.deep_text())

    def encode_image(self, images: Tensor) -> Tensor:
        """(batch, 3, size, size) -> (batch, d) un-normalised features under the visual prompts."""
        if self.image_encoder is None:
            return super().encode_image(images)
        return self.image_encoder(images, self.prompts.vision())

    def frozen_text_features(self) -> Tensor:
        """(classes, d) of length 1, float32: the mean of the frozen CLIP's features over the templates; made once."""
        if self._frozen_text is None:
            with torch.autocast(self.prompts.context.device.type, enabled=False):
                self._frozen_text = class_text_features(
                    self.clip, self.classnames, self.templates, normalize_each=False
                )
        return self._frozen_text

    def forward(self, images: Tensor, labelled: Optional[int] = None) -> MethodOutput:
        features, text_features = self.encode_image(images), self.text_features()
        logits = cosine_logits(features[:labelled], text_features, self.clip.logit_scale)
        if not torch.is_grad_enabled():
            return MethodOutput(features, logits, {})
        frozen_text, frozen_image = self.frozen_text_features(), super().encode_image(images[:labelled])
        terms = self_regularisation(
            logits,
            text_features,
            features[:labelled],
            cosine_logits(frozen_image, frozen_text, self.clip.logit_scale),
            frozen_text,
            frozen_image,
            self.text_weight,
            self.image_weight,
        )
        return MethodOutput(features, logits, {f"loss_scl_{name}": term for name, term in terms._asdict().items()})
