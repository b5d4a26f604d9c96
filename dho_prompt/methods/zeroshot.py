"""Zero-shot CLIP: the baseline that trains nothing (first row of Tables 12 and 13)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dho_prompt.config import PRECISIONS, Setting, declare
from dho_prompt.config.ranges import templates
from dho_prompt.methods.base import Method, cosine_logits
from dho_prompt.students.clip import CLIPStudent

declare(
    "TRAINER.ZEROSHOT",
    {
        "PREC": Setting("fp32", "of the towers", PRECISIONS),
        "ENSEMBLE": Setting(False, "average the data set's templates instead of using its single one"),
        "TEMPLATES": Setting((), "other templates", templates("the data set's, as ENSEMBLE says")),
    },
)


class ZeroShotMethod(Method):
    """``exp(logit_scale) * cos(image, text_c)`` with the text features of fixed prompts.

    Args:
        student: the CLIP to evaluate.
        classnames: one name per class.
        templates: prompt templates with one ``{}`` each; several are averaged.
    """

    def __init__(self, student: CLIPStudent, classnames: Sequence[str], templates: Sequence[str]) -> None:
        super().__init__(student)
        self.logit_scale = student.clip.logit_scale
        self.register_buffer("text_features", student.text_features(classnames, templates))

    def trainable(self) -> dict[str, nn.Module]:
        return {}

    def logits(self, features: Tensor) -> Tensor:
        return cosine_logits(features, self.text_features, self.logit_scale)
