"""The prompted towers alone, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import Case
from benchmarks.published import TextFeatures, prompted_image_features
from benchmarks.towers import class_names, random_clip
from dho_prompt.clip.layout import RowLayout
from dho_prompt.clip.prompted_vision import PromptedVisionEncoder
from dho_prompt.clip.text import PromptedTextEncoder


def text(args: Any, classes: int | None = None, n_ctx: int | None = None, depth: int | None = None) -> Case:
    """Text features of all classes from a learned context, with a context of its own in each of ``depth`` blocks."""
    classes, n_ctx, depth = classes or args.classes, n_ctx or args.n_ctx, depth or args.depth
    clip = random_clip("ViT-B-16-quickgelu", args.device, args.small, image=False)
    names = class_names(classes)
    encoder = PromptedTextEncoder(clip.model, clip.tokenizer, names, n_ctx)
    full = TextFeatures(clip, names, n_ctx)
    ctx = nn.Parameter(0.02 * torch.randn(depth, n_ctx, encoder.width, device=args.device))
    weight = torch.linspace(-1, 1, classes * clip.embed_dim, device=args.device).view(classes, -1)

    def published() -> dict[str, Tensor]:
        ctx.grad = None
        return {"features": full.backward(weight, ctx[0], ctx[1:]), "gradient": ctx.grad}

    few = min(classes, 100)  # what the published way keeps grows with the classes; it is measured on these and scaled
    sample = TextFeatures(clip, names[:few], n_ctx)
    tokens = RowLayout(encoder.prompts.slots, False).token_ids.numel()
    return Case(
        f"text tower, {classes} classes, depth {depth}",
        {"classes": classes, "n_ctx": n_ctx, "depth": depth, "tokens": tokens, "positions": 77 * classes},
        lambda: _gradient(lambda: encoder(ctx[0], ctx[1:]), ctx, weight),
        published,
        goal=None if depth > 1 else 20.0 if classes <= 100 else 15.0,
        weights=[clip.model],
        forwards=[lambda: encoder(ctx[0], ctx[1:])] + ([lambda: sample(ctx[0], ctx[1:])] if few == classes else []),
        note="" if classes <= 100 else "published: 100 classes at a time",
    )


def image(args: Any, batch: int | None = None, depth: int | None = None, n_ctx: int = 4) -> Case:
    """Image features under learned visual prompts, in each of ``depth`` blocks."""
    batch, depth = batch or args.batch, depth or (3 if args.small else 9)
    clip = random_clip("ViT-B-16-quickgelu", args.device, args.small, text=False)
    encoder = PromptedVisionEncoder(clip.model, n_ctx, depth)
    prompts = nn.Parameter(0.02 * torch.randn(depth, n_ctx, encoder.width, device=args.device))
    images = torch.randn(batch, 3, clip.image_size, clip.image_size, device=args.device)
    weight = torch.linspace(-1, 1, batch * clip.embed_dim, device=args.device).view(batch, -1)
    ours, full = (
        lambda: encoder(images, prompts),
        lambda: prompted_image_features(clip.model.visual, images, prompts),
    )
    return Case(
        f"image tower with prompts, batch {batch}, depth {depth}",
        {"batch": batch, "n_ctx": n_ctx, "depth": depth},
        lambda: _gradient(ours, prompts, weight),
        lambda: _gradient(full, prompts, weight),
        weights=[clip.model],
        forwards=[ours, full],
    )


def _gradient(forward: Callable[[], Tensor], prompts: nn.Parameter, weight: Tensor) -> dict[str, Tensor]:
    """A fixed loss whose gradient reaches every feature."""
    prompts.grad = None
    features = forward()
    (features * weight).sum().backward()
    return {"features": features.detach(), "gradient": prompts.grad}
