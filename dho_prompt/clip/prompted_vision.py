"""A vision transformer with learned tokens among the patches, computed without waste, exactly.

Attention has no order: where the prompt tokens stand does not matter, so they need not be laid beside the patches
before they meet them in attention. Hence (1) while a block's prompts are replaced before the next block, they give
keys and values only, once for the whole batch: no queries, no MLP; (2) the last block is needed for the class token
only; (3) the weights are frozen, and what comes before the first prompts needs no gradient at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import finish_block, in_projection, is_plain_block


class PromptedVisionEncoder(nn.Module):
    """Image features of a CLIP vision transformer under learned visual prompts (Jia et al., VPT, ECCV 2022).

    As in the CoOp family (IVLP, PromptSRC): the first prompts join the embedded patches, without positions, before
    ``ln_pre``; in blocks 1 .. depth - 1 the prompts of that block take the place of the previous block's. The class
    token is read out.

    The tower's tensors are shared with ``clip_model`` and stay frozen; this module has no parameters and an empty
    state dict. It follows the tower's precision and autocast.

    Args:
        clip_model: a frozen open_clip model.
        n_ctx: prompt tokens of a block; 0 gives the tower's own features.
        depth: blocks that have prompts of their own: 1 is shallow prompting.

    Raises:
        ValueError: the image tower is no vision transformer that is read out at its class token, or has fewer than
            ``depth`` blocks.

    Example:
        >>> encoder = PromptedVisionEncoder(clip.model, n_ctx=4, depth=9)
        >>> prompts = torch.nn.Parameter(0.02 * torch.randn(9, 4, encoder.width))
        >>> features = encoder(images, prompts)  # (batch, embed_dim), not normalised
    """

    def __init__(self, clip_model: nn.Module, n_ctx: int, depth: int = 1):
        super().__init__()
        tower = clip_model.visual
        reason = why_not_promptable(tower)
        if reason:
            raise ValueError(
                f"visual prompts need a vision transformer that is read out at its class token, such as CLIP's "
                f"ViT-B/32, ViT-B/16 or ViT-L/14; {reason}"
            )
        layers = len(tower.transformer.resblocks)
        if n_ctx < 0:
            raise ValueError(f"n_ctx is {n_ctx}; the number of visual prompt tokens is at least 0")
        if not 1 <= depth <= layers:
            raise ValueError(
                f"the depth of the visual prompts is {depth}; the image tower has {layers} blocks (1-{layers})"
            )
        self.n_ctx, self.depth = n_ctx, depth
        self._tower = (tower,)  # a tuple hides it from nn.Module, which would list its parameters as ours

    @property
    def width(self) -> int:
        """Length of a prompt vector."""
        return self._tower[0].class_embedding.shape[0]

    def forward(self, images: Tensor, prompts: Tensor | Sequence[Tensor]) -> Tensor:
        """Image features.

        Args:
            images: (batch, 3, size, size).
            prompts: (depth, n_ctx, width), or as many tensors of (n_ctx, width), of any floating dtype.

        Returns:
            (batch, embed_dim) un-normalised image features; their gradient goes to ``prompts`` alone.
        """
        (tower,) = self._tower
        self._check(prompts)
        x = tower.ln_pre(embed(tower, images))
        tokens = [block_prompts.to(x.dtype) for block_prompts in prompts]
        tokens[0] = tower.ln_pre(tokens[0])
        *blocks, last = tower.transformer.resblocks
        for index, block in enumerate(blocks):
            x = _block(block, x, tokens[index] if index < self.depth else None, keep=index == self.depth - 1)
        x = last_block(last, x, tokens[-1] if len(blocks) < self.depth else None)
        x = tower.ln_post(x)
        return x if tower.proj is None else x @ tower.proj

    def _check(self, prompts: Tensor | Sequence[Tensor]) -> None:
        shapes = [tuple(block_prompts.shape) for block_prompts in prompts]
        if shapes != [(self.n_ctx, self.width)] * self.depth:
            raise ValueError(
                f"the visual prompts have shapes {shapes}; this encoder takes {self.depth} of ({self.n_ctx}, "
                f"{self.width})"
            )


def why_not_promptable(tower: nn.Module) -> str:
    """Why an image tower cannot take visual prompts; an empty string when it can."""
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", None)
    if blocks is None or not isinstance(getattr(tower, "conv1", None), nn.Conv2d) or not hasattr(tower, "ln_pre"):
        return f"this model's image tower is a {type(tower).__name__}"
    if getattr(tower, "attn_pool", None) is not None:
        return "this model's image tower has an attentional pool"
    if getattr(tower, "pool_type", "tok") != "tok" or getattr(tower, "global_average_pool", False):
        return f"this model's image tower averages its tokens (pool type {getattr(tower, 'pool_type', 'avg')!r})"
    if not all(is_plain_block(block) for block in blocks):
        return "this model's image tower has non-standard transformer blocks"
    return ""


def embed(tower: nn.Module, images: Tensor) -> Tensor:
    """(batch, 3, size, size) -> (batch, 1 + patches, width): class token and patches with their positions."""
    patches = tower.conv1(images.to(tower.conv1.weight.dtype)).flatten(2).transpose(1, 2)
    first = tower.class_embedding.to(patches.dtype).expand(len(images), 1, -1)
    x = torch.cat((first, patches), dim=1) + tower.positional_embedding.to(patches.dtype)
    return tower.patch_dropout(x) if hasattr(tower, "patch_dropout") else x


def _block(block: nn.Module, x: Tensor, prompts: Tensor | None, keep: bool) -> Tensor:
    """A block on (batch, tokens, width) and, for all images alike, (n_ctx, width) prompts.

    With ``keep`` the prompts go on as further tokens behind the others; without, they are left behind.
    """
    normed = block.ln_1(x)
    if prompts is None:
        q, k, v = in_projection(block.attn, normed).chunk(3, dim=-1)
    else:
        beside = block.ln_1(prompts)
        q = in_projection(block.attn, normed, last=1)
        if keep:
            q = _join(q, in_projection(block.attn, beside, last=1))
            x = _join(x, prompts)
        k, v = _join(in_projection(block.attn, normed, first=1), in_projection(block.attn, beside, first=1)).chunk(
            2, -1
        )
    return finish_block(block, x, _attention(block, q, k, v))


def last_block(block: nn.Module, x: Tensor, prompts: Tensor | None = None) -> Tensor:
    """The last block for the class token alone: (batch, tokens, width) -> (batch, width)."""
    normed = block.ln_1(x)
    q = in_projection(block.attn, normed[:, :1], last=1)
    kv = in_projection(block.attn, normed, first=1)
    if prompts is not None:
        kv = _join(kv, in_projection(block.attn, block.ln_1(prompts), first=1))
    return finish_block(block, x[:, 0], _attention(block, q, *kv.chunk(2, dim=-1))[:, 0])


def _join(x: Tensor, shared: Tensor) -> Tensor:
    """(batch, tokens, d) and (n, d) -> (batch, tokens + n, d)."""
    return torch.cat((x, shared.expand(len(x), -1, -1)), dim=1)


def _attention(block: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Multi-head attention: (batch, queries, width), keys and values (batch, tokens, width) -> shape of q."""
    q, k, v = (part.unflatten(-1, (block.attn.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
