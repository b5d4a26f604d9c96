"""PromptSRC: deep prompts in both towers, held to the frozen CLIP (Khattak et al., Self-regulating Prompts, ICCV 2023).

The averaging of the prompts over epochs, its third part, is :mod:`dho_prompt.methods.averaging`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dho_prompt.clip.prompted_vision import PromptedVisionEncoder
from dho_prompt.clip.templates import PROMPTSRC
from dho_prompt.clip.text import PromptedTextEncoder, embed_context
from dho_prompt.clip.zeroshot import class_text_features
from dho_prompt.config import PRECISIONS, Setting, declare
from dho_prompt.config.ranges import BLOCKS, EPOCHS, PATH, TEXT, TOKENS, Number, Whole, templates
from dho_prompt.losses import self_regularisation
from dho_prompt.methods.averaging import GaussianAverage
from dho_prompt.methods.base import MethodOutput, TextPromptMethod, cosine_logits
from dho_prompt.methods.deep_prompts import VisionLanguagePrompts
from dho_prompt.students.clip import CLIPStudent

declare(
    "TRAINER.PROMPTSRC",  # names and defaults of the authors' code
    {
        "N_CTX_VISION": Setting(4, "prompt tokens per block of the image tower", TOKENS),
        "N_CTX_TEXT": Setting(4, "context tokens per block of the text tower", TOKENS),
        "CTX_INIT": Setting("a photo of a", "words to start from; without effect if N_CTX_TEXT is over 4", TEXT),
        "PREC": Setting("fp16", "fp32, fp16, bf16 (weights) or amp (autocast)", PRECISIONS),
        "PROMPT_DEPTH_VISION": Setting(
            9, "blocks with prompts of their own", Whole(1, BLOCKS.most, 0, "no prompts in the image tower")
        ),
        "PROMPT_DEPTH_TEXT": Setting(9, "blocks with prompts of their own", BLOCKS),
        "TEXT_LOSS_WEIGHT": Setting(25, "of the L1 distance to the frozen text features", Number(0), fractions=True),
        "IMAGE_LOSS_WEIGHT": Setting(10, "of the L1 distance to the frozen image features", Number(0), fractions=True),
        "GPA_MEAN": Setting(
            15, "Gaussian prompt averaging: the epoch that weighs most, from 1", Number(0, EPOCHS), fractions=True
        ),
        "GPA_STD": Setting(1, "width of the averaging in epochs", Number(0.001, EPOCHS), fractions=True),
        "TEMPLATES": Setting((), "of the frozen text features", templates("PromptSRC's 60")),
        "BOOST": Setting(
            "", "CasPL's second stage: a run of PromptSRCDHO with OBJECTIVE kd, whose frozen prompts stand before", PATH
        ),
    },
)

FOLDER = "VLPromptLearner"  # the published name of the registered model
MOST_WORDS = 4  # longer contexts start from noise, as in the authors' code


class PromptSRCMethod(TextPromptMethod):
    """CLIP with learned tokens in the first blocks of both towers.

    Args:
        student: the CLIP, frozen.
        classnames: one name per class.
        n_ctx_text, depth_text: context tokens, and blocks that have such of their own (at least 1).
        n_ctx_vision, depth_vision: visual prompt tokens, and blocks that have such of their own; depth 0 for none.
        ctx_init: words whose first ``n_ctx_text`` start the context; further ones stay words behind it. "" or an
            ``n_ctx_text`` over 4 for normal noise of std 0.02, like all deeper prompts.
        text_weight, image_weight: of the terms of :func:`~dho_prompt.losses.self_regularisation`.
        templates: prompts of the frozen text features; () takes PromptSRC's 60.
        boost: frozen prompts before the learned ones, in as many blocks of both towers: CasPL's boosting prompts (Wu et
            al., ECCV 2024), which an unsupervised run of the ``kd`` objective made. None for PromptSRC itself.

    Raises:
        ValueError: a depth or a length that the towers do not have room for, or a tower that takes no such prompts.
    """

    frozen_pass = True

    def __init__(
        self,
        student: CLIPStudent,
        classnames: Sequence[str],
        n_ctx_text: int = 4,
        depth_text: int = 9,
        n_ctx_vision: int = 4,
        depth_vision: int = 9,
        ctx_init: str = "a photo of a",
        text_weight: float = 25.0,
        image_weight: float = 10.0,
        templates: Sequence[str] = (),
        boost: VisionLanguagePrompts | None = None,
    ) -> None:
        super().__init__(student)
        clip = student.clip
        words = ctx_init if n_ctx_text <= MOST_WORDS else ""
        more = {"text": 0, "vision": 0}
        if boost is not None:
            more = {"text": len(boost.context), "vision": len(boost.vision()[0]) if depth_vision else 0}
        prefix = " ".join([*["X"] * more["text"], words]) if words else ""
        tokens = n_ctx_text + more["text"]
        self.text_encoder = PromptedTextEncoder(clip.model, clip.tokenizer, classnames, tokens, prefix=prefix)
        if not 1 <= depth_text <= self.text_encoder.layers:
            raise ValueError(
                f"the depth of the text prompts is {depth_text}; the text tower has {self.text_encoder.layers} blocks "
                f"(1-{self.text_encoder.layers})"
            )
        self.image_encoder = None
        if depth_vision:
            self.image_encoder = PromptedVisionEncoder(clip.model, n_ctx_vision + more["vision"], depth_vision)
        if words:
            start = embed_context(clip.model, clip.tokenizer, words)[:n_ctx_text]
        else:
            start = torch.empty(n_ctx_text, self.text_encoder.width).normal_(std=0.02)
        width = self.image_encoder.width if depth_vision else 0
        self.prompts = VisionLanguagePrompts(start, depth_text, n_ctx_vision, width, depth_vision, boost)
        self.text_weight, self.image_weight = text_weight, image_weight
        self.classnames, self.templates = list(classnames), list(templates or PROMPTSRC)
        self._frozen_text: Tensor | None = None
        self._average: GaussianAverage | None = None

    def average_over(self, epochs: int, mean: float, std: float) -> None:
        """At the end of ``epochs`` epochs the prompts are replaced by their average (:mod:`.averaging`)."""
        self._average = GaussianAverage(self.prompts, epochs, mean, std)

    def trainable(self) -> dict[str, nn.Module]:
        return {FOLDER: self.prompts}

    def encode_text(self) -> Tensor:
        return self.text_encoder(self.prompts.context, self.prompts.deep_text())

    def encode_image(self, images: Tensor) -> Tensor:
        """(batch, 3, size, size) -> (batch, d) un-normalised features under the visual prompts."""
        if self.image_encoder is None:
            return self.student(images)
        return self.image_encoder(images, self.prompts.vision())

    def frozen_text_features(self) -> Tensor:
        """(classes, d) of length 1, float32: the mean of the frozen CLIP's features over the templates; made once."""
        if self._frozen_text is None:
            with torch.autocast(self.prompts.context.device.type, enabled=False):
                self._frozen_text = class_text_features(
                    self.clip, self.classnames, self.templates, normalize_each=False
                )
        return self._frozen_text

    def forward(
        self,
        images: Tensor,
        labelled: int | None = None,
        all_logits: bool = False,
        frozen_image: Tensor | None = None,
    ) -> MethodOutput:
        """As of every method; ``frozen_image`` are (labelled, d) features of the frozen tower, if they are known."""
        features, text_features = self.encode_image(images), self.text_features()
        whole = cosine_logits(features if all_logits else features[:labelled], text_features, self.clip.logit_scale)
        logits, others = whole[:labelled], whole[labelled:] if all_logits else None
        if not torch.is_grad_enabled():
            return MethodOutput(features, logits, {}, others)
        frozen_text = self.frozen_text_features()
        if frozen_image is None:
            frozen_image = self.student(images[:labelled])
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
        extra = {f"loss_scl_{name}": term for name, term in terms._asdict().items()}
        return MethodOutput(features, logits, extra, others)

    def before_training(self, done: int, epochs: int) -> None:
        if self._average is not None and self._average.epochs_done != done < epochs:
            raise ValueError(
                f"the checkpoint after {done} epochs does not hold the average of its prompts, as one of the published "
                "code does not; train from the start"
            )

    def after_epoch(self, done: int, epochs: int) -> None:
        if self._average is None:
            return
        self._average.add()
        if done == epochs:
            print("The prompts' average over the epochs takes their place")
            self._average.apply()

    def extra_state(self) -> dict[str, Any]:
        return {} if self._average is None else {"prompt_average": self._average.state_dict()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        if self._average is not None and "prompt_average" in state:
            self._average.load_state_dict(state["prompt_average"])
