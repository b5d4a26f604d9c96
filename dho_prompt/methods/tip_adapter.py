"""Tip-Adapter: a cache of the labelled images' features beside zero-shot CLIP (Zhang et al., ECCV 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dho_prompt.config import PRECISIONS, Setting, declare
from dho_prompt.config.ranges import Number, Whole, templates
from dho_prompt.methods.base import Method
from dho_prompt.students.clip import CLIPStudent

STARTS = {  # alpha that Tip-Adapter starts from, and how far alpha and beta are searched
    "ImageNet": (1.17, 3.0, 7.0),
    "Caltech101": (3.0, 5.0, 12.0),
    "OxfordPets": (1.17, 3.0, 7.0),
    "StanfordCars": (3.0, 10.0, 20.0),
    "OxfordFlowers": (10.0, 50.0, 50.0),
    "Food101": (1.17, 10.0, 10.0),
    "FGVCAircraft": (5.0, 30.0, 30.0),
    "SUN397": (1.17, 10.0, 12.0),
    "DescribableTextures": (2.0, 13.0, 13.0),
    "EuroSAT": (2.0, 10.0, 12.0),
    "UCF101": (3.0, 3.0, 7.0),
}
OTHERS = (1.17, 10.0, 12.0)  # for sets that it was not published for
STEPS = (20, 200)  # values of alpha and of beta in the search, from 0.1

declare(
    "TRAINER.TIP_ADAPTER",
    {
        "PREC": Setting("fp32", "of the frozen tower; the cache is in fp32", PRECISIONS),
        "ALPHA": Setting(
            0.0,
            "weight of the cache before it is searched",
            Number(0, 1000, open_least=True, special=0, meaning="Tip-Adapter's of the data set"),
        ),
        "BETA": Setting(1.0, "sharpness of the cache before it is searched", Number(0.001, 1000)),
        "EPS": Setting(1e-4, "AdamW's epsilon; keys have small gradients, so it matters", Number(1e-12, 1)),
        "PASSES": Setting(10, "augmented passes over the labelled images that a key is the mean of", Whole(1, 1000)),
        "SEARCH": Setting(True, "search alpha and beta where there is a validation set that is not the test set"),
        "TEMPLATES": Setting((), "prompt templates of zero-shot CLIP", templates("those of the data set")),
    },
)


class Cache(nn.Module):
    """``cos(z, text_c) / zeta + alpha sum_n exp(-beta (1 - z.K_n)) [n is of class c]``.

    Args:
        text_features: (classes, d) of length 1.
        labels: (images,) of the labelled images.
        zeta: temperature > 0 of the zero-shot part.
        alpha, beta: of the cache, >= 0.

    Attributes:
        keys: (images, d), one per labelled image; trained in Tip-Adapter-F. Zero until :meth:`fill`.
    """

    def __init__(self, text_features: Tensor, labels: Tensor, zeta: float, alpha: float, beta: float) -> None:
        super().__init__()
        classes, width = text_features.shape
        self.keys = nn.Parameter(torch.zeros(len(labels), width))
        self.register_buffer("text", text_features.detach().float().clone())
        self.register_buffer("values", F.one_hot(labels, classes).t().float())  # a row for each class
        for name, value in (("zeta", zeta), ("alpha", alpha), ("beta", beta)):
            self.register_buffer(name, torch.tensor(float(value), dtype=torch.float64))

    @torch.no_grad()
    def fill(self, features: Tensor) -> None:
        """Take (images, d) features as keys, at length 1."""
        self.keys.copy_(F.normalize(features.float(), dim=-1))

    def parts(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Zero-shot logits (batch, classes) and affinities z.K (batch, images) of un-normalised features."""
        z = F.normalize(features.float(), dim=-1)
        return z @ self.text.t() / self.zeta.float(), z @ self.keys.t()

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return self.mixed(*self.parts(features), self.alpha.float(), self.beta.float())

    def mixed(self, zero_shot: Tensor, affinities: Tensor, alpha: Any, beta: Any) -> Tensor:
        """What :meth:`parts` gave, with an alpha and a beta."""
        return zero_shot + alpha * torch.exp(-beta * (1 - affinities)) @ self.values.t()

    @torch.no_grad()
    def search(self, features: Tensor, labels: Tensor, most_alpha: float, most_beta: float) -> float:
        """Choose alpha and beta on *validation* images, never on test images.

        The best of a grid of accuracies; of equal ones the nearest to the present alpha, then to the present beta.

        Args:
            features: (images, d).
            labels: (images,).
            most_alpha, most_beta: ends of the grid.

        Returns:
            The accuracy there, a fraction.
        """
        features, labels = features.to(self.keys.device), labels.to(self.keys.device)
        zero_shot, affinities = self.parts(features)
        start = self.alpha.item(), self.beta.item()
        best = None
        for beta in [0.1 + (most_beta - 0.1) / STEPS[1] * step for step in range(STEPS[1])] + [start[1]]:
            cached = torch.exp(-beta * (1 - affinities)) @ self.values.t()
            for alpha in [0.1 + (most_alpha - 0.1) / STEPS[0] * step for step in range(STEPS[0])] + [start[0]]:
                right = int(((zero_shot + alpha * cached).argmax(1) == labels).sum())
                key = (-right, abs(alpha - start[0]), abs(beta - start[1]))
                if best is None or key < best[0]:
                    best = key, alpha, beta
        self.alpha.fill_(best[1])
        self.beta.fill_(best[2])
        return -best[0][0] / len(labels)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """A cache of another number of images of the same classes has its own size."""
        keys, values = state_dict.get(f"{prefix}keys"), state_dict.get(f"{prefix}values")
        fits = keys is not None and values is not None and keys.dim() == values.dim() == 2
        if fits and len(keys) == values.shape[1] and keys.shape[1] == self.keys.shape[1]:
            if len(keys) != len(self.keys):  # an optimiser holds on to the parameter
                self.keys = nn.Parameter(torch.zeros_like(keys), self.keys.requires_grad)
            self.values = self.values.new_zeros(len(self.values), len(keys))
        super()._load_from_state_dict(state_dict, prefix, *args)


class TipAdapterMethod(Method):
    """Zero-shot CLIP and a cache of the labelled images.

    Args:
        student: the CLIP, frozen.
        cache: see :class:`Cache`.
        fine_tunes: train the keys (Tip-Adapter-F), or leave them (Tip-Adapter).
    """

    class_bound = ("adapter",)

    def __init__(self, student: CLIPStudent, cache: Cache, fine_tunes: bool = True) -> None:
        super().__init__(student)
        self.cache = cache
        self.cache.keys.requires_grad_(fine_tunes)

    def trainable(self) -> dict[str, nn.Module]:
        return {"adapter": self.cache}

    def logits(self, features: Tensor) -> Tensor:
        return self.cache(features)


def starts(dataset: str) -> tuple[float, float, float]:
    """Alpha to start from, and the ends of alpha's and beta's search, for a data set's name."""
    return STARTS.get(dataset, OTHERS)


def as_published(cache: Cache, classnames: Sequence[str]) -> dict[str, Any]:
    """The dictionary that the published DHO code reads of a few-shot teacher, and the names of the classes.

    ``adapter_weight`` (images, d), ``cache_keys`` (d, images), ``cache_values`` (images, classes), ``clip_weights``
    (d, classes), ``best_alpha``, ``best_beta``.
    """
    keys = cache.keys.detach().cpu().clone()
    return {
        "adapter_weight": keys,
        "best_alpha": cache.alpha.item(),
        "best_beta": cache.beta.item(),
        "cache_keys": keys.t().contiguous(),
        "cache_values": cache.values.t().contiguous().cpu(),
        "clip_weights": cache.text.t().contiguous().cpu(),
        "classnames": list(classnames),
    }
