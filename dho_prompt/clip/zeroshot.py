"""Zero-shot class features: the template ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .text import encode_texts


@torch.no_grad()
def class_text_features(
    clip: Any,
    classnames: Sequence[str],
    templates: Sequence[str],
    batch: int = 250,
    normalize_each: bool = True,
    unit: bool = True,
) -> Tensor:
    """Mean text feature of each class over templates.

    Each template's feature is normalised, the mean over templates is normalised again (the DHO paper's teacher, and
    CLIP's own prompt ensembling).

    Args:
        clip: a :class:`~dho_prompt.clip.loading.LoadedCLIP`, or anything with ``model`` and ``tokenizer``.
        classnames: one name per class; ``_`` counts as a space.
        templates: texts with one ``{}`` each.
        batch: classes computed at once.
        normalize_each: False takes the mean over the features as they are, as PromptSRC does.
        unit: False leaves the mean as long as it is.

    Returns:
        (classes, embed_dim) float32, of length 1 unless ``unit`` is False.

    Raises:
        ValueError: no classes, no templates, or a template without ``{}``.
    """
    if len(classnames) == 0 or len(templates) == 0:
        raise ValueError(f"{len(classnames)} class names and {len(templates)} templates given; both need at least one")
    for template in templates:
        if "{}" not in template:
            raise ValueError(f"the template {template!r} has no {{}} for the class name")
    names = [name.replace("_", " ") for name in classnames]
    sums = []
    for start in range(0, len(names), batch):
        part = names[start : start + batch]
        texts = [[template.replace("{}", name) for name in part] for template in templates]
        per_template = torch.stack([encode_texts(clip.model, clip.tokenizer, text).float() for text in texts])
        sums.append((F.normalize(per_template, dim=2) if normalize_each else per_template).mean(0))
    return F.normalize(torch.cat(sums), dim=1) if unit else torch.cat(sums)
