"""The parts that every adaptation method of CLIP consists of."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dho_prompt.clip.loading import LoadedCLIP


class MethodOutput(NamedTuple):
    """What a method makes of a batch.

    Attributes:
        features: (batch, d) un-normalised image features of all images; a KD head sits on them.
        logits: (labelled, classes) float32 logits of the leading, labelled images.
        extra: what the method adds to its cross-entropy: weighted scalar terms by their name in the log. Empty for
            most methods, and whenever no gradient is computed.
    """

    features: Tensor
    logits: Tensor
    extra: Dict[str, Tensor]


class Method(nn.Module):
    """An adaptation of a frozen CLIP: image features, class logits, trained parts.

    A new method implements :meth:`trainable` and :meth:`logits`; one that trains within the image tower replaces
    :meth:`encode_image`, and one with a loss of its own :meth:`forward`.

    Args:
        clip: the student CLIP, frozen.
    """

    def __init__(self, clip: LoadedCLIP) -> None:
        super().__init__()
        self.clip = clip

    def trainable(self) -> List[Tuple[str, nn.Module]]:
        """Names (checkpoint folders) and modules that training updates and checkpoints hold."""
        raise NotImplementedError

    def encode_image(self, images: Tensor) -> Tensor:
        """(batch, 3, size, size) -> (batch, d) un-normalised image features; no gradient, the tower is frozen."""
        with torch.no_grad():
            return self.clip.encode_image(images)

    def logits(self, features: Tensor) -> Tensor:
        """(batch, d) un-normalised image features -> (batch, classes) float32 logits."""
        raise NotImplementedError

    def forward(self, images: Tensor, labelled: Optional[int] = None) -> MethodOutput:
        """Features of all images (batch, 3, size, size), logits of the first ``labelled`` (default: all)."""
        features = self.encode_image(images)
        return MethodOutput(features, self.logits(features[:labelled]), {})


class TextPromptMethod(Method):
    """A method whose classes are the text features of learned prompts: ``exp(logit_scale) * cos(image, text_c)``.

    It implements :meth:`encode_text`.
    """

    def __init__(self, clip: LoadedCLIP) -> None:
        super().__init__(clip)
        self._kept: Optional[Tuple[Any, Tensor]] = None  # (state of what is trained, its text features)

    def encode_text(self) -> Tensor:
        """(classes, d) un-normalised text features."""
        raise NotImplementedError

    def text_features(self) -> Tensor:
        """(classes, d) of length 1, float32. Without gradient they are computed once per state of what is trained."""
        if torch.is_grad_enabled():
            return F.normalize(self.encode_text().float(), dim=-1)
        trained = [weight for _, module in self.trainable() for weight in module.parameters()]
        # every in-place update and every load counts _version up
        state = [(id(weight), weight._version, weight.device) for weight in trained]
        if self._kept is None or self._kept[0] != state:
            self._kept = (state, F.normalize(self.encode_text().float(), dim=-1))
        return self._kept[1]

    def logits(self, features: Tensor) -> Tensor:
        return cosine_logits(features, self.text_features(), self.clip.logit_scale)


def cosine_logits(features: Tensor, text_features: Tensor, logit_scale: float) -> Tensor:
    """``logit_scale * cos(image, text_c)``: CLIP's class logits.

    Args:
        features: (batch, d) un-normalised image features of any floating dtype.
        text_features: (classes, d), float32 and of length 1.
        logit_scale: exp of CLIP's learned scale, 1 / zeta.

    Returns:
        (batch, classes) float32.
    """
    with torch.autocast(features.device.type, enabled=False):
        return logit_scale * F.normalize(features.float(), dim=-1) @ text_features.t()
