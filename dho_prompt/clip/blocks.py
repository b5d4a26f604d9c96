"""Pieces of open_clip's residual attention block, for towers that are computed in parts."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def is_plain_block(block: nn.Module) -> bool:
    """Whether a block is attention and MLP, each behind a norm, with nothing else: what the functions here assume."""
    attn = getattr(block, "attn", None)
    return (
        isinstance(attn, nn.MultiheadAttention)
        and attn.in_proj_weight is not None
        and attn.bias_k is None
        and attn.dropout == 0
        and {name for name, _ in block.named_children()} == {"ln_1", "attn", "ls_1", "ln_2", "mlp", "ls_2"}
        and [name for name, _ in block.mlp.named_children()] == ["c_fc", "gelu", "c_proj"]
    )


def in_projection(attn: nn.MultiheadAttention, x: Tensor, first: int = 0, last: int = 3) -> Tensor:
    """Queries (part 0), keys (1) and values (2) of normalised tokens, or some of them.

    Args:
        attn: the block's attention.
        x: (..., width).
        first, last: the parts from ``first`` up to, without, ``last``.

    Returns:
        (..., (last - first) * width), the parts side by side.
    """
    rows = slice(first * attn.embed_dim, last * attn.embed_dim)
    bias = attn.in_proj_bias
    return F.linear(x, attn.in_proj_weight[rows], None if bias is None else bias[rows])


def finish_block(block: nn.Module, x: Tensor, attended: Tensor) -> Tensor:
    """Output projection, residual sums and MLP, with layer scales where the tower has them: (..., width) for both."""
    x = x + block.ls_1(block.attn.out_proj(attended))
    hidden = _activation(block.mlp.gelu, block.mlp.c_fc(block.ln_2(x)))
    return x + block.ls_2(block.mlp.c_proj(hidden))


def _activation(layer: nn.Module, x: Tensor) -> Tensor:
    """The MLP's activation; QuickGELU, x * sigmoid(1.702 x), in a form that keeps one tensor for backward, not two."""
    if type(layer).__name__ == "QuickGELU":
        return F.silu(1.702 * x) / 1.702
    return layer(x)
