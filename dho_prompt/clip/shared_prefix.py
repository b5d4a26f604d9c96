"""A causal text tower computed without waste, exactly.

In a causal tower no token sees what follows it. Hence (1) nothing behind the end token matters; (2) the beginning that
all prompts share has the same hidden states in each of them: it is computed once, and every prompt's own tokens attend
to its keys and values; (3) the last block is needed for the end tokens only. The result equals the full computation
over all positions up to rounding. Deep prompts change none of this: what replaces the context's hidden states is the
same for every prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import finish_block, in_projection
from .layout import Group, RowLayout
from .tower import TextTower


def encode_rows(tower: TextTower, layout: RowLayout, ctx: Tensor | None = None, deep: Sequence[Tensor] = ()) -> Tensor:
    """Text features of the prompts of a layout.

    Args:
        tower: a causal text tower.
        layout: which tokens to compute, on the tower's device.
        ctx: (vectors, width) the context vectors that ``layout.context_index`` points into, if there are any.
        deep: per block from the second on, as many as there are, (vectors, width): what the context's hidden states
            are replaced by before that block.

    Returns:
        (prompts, embed_dim) un-normalised text features, in the order of the prompts.
    """
    x = tower.token_embedding(layout.token_ids).to(tower.dtype)
    if ctx is not None:
        x = _with_context(x, layout, ctx)
    x = x + tower.positional_embedding[layout.positions].to(x.dtype)
    masks = [_causal_mask(layout.shared, group.length, x.device) for group in layout.groups]
    for index, block in enumerate(tower.blocks):
        if 0 < index <= len(deep):
            x = _with_context(x, layout, deep[index - 1])
        last = index == len(tower.blocks) - 1
        x = _last_block(block, x, layout) if last else _block(block, x, layout, masks)
    return tower.project(tower.ln_final(x)).index_select(0, layout.restore)


def _with_context(x: Tensor, layout: RowLayout, vectors: Tensor) -> Tensor:
    return x.index_copy(0, layout.context_rows, vectors.to(x.dtype).index_select(0, layout.context_index))


def _block(block: nn.Module, x: Tensor, layout: RowLayout, masks: list[Tensor]) -> Tensor:
    """One residual attention block on all rows (rows, width)."""
    attn = block.attn
    qkv = in_projection(attn, block.ln_1(x))
    q, shared_k, shared_v = _split_heads(qkv, Group(0, 1, layout.shared), attn.num_heads, 3)
    attended = [_merge_heads(F.scaled_dot_product_attention(q, shared_k, shared_v, is_causal=True))]
    for group, mask in zip(layout.groups, masks):
        q, k, v = _split_heads(qkv, group, attn.num_heads, 3)
        attended.append(_merge_heads(_attend(q, k, v, shared_k[:, 0], shared_v[:, 0], mask)))
    return finish_block(block, x, torch.cat(attended))


def _last_block(block: nn.Module, x: Tensor, layout: RowLayout) -> Tensor:
    """The last block on the end tokens alone: (rows, width) -> (prompts, width), in the order of the groups."""
    attn = block.attn
    h = block.ln_1(x)
    kv = in_projection(attn, h, first=1)
    end_q = in_projection(attn, h.index_select(0, layout.end_rows), last=1)
    shared_k, shared_v = _split_heads(kv, Group(0, 1, layout.shared), attn.num_heads, 2)
    attended, first = [], 0
    for group in layout.groups:
        (q,) = _split_heads(end_q, Group(first, group.count, 1), attn.num_heads, 1)
        k, v = _split_heads(kv, group, attn.num_heads, 2)
        no_mask = q.new_zeros(1, dtype=torch.float32)  # an end token sees the whole prompt
        attended.append(_merge_heads(_attend(q, k, v, shared_k[:, 0], shared_v[:, 0], no_mask)))
        first += group.count
    return finish_block(block, x.index_select(0, layout.end_rows), torch.cat(attended))


def _attend(q: Tensor, k: Tensor, v: Tensor, shared_k: Tensor, shared_v: Tensor, mask: Tensor) -> Tensor:
    """Attention of own tokens to the shared beginning and, causally, to their own prompt; one joint softmax.

    Shapes: q (heads, prompts, queries, d), k and v (heads, prompts, length, d), shared_k and shared_v
    (heads, shared, d), mask float32 (queries, shared + length) or broadcastable. Returns the shape of q.
    """
    heads, prompts, queries, d = q.shape
    shared = shared_k.shape[1]
    to_shared = torch.bmm(q.reshape(heads, prompts * queries, d), shared_k.transpose(1, 2))
    to_own = torch.matmul(q, k.transpose(2, 3))
    scores = torch.cat((to_shared.view(heads, prompts, queries, shared), to_own), dim=3)
    # the float32 mask lifts half-precision scores to float32 for the softmax
    weights = torch.add(mask, scores, alpha=d**-0.5).softmax(dim=3).to(v.dtype)
    from_shared = torch.bmm(weights[..., :shared].reshape(heads, prompts * queries, shared), shared_v)
    return from_shared.view(heads, prompts, queries, d) + torch.matmul(weights[..., shared:], v)


def _split_heads(packed: Tensor, group: Group, heads: int, parts: int) -> Tensor:
    """Rows of a group, (rows, parts * width), as (parts, heads, prompts, length, d).

    The contiguous copy is what backward keeps; the packed original is freed.
    """
    rows = packed[group.start : group.start + group.count * group.length]
    split = rows.view(group.count, group.length, parts, heads, -1)
    return split.permute(2, 3, 0, 1, 4).contiguous()


def _merge_heads(x: Tensor) -> Tensor:
    """(heads, prompts, length, d) -> (prompts * length, width)."""
    heads, prompts, length, d = x.shape
    return x.permute(1, 2, 0, 3).reshape(prompts * length, heads * d)


def _causal_mask(shared: int, length: int, device: torch.device) -> Tensor:
    """Additive float32 mask (length, shared + length): own tokens see the beginning and their own past."""
    mask = torch.full((length, length), float("-inf"), device=device).triu_(1)
    return F.pad(mask, (shared, 0))
