"""What every training objective offers, whatever its terms."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from dho_prompt.inference import Prediction, probabilities
from dho_prompt.methods.base import MethodOutput
from dho_prompt.teachers.base import Teacher

KD_HEAD = "kd_head"  # name of the registered model and of its checkpoint folder


class Terms(NamedTuple):
    """A loss.

    Attributes:
        total: the scalar to differentiate.
        parts: further scalars for the log, by their names there.
    """

    total: Tensor
    parts: dict[str, Tensor]


class Objective(nn.Module):
    """Features, logits and teacher logits -> named loss terms; logits -> predictions. It owns its heads.

    A subclass implements :meth:`forward`; one with heads of its own says so in :meth:`trainable` and gives their
    logits in :meth:`logits`, and one that mixes heads replaces :meth:`predict`.

    Attributes:
        name: its name in TRAINER.DHO.OBJECTIVE and in result files.
        needs_teacher: whether it learns from teacher logits; without, none is loaded.
        needs_teacher_features: whether it learns from the teacher's image features too.
        needs_all_logits: whether it trains the method's own logits on unlabelled images
            (:attr:`~dho_prompt.methods.base.MethodOutput.unlabelled_logits`).
        mix: what :meth:`predict` mixes the heads with, as JSON values with a sentence under ``chosen``; None for an
            objective with nothing to choose.
        searches: whether :meth:`search` is to choose the mix on validation data.
    """

    name = ""
    needs_teacher = True
    needs_teacher_features = False
    needs_all_logits = False
    mix: dict[str, Any] | None = None
    searches = False

    def trainable(self) -> dict[str, nn.Module]:
        """Modules that are trained beside the method, by name (checkpoint folder)."""
        return {}

    def class_bound(self) -> tuple[str, ...]:
        """Which of :meth:`trainable` have a row for each class."""
        return tuple(self.trainable())

    def align(self, teacher: Teacher) -> None:
        """Take over what a head shares with the teacher, which is known when training begins."""

    def forward(
        self,
        output: MethodOutput,
        labels: Tensor,
        teacher_logits: Tensor | None,
        teacher_features: Tensor | None = None,
    ) -> Terms:
        """The loss of a batch.

        Args:
            output: of the method; its leading images are labelled.
            labels: (labelled,) class indices.
            teacher_logits: (labelled + unlabelled, classes), or None without a teacher.
            teacher_features: (labelled + unlabelled, d of the teacher), where they are needed.
        """
        raise NotImplementedError

    def logits(self, features: Tensor, method_logits: Tensor) -> dict[str, Tensor]:
        """Logits (batch, classes) by head from features (batch, d) and the method's own logits."""
        return {"ce": method_logits}

    def predict(self, logits: dict[str, Tensor]) -> Prediction:
        """What :meth:`logits`, cut to the classes of a test set, predict."""
        return Prediction(logits, {head: probabilities(values) for head, values in logits.items()})

    def search(self, logits: dict[str, Tensor], labels: Tensor) -> None:
        """Choose the mix.

        Args:
            logits: :meth:`logits` of all *validation* images, never of test images.
            labels: (images,).
        """
        raise NotImplementedError(f"{type(self).__name__} has nothing to search")

    def use_all_heads(self) -> None:
        """Take back every :meth:`leave_out`, before another run is loaded."""

    def leave_out(self, head: str, reason: Exception) -> None:
        """Go without a head whose checkpoint has no rows for the classes at hand, if predictions can do without it.

        Raises:
            Exception: ``reason`` or one like it, if they cannot.
        """
        raise reason
