"""Image features of a frozen tower: the last transformer block for the class token alone, exactly.

Nothing reads the patches after the last block. Without them it needs the keys and values of all tokens, but one query
and one row of the MLP: at 12 blocks and 197 tokens that saves about a fifteenth of the tower's work.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .prompted_vision import embed, last_block, why_not_promptable


@torch.no_grad()
def frozen_image_features(clip_model: nn.Module, images: Tensor) -> Tensor:
    """(batch, 3, size, size) -> (batch, embed_dim) un-normalised image features, without gradient.

    They equal the tower's own up to rounding (about 1e-6 of their size in float32). A tower that is no plain vision
    transformer read out at its class token, or is in training mode, is computed as it is.

    Args:
        clip_model: an open_clip model.
        images: in the dtype of the tower's weights.
    """
    tower = clip_model.visual
    if tower.training or why_not_promptable(tower) or not getattr(tower.transformer, "batch_first", False):
        return clip_model.encode_image(images)
    x = tower.ln_pre(embed(tower, images))
    *blocks, last = tower.transformer.resblocks
    for block in blocks:
        x = block(x)
    x = tower.ln_post(last_block(last, x))
    return x if tower.proj is None else x @ tower.proj
