"""The published computations, written plainly: every class at full length, every token through every block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dho_prompt.clip.prompts import PromptTokens
from dho_prompt.clip.tower import full_text_features

PART = 100  # classes that go through the text tower at a time; all of a thousand need tens of GiB


class TextFeatures:
    """Text features of a learned context over all positions, and their gradient, in parts of the classes.

    Args:
        clip: a :class:`~dho_prompt.clip.loading.LoadedCLIP`.
        names: the classes.
        n_ctx: context tokens.
    """

    def __init__(self, clip: Any, names: Sequence[str], n_ctx: int) -> None:
        self._clip = clip
        self._slots = PromptTokens(clip.tokenizer, names, n_ctx).slots

    def __call__(self, ctx: Tensor, deep: Sequence[Tensor] = ()) -> Tensor:
        """(classes, d) un-normalised features with their graph."""
        return torch.cat([part(ctx, deep) for part in self.parts()])

    def parts(self) -> list[Callable[..., Tensor]]:
        """The features of ``PART`` classes each."""
        slots = [self._slots[start : start + PART] for start in range(0, len(self._slots), PART)]
        return [lambda ctx, deep=(), s=part: self._features(s, ctx, deep) for part in slots]

    def _features(self, slots: list[list[int]], ctx: Tensor, deep: Sequence[Tensor]) -> Tensor:
        return full_text_features(self._clip.model, self._clip.tokenizer, slots, ctx, deep)

    def backward(self, weight: Tensor, ctx: Tensor, deep: Sequence[Tensor] = ()) -> Tensor:
        """Add the gradient of ``(features * weight).sum()`` to the context, part by part; return the features.

        With the loss's gradient as ``weight`` this is the whole step's pass through the tower, in memory for one part.
        """
        made = []
        for part, rows in zip(self.parts(), weight.split(PART)):
            features = part(ctx, deep)
            (features * rows).sum().backward()
            made.append(features.detach())
        return torch.cat(made)


def prompted_image_features(tower: nn.Module, images: Tensor, prompts: Tensor) -> Tensor:
    """All tokens through all of the tower's blocks; the prompts stand behind the patches."""
    depth, n_ctx, _ = prompts.shape
    patches = tower.conv1(images).flatten(2).transpose(1, 2)
    first = tower.class_embedding.expand(len(images), 1, -1)
    x = torch.cat((first, patches), dim=1) + tower.positional_embedding
    x = tower.ln_pre(torch.cat((x, prompts[0].expand(len(images), -1, -1)), dim=1))
    for index, block in enumerate(tower.transformer.resblocks):
        if 0 < index < depth:
            x = torch.cat((x[:, :-n_ctx], prompts[index].expand(len(images), -1, -1)), dim=1)
        x = block(x)
    return tower.ln_post(x[:, 0]) @ tower.proj


def logits_of(image_features: Tensor, text_features: Tensor, scale: float) -> Tensor:
    """``scale * cos``."""
    return scale * F.normalize(image_features, dim=-1) @ F.normalize(text_features, dim=-1).t()
