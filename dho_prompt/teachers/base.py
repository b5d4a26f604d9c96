"""What every teacher offers, whatever its kind."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from dho_prompt.config import PRECISIONS, Setting, declare
from dho_prompt.config.ranges import PATH, Items, Number, Text, templates
from dho_prompt.data.batches.batch import Batch
from dho_prompt.data.batches.views import View

declare(
    "TRAINER.DHO.TEACHER",
    {
        "NAME": Setting("ViT-L/14@336px", "any name that MODEL.BACKBONE.NAME takes (Table 11)", Text(1)),
        "WEIGHTS": Setting("", "a file with its weights, as MODEL.BACKBONE.WEIGHTS", PATH),
        "CHECKPOINT": Setting(
            "",
            "what was trained on it: prompts of CoOp, PromptSRC or IVLP, a Tip-Adapter's cache; or the folder "
            "of any run of this package's trainers; {seed} in it is the run's seed; '' is zero-shot",
            PATH,
        ),
        "ALSO": Setting(
            (), "further teachers, averaged with this one: names of CLIPs and folders of runs", Items(Text(1), 0, 100)
        ),
        "SHARES": Setting(
            (),
            "weights of the average, of this teacher and of those of ALSO",
            Items(Number(0, 1e9, open_least=True), 1, 101, empty="equal shares"),
        ),
        "AVERAGE": Setting("probabilities", "what is averaged", ("probabilities", "logits")),
        "TEMPLATES": Setting((), "prompt templates (Sec. 4.1)", templates("those of the data set")),
        "PREC": Setting("", "fp32, fp16, bf16 or amp; '' takes the method's", ("", *PRECISIONS)),
        "STORE": Setting(
            "",
            "a folder with what it said of every training image (python -m dho_prompt.store teacher), so that it is "
            "not loaded; auto makes one in the folder of the data sets and takes it again in later runs",
            PATH,
        ),
    },
)


class Teacher(nn.Module):
    """A batch -> logits, frozen; the protocol of what is distilled.

    It is given the batch and not just images, so that one that reads stored predictions can tell which images and
    which crops they are. A subclass sets the attributes and implements :meth:`logits`, or :meth:`forward` if it does
    not look at images; one with image features, which objectives on features need, implements :meth:`encode` and
    :meth:`classify` instead.

    Attributes:
        views: how it must see the images; they are shown to it from then on by the crop that the student sees.
        zeta: temperature of its cosine logits (Eq. 1); a KD head that is aligned with it takes the same (Eq. 10).
        mixed: whether it computes under autocast (TEACHER.PREC amp) or in its weights' precision; None does as the
            caller.
    """

    views: tuple[View, ...]
    zeta: float
    mixed: bool | None = None

    def encode(self, images: Tensor) -> Tensor:
        """(batch, 3, size, size) in its first view -> (batch, d) image features, no gradient.

        Raises:
            ValueError: this kind of teacher has no image features.
        """
        raise ValueError(
            f"a {type(self).__name__} gives no image features to distil; take a zero-shot CLIP "
            "(TRAINER.DHO.TEACHER.CHECKPOINT '') or an objective on logits"
        )

    def classify(self, features: Tensor) -> Tensor:
        """Features of :meth:`encode` -> (batch, classes) float32 logits."""
        raise NotImplementedError

    def logits(self, images: Tensor) -> Tensor:
        """(batch, 3, size, size) in its first view -> (batch, classes) float32 logits ``cos / zeta``, no gradient."""
        return self.classify(self.encode(images))

    def forward(self, batch: Batch) -> Tensor:
        """(labelled + unlabelled, classes) float32 logits of a batch's images, without gradient."""
        images = batch.images(self.views[0])
        with torch.inference_mode(), self._precision(images.device.type):
            logits = self.logits(images)
        return logits.clone()  # outside of inference mode: a loss may keep it for its backward pass

    def with_features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits and image features (labelled + unlabelled, d) of a batch, without gradient."""
        images = batch.images(self.views[0])
        with torch.inference_mode(), self._precision(images.device.type):
            features = self.encode(images)
            logits = self.classify(features)
        return logits.clone(), features.clone()

    def _precision(self, device: str) -> AbstractContextManager:
        if self.mixed is None:
            return nullcontext()
        return torch.autocast(device, torch.float16 if device == "cuda" else torch.bfloat16, enabled=self.mixed)

    def train(self, mode: bool = True) -> Any:
        return super().train(False)  # a teacher never updates its statistics
