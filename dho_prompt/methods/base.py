"""The parts that every adaptation method of a student network consists of."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dho_prompt.students.base import Student
from dho_prompt.students.clip import CLIPStudent


class MethodOutput(NamedTuple):
    """What a method makes of a batch.

    Attributes:
        features: (batch, d) un-normalised image features of all images; a KD head sits on them.
        logits: (labelled, classes) float32 logits of the leading, labelled images.
        extra: what the method adds to its cross-entropy: weighted scalar terms by their name in the log. Empty for
            most methods, and whenever no gradient is computed.
        unlabelled_logits: (unlabelled, classes) of the other images, where they were asked for.
    """

    features: Tensor
    logits: Tensor
    extra: dict[str, Tensor]
    unlabelled_logits: Tensor | None = None


class Method(nn.Module):
    """An adaptation of a student network: image features, class logits, trained parts.

    A new method implements :meth:`trainable` and :meth:`logits`; one that trains within the image tower replaces
    :meth:`encode_image`, and one with a loss of its own :meth:`forward`. One that does something between the epochs
    has :meth:`before_training` and :meth:`after_epoch`, and keeps what that needs in :meth:`extra_state`.

    Args:
        student: the network that is adapted.

    Attributes:
        class_bound: which of the modules that it trains have a part for each class, which means nothing for others.
        frozen_pass: whether a training step also asks the tower as it was before training about its labelled images;
            :meth:`forward` then takes what it says, (labelled, d), as ``frozen_image`` where it is stored.
    """

    class_bound: tuple[str, ...] = ()
    frozen_pass = False

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def trainable(self) -> dict[str, nn.Module]:
        """The modules that training updates and checkpoints hold, by name (checkpoint folder)."""
        raise NotImplementedError

    def encode_image(self, images: Tensor) -> Tensor:
        """(batch, 3, size, size) -> (batch, d) un-normalised image features."""
        return self.student(images)

    def logits(self, features: Tensor) -> Tensor:
        """(batch, d) un-normalised image features -> (batch, classes) float32 logits."""
        raise NotImplementedError

    def forward(self, images: Tensor, labelled: int | None = None, all_logits: bool = False) -> MethodOutput:
        """Features of all images (batch, 3, size, size), logits of the first ``labelled`` (default: all).

        Args:
            all_logits: compute those of the other images too.
        """
        return self.of_features(self.encode_image(images), labelled, all_logits)

    @property
    def keeps_tower(self) -> bool:
        """Whether training leaves the image features as they are, and they are all that it needs of an image."""
        ours = type(self).encode_image is Method.encode_image and type(self).forward is Method.forward
        return ours and not self.student.trainable()

    def of_features(self, features: Tensor, labelled: int | None = None, all_logits: bool = False) -> MethodOutput:
        """:meth:`forward` for (batch, d) image features."""
        logits = self.logits(features if all_logits else features[:labelled])
        return MethodOutput(features, logits[:labelled], {}, logits[labelled:] if all_logits else None)

    def before_training(self, done: int, epochs: int) -> None:
        """Training begins after ``done`` of ``epochs`` epochs, with what a checkpoint held restored."""

    def after_epoch(self, done: int, epochs: int) -> None:
        """The ``done``-th of ``epochs`` epochs is over; its checkpoint is written afterwards."""

    def extra_state(self) -> dict[str, Any]:
        """What else a resumed run needs: tensors and plain values."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`extra_state` gave; other entries in ``state`` are passed over."""


class TextPromptMethod(Method):
    """A method whose classes are the text features of learned prompts: ``exp(logit_scale) * cos(image, text_c)``.

    It implements :meth:`encode_text`.

    Args:
        student: a CLIP; prompts reach into its towers.
    """

    def __init__(self, student: CLIPStudent) -> None:
        super().__init__(student)
        self.clip = student.clip
        self._kept: tuple[Any, Tensor] | None = None  # (state of what is trained, its text features)

    def encode_text(self) -> Tensor:
        """(classes, d) un-normalised text features."""
        raise NotImplementedError

    def text_features(self) -> Tensor:
        """(classes, d) of length 1, float32. Without gradient they are computed once per state of what is trained."""
        if torch.is_grad_enabled():
            return F.normalize(self.encode_text().float(), dim=-1)
        trained = [weight for module in self.trainable().values() for weight in module.parameters()]
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
