"""What every student network offers, whatever its kind."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dho_prompt.data.batches.views import View


class Student(nn.Module):
    """Images -> features; the protocol that methods and heads build on.

    A subclass sets the attributes and implements :meth:`forward`.

    Attributes:
        view: how it sees an image: side length, mean and standard deviation.
        embed_dim: length of its features.
        zeta: temperature of its own cosine logits (a CLIP's ``1 / exp(logit_scale)``), or None if it has none.
    """

    view: View
    embed_dim: int
    zeta: float | None = None

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, size, size), normalised as :attr:`view` says -> (batch, embed_dim) un-normalised features."""
        raise NotImplementedError

    def text_features(self, classnames: Sequence[str], templates: Sequence[str], unit: bool = True) -> Tensor | None:
        """(classes, embed_dim) float32 features of the class names; None from a network without a text tower.

        Args:
            unit: each template's feature at length 1, and their mean too (the zero-shot classifier); False for the
                mean of the features as the tower gives them.
        """
        return None

    def trainable(self) -> dict[str, nn.Module]:
        """What of it is trained, by checkpoint folder; nothing for a frozen network."""
        return {}
