"""The parts of an open_clip text tower, whether its attention is causal, and its ordinary full-length pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import is_plain_block
from .prompts import padded_ids


class TextTower:
    """A view of the text tower of an open_clip model (``CLIP`` or ``CustomTextCLIP``): same tensors, no copies.

    It is no ``nn.Module`` on purpose: whoever holds one gains neither parameters nor state-dict entries.
    """

    def __init__(self, clip_model: nn.Module):
        tower = text_module(clip_model)
        self.token_embedding = tower.token_embedding
        self.positional_embedding = tower.positional_embedding
        self.blocks = list(tower.transformer.resblocks)
        self.ln_final = tower.ln_final
        self._tower = tower

    @property
    def dtype(self) -> torch.dtype:
        """The type that hidden states have (that of the linear layers)."""
        return self.blocks[0].mlp.c_fc.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.token_embedding.weight.device

    def project(self, x: Tensor) -> Tensor:
        """(rows, width) -> (rows, embed_dim)."""
        projection = self._tower.text_projection
        if projection is None:
            return x
        return projection(x) if isinstance(projection, nn.Module) else x @ projection


def text_module(clip_model: nn.Module) -> nn.Module:
    """The module that owns the text tower: ``CustomTextCLIP`` keeps it under ``.text``, ``CLIP`` is it."""
    return getattr(clip_model, "text", clip_model)


def text_blocks(clip_model: nn.Module) -> Sequence[nn.Module]:
    """The transformer blocks of a text tower, which take (prompts, positions, width).

    Raises:
        ValueError: the tower is not open_clip's transformer.
    """
    transformer = getattr(text_module(clip_model), "transformer", None)
    if not (hasattr(transformer, "resblocks") and getattr(transformer, "batch_first", False)):
        raise ValueError(
            f"deep text prompts need open_clip's own text transformer, this model has a {type(transformer).__name__}; "
            "choose another model"
        )
    return transformer.resblocks


def why_not_causal(clip_model: nn.Module, eot_token_id: int) -> str:
    """Why the causal shortcuts do not hold for this text tower; an empty string when they hold."""
    tower = text_module(clip_model)
    if getattr(tower, "transformer", None) is None or not hasattr(tower.transformer, "resblocks"):
        return "its text tower is not open_clip's transformer"
    if getattr(tower, "cls_emb", None) is not None:
        return "its text tower pools an extra class token behind the padding (CoCa)"
    mask = getattr(tower, "attn_mask", None)
    if mask is None:
        return "its text tower has no causal mask"
    if not torch.equal(mask, torch.full_like(mask, float("-inf")).triu_(1)):
        return "its text tower's attention mask is not the causal one"
    pool = getattr(tower, "text_pool_type", getattr(tower, "pool_type", "argmax"))
    end = getattr(tower, "text_eos_id", getattr(tower, "eos_id", None))
    if pool != "argmax" and not (pool == "eos" and end == eot_token_id):
        return f"its text tower does not pool the end token (pool type {pool!r})"
    if not all(is_plain_block(block) for block in tower.transformer.resblocks):
        return "its text tower has non-standard transformer blocks"
    return ""


def full_text_features(
    clip_model: nn.Module,
    tokenizer: Any,
    slots: Sequence[Sequence[int]],
    ctx: Tensor | None = None,
    deep: Sequence[Tensor] = (),
) -> Tensor:
    """Text features by the tower's own pass over all positions (77 for CLIP), whatever the tower is.

    This is the way for towers that are not causal, and the reference that the short way is measured against.

    Args:
        clip_model: the open_clip model.
        tokenizer: see ``PromptTokens``.
        slots: the prompts, see ``PromptTokens``.
        ctx: (n_ctx, width) or (prompts, n_ctx, width) context vectors; None when the prompts have none.
        deep: (n_ctx, width) each, see :meth:`~dho_prompt.clip.text.PromptedTextEncoder.forward`.

    Returns:
        (prompts, embed_dim) un-normalised text features.

    Raises:
        ValueError: deep prompts on a tower that is not open_clip's transformer.
    """
    embedding = _embedding(clip_model)
    device = embedding.weight.device
    ids = padded_ids(slots, tokenizer.context_length, placeholder=tokenizer.encode("X")[0]).to(device)
    if ctx is None:
        return _features(clip_model.encode_text(ids))

    rows = padded_ids([[max(-slot, 0) for slot in row] for row in slots], tokenizer.context_length, 0).to(device)
    spliced = embedding(ids)
    prompt, position = rows.nonzero(as_tuple=True)
    vector = rows[prompt, position] - 1
    values = ctx[vector] if ctx.dim() == 2 else ctx[prompt, vector]
    spliced = spliced.index_put((prompt, position), values.to(spliced.dtype))
    with ExitStack() as hooks:
        hooks.enter_context(_replaced_output(embedding, spliced))
        for block, vectors in zip(text_blocks(clip_model)[1:] if len(deep) else (), deep):
            hooks.enter_context(_replaced_rows(block, prompt, position, vectors[vector]))
        return _features(clip_model.encode_text(ids))


def _embedding(clip_model: nn.Module) -> nn.Module:
    tower = text_module(clip_model)
    if hasattr(tower, "token_embedding"):
        return tower.token_embedding
    return tower.transformer.get_input_embeddings()  # a Hugging Face text tower


def _features(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def _replaced_output(module: nn.Module, value: Tensor) -> Iterator[None]:
    handle = module.register_forward_hook(lambda *_: value)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _replaced_rows(block: nn.Module, prompt: Tensor, position: Tensor, values: Tensor) -> Iterator[None]:
    """Let a block read ``values`` (rows, width) at the given places of its input (prompts, positions, width)."""

    def replace(_: nn.Module, inputs: tuple) -> tuple:
        return (inputs[0].index_put((prompt, position), values.to(inputs[0].dtype)), *inputs[1:])

    handle = block.register_forward_pre_hook(replace)
    try:
        yield
    finally:
        handle.remove()
