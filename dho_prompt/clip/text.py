"""The prompted text encoder: learned context vectors in, class text features out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .layout import RowLayout
from .prompts import PromptTokens, check_tokenizer, token_row
from .shared_prefix import encode_rows
from .tower import TextTower, full_text_features, text_blocks, text_module, why_not_causal


class PromptedTextEncoder(nn.Module):
    """Class text features from learned context vectors (CoOp's prompts), exact and without waste.

    The tower's tensors are shared with ``clip_model`` and stay frozen; this module has no parameters and an empty
    state dict. Towers that are not causal take the full-length pass, after one warning.

    Args:
        clip_model: a frozen open_clip model (``CLIP`` or ``CustomTextCLIP``).
        tokenizer, classnames, n_ctx, position, prefix: see :class:`~dho_prompt.clip.prompts.PromptTokens`.

    Example:
        >>> encoder = PromptedTextEncoder(clip.model, clip.tokenizer, ["cat", "dog"], n_ctx=16)
        >>> ctx = torch.nn.Parameter(0.02 * torch.randn(16, encoder.width))
        >>> text_features = encoder(ctx)  # (2, embed_dim), not normalised
    """

    def __init__(
        self,
        clip_model: nn.Module,
        tokenizer: Any,
        classnames: Sequence[str],
        n_ctx: int,
        position: str = "end",
        prefix: str = "",
    ):
        super().__init__()
        self.prompts = PromptTokens(tokenizer, classnames, n_ctx, position, prefix)
        reason = why_not_causal(clip_model, tokenizer.eot_token_id)
        if reason:
            warnings.warn(f"text features take the full-length pass, which is slower: {reason}", stacklevel=2)
        # a tuple hides the model from nn.Module, which would list its parameters as ours
        self._frozen = (clip_model, tokenizer, None if reason else TextTower(clip_model))
        self._layouts: dict[bool, RowLayout] = {}

    @property
    def width(self) -> int:
        """Length of a context vector."""
        return text_module(self._frozen[0]).positional_embedding.shape[1]

    @property
    def layers(self) -> int:
        """Number of the tower's blocks."""
        return len(text_blocks(self._frozen[0]))

    def forward(self, ctx: Tensor, deep: Sequence[Tensor] = ()) -> Tensor:
        """Text features of all classes.

        Args:
            ctx: (n_ctx, width) for a context that all classes share, (classes, n_ctx, width) for one per class.
            deep: (n_ctx, width) each: deep prompts (IVLP, PromptSRC). Before the second block, the third and so on,
                as many as are given, they replace the hidden states of the context, which all classes share.

        Returns:
            (classes, embed_dim) un-normalised text features; their gradient goes to ``ctx`` and ``deep`` alone.

        Raises:
            ValueError: a shape does not fit, or there are more deep prompts than blocks behind the first.
        """
        classes, n_ctx = len(self.prompts.slots), self.prompts.n_ctx
        if tuple(ctx.shape) not in {(n_ctx, self.width), (classes, n_ctx, self.width)}:
            raise ValueError(
                f"the context has shape {tuple(ctx.shape)}; this encoder takes ({n_ctx}, {self.width}) or, with one "
                f"context per class, ({classes}, {n_ctx}, {self.width})"
            )
        if len(deep):
            self._check_deep(ctx, deep)
        clip_model, tokenizer, tower = self._frozen
        if tower is None:
            return full_text_features(clip_model, tokenizer, self.prompts.slots, ctx, deep)
        return encode_rows(tower, self._layout(ctx.dim() == 3, tower.device), ctx.reshape(-1, self.width), deep)

    def _check_deep(self, ctx: Tensor, deep: Sequence[Tensor]) -> None:
        allowed = (self.prompts.n_ctx, self.width)
        if ctx.dim() == 3 or any(tuple(vectors.shape) != allowed for vectors in deep):
            raise ValueError(f"deep prompts and the context that they go with must each be of shape {allowed}")
        if len(deep) >= self.layers:
            raise ValueError(
                f"deep prompts for {len(deep)} blocks behind the first are given, the text tower has {self.layers - 1}"
            )

    def _layout(self, class_specific: bool, device: torch.device) -> RowLayout:
        if class_specific not in self._layouts:
            self._layouts[class_specific] = RowLayout(self.prompts.slots, class_specific)
        return self._layouts[class_specific].to(device)


def encode_texts(clip_model: nn.Module, tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """Features of plain texts, by the same short way as learned prompts where the tower and its tokenizer allow it.

    Returns:
        (texts, embed_dim) un-normalised text features.

    Raises:
        ValueError: a text has more tokens than the tower reads.
    """
    if not hasattr(tokenizer, "encode") or why_not_causal(clip_model, tokenizer.eot_token_id):
        ids = tokenizer(list(texts)).to(next(clip_model.parameters()).device)
        features = clip_model.encode_text(ids)
        return features[0] if isinstance(features, tuple) else features
    rows = [token_row(tokenizer, text) for text in texts]
    longest = max(range(len(rows)), key=lambda index: len(rows[index]))
    if len(rows[longest]) > tokenizer.context_length:
        raise ValueError(
            f"the text {texts[longest]!r} has {len(rows[longest])} tokens, the text tower reads "
            f"{tokenizer.context_length}; shorten it"
        )
    tower = TextTower(clip_model)
    return encode_rows(tower, RowLayout(rows, class_specific=False).to(tower.device))


def embed_context(clip_model: nn.Module, tokenizer: Any, words: str) -> Tensor:
    """Context vectors that start as the embedding of some words (CoOp's CTX_INIT).

    Args:
        words: for instance ``a photo of a``; ``_`` counts as a space.

    Returns:
        (n_ctx, width) float32, n_ctx the number of words: the embeddings of the first n_ctx tokens.
    """
    words = words.replace("_", " ")
    count = len(words.split())
    if count == 0:
        raise ValueError("CTX_INIT is empty; give words such as 'a photo of a'")
    check_tokenizer(tokenizer)
    embedding = text_module(clip_model).token_embedding
    ids = torch.tensor(tokenizer.encode(words)[:count], device=embedding.weight.device)
    with torch.no_grad():
        return embedding(ids).float()
