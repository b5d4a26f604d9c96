"""CoOp: learned context vectors before the class names (Zhou et al., Learning to Prompt for VLMs, IJCV 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import torch
from torch import Tensor, nn

from dho_prompt.clip.loading import LoadedCLIP
from dho_prompt.clip.prompts import PromptTokens, padded_ids
from dho_prompt.clip.text import PromptedTextEncoder, embed_context
from dho_prompt.clip.tower import text_module
from dho_prompt.config import PRECISIONS, Setting, declare
from dho_prompt.config.ranges import PATH, TEXT, TOKENS
from dho_prompt.methods.base import TextPromptMethod
from dho_prompt.students.clip import CLIPStudent

declare(
    "TRAINER.COOP",
    {
        "N_CTX": Setting(16, "context tokens", TOKENS),
        "CSC": Setting(False, "class-specific contexts"),
        "CTX_INIT": Setting("", "words to start the context from; their number replaces N_CTX", TEXT),
        "PREC": Setting("fp16", "fp32, fp16, bf16 (weights) or amp (autocast)", PRECISIONS),
        "CLASS_TOKEN_POSITION": Setting("end", "where the class name stands", ("end", "middle", "front")),
        "BOOST": Setting(
            "", "CasPL's second stage: a run of CoOpDHO with OBJECTIVE kd, whose frozen context stands before", PATH
        ),
    },
)

CONSTANT_KEYS = ("token_prefix", "token_suffix")


class PromptLearner(nn.Module):
    """The context, and CoOp's checkpoint keys for it: ``ctx``, ``token_prefix``, ``token_suffix``.

    The context is kept in float32 whatever the precision of the towers. The other two keys are the embeddings around
    it, which depend on the class names: CoOp saves them and ignores them when loading, and so do we; they are made
    when a checkpoint is written and take no memory before.

    Args:
        start: (n_ctx, width) or, one per class, (classes, n_ctx, width) values to start from.
        constants: returns the embeddings before and behind the context, (classes, 1, width) and (classes, *, width).
        boost: (n, width) vectors that stand before the context and are not trained, under the key ``boost``; None for
            CoOp itself.
    """

    def __init__(
        self, start: Tensor, constants: Callable[[], tuple[Tensor, Tensor]], boost: Tensor | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("boost", None if boost is None else boost.detach().float().clone())
        self.ctx = nn.Parameter(start.detach().float().clone())
        self._constants = constants

    def forward(self) -> Tensor:
        """The context: (n_ctx, width), or (classes, n_ctx, width) with CSC; float32, with ``boost`` in front."""
        if self.boost is None:
            return self.ctx
        return torch.cat([self.boost.expand(*self.ctx.shape[:-2], -1, -1), self.ctx], dim=-2)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for key, value in zip(CONSTANT_KEYS, self._constants()):
            destination[prefix + key] = value

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for key in CONSTANT_KEYS:
            state_dict.pop(prefix + key, None)
        super()._load_from_state_dict(state_dict, prefix, *args)


class CoOpMethod(TextPromptMethod):
    """CLIP with a learned context: ``exp(logit_scale) * cos(image, text(context, class))``.

    Args:
        student: the CLIP, frozen.
        classnames: one name per class.
        n_ctx: number of context tokens, at least 1.
        ctx_init: words to start from, whose number replaces ``n_ctx``; "" for normal noise of std 0.02.
        class_specific: one context per class (CSC). Without effect when it starts from words, as in CoOp.
        position: where the class name stands: end, middle or front.
        boost: (n, width) frozen vectors before the context: CasPL's boosting prompts (Wu et al., ECCV 2024), which an
            unsupervised run of the ``kd`` objective made. None for CoOp itself.

    Raises:
        ValueError: a class name does not fit beside ``n_ctx`` tokens, or ``position`` is unknown.
    """

    def __init__(
        self,
        student: CLIPStudent,
        classnames: Sequence[str],
        n_ctx: int = 16,
        ctx_init: str = "",
        class_specific: bool = False,
        position: str = "end",
        boost: Tensor | None = None,
    ) -> None:
        super().__init__(student)
        clip = student.clip
        self.class_bound = ("prompt_learner",) if class_specific and not ctx_init else ()
        n_ctx = len(ctx_init.replace("_", " ").split()) if ctx_init else n_ctx
        before = 0 if boost is None else len(boost)
        words = " ".join([*["X"] * before, ctx_init]) if ctx_init else ""
        tokens = n_ctx + before
        self.text_encoder = PromptedTextEncoder(clip.model, clip.tokenizer, classnames, tokens, position, words)
        if boost is not None and boost.shape[1:] != (self.text_encoder.width,):
            raise ValueError(
                f"the boosting prompts have vectors of shape {tuple(boost.shape[1:])}, this text tower takes "
                f"({self.text_encoder.width},): they are of another CLIP"
            )
        if ctx_init:
            start = embed_context(clip.model, clip.tokenizer, ctx_init)
        else:
            shape = (len(classnames), n_ctx) if class_specific else (n_ctx,)
            start = torch.empty(*shape, self.text_encoder.width).normal_(std=0.02)
        rows = PromptTokens(clip.tokenizer, classnames, tokens, "end", words).slots
        self.prompt_learner = PromptLearner(start, lambda: _constant_embeddings(clip, rows, tokens), boost)

    def trainable(self) -> dict[str, nn.Module]:
        return {"prompt_learner": self.prompt_learner}

    def encode_text(self) -> Tensor:
        return self.text_encoder(self.prompt_learner())


@torch.no_grad()
def _constant_embeddings(clip: LoadedCLIP, rows: list[list[int]], n_ctx: int) -> tuple[Tensor, Tensor]:
    """The embeddings that CoOp saves: the start token, and all that follows the context up to the last position."""
    embedding = text_module(clip.model).token_embedding
    ids = padded_ids(rows, clip.tokenizer.context_length, placeholder=0).to(embedding.weight.device)
    embedded = embedding(ids)
    return embedded[:, :1].clone(), embedded[:, 1 + n_ctx :].clone()
