"""Dual-Head Optimization: a second head that learns from the teacher, mixed with the method's own prediction."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dho_prompt.config import HEAD_STARTS, HEADS, Setting, declare
from dho_prompt.config.ranges import MOST, SHARE, Number, Whole
from dho_prompt.data.choose.pool import POOLS
from dho_prompt.data.classes import UnknownClasses
from dho_prompt.distill.base import Terms
from dho_prompt.distill.ce import CE
from dho_prompt.distill.two_heads import TwoHeads
from dho_prompt.inference import SEARCHES, Prediction, blend, search_mix
from dho_prompt.losses import DHOLoss
from dho_prompt.methods.base import MethodOutput

SEARCHED = "searched"  # beginning of what a mix says of its choice
OBJECTIVES = ("dho", "ce", "kd", "ce_kd", "kd_feature", "ce_kd_feature", "sskd", "dhkd")

declare(
    "TRAINER.DHO",
    {
        "LAMBDA": Setting(0.5, "weight of the supervised side, lambda of Alg. 1 line 24 (Table 6)", SHARE),
        "TEMPERATURE": Setting(
            2.0, "eta of Alg. 1 (Table 6): softens teacher and KD head in the KL", Number(0.01, 1000)
        ),
        "SCALE_BY_TEMPERATURE": Setting(
            True, "multiply the KL terms by eta^2, as the authors' code does and the paper does not print"
        ),
        "ZETA": Setting(
            0.0,
            "temperature of cosine logits (Eq. 1, 10)",
            Number(0.0001, 100, special=0, meaning="the teacher's own, 1 / exp(logit_scale)"),
        ),
        "UNLABELED": Setting(
            "all",
            "all: every training image with its label hidden (Alg. 1 line 7); exclude_labeled: those not labelled "
            "(Sec. 3.1); none: no unlabelled images (the labelled-only rows of Table 13)",
            POOLS,
        ),
        "OBJECTIVE": Setting(
            "dho",
            "dho, or a rival of Table 1 on the same images: ce, kd, ce_kd, kd_feature, ce_kd_feature, sskd, dhkd",
            OBJECTIVES,
        ),
        "HEAD": Setting(
            "cosine",
            "KD head: cosine (aligned, Eq. 10), linear, nonlinear (App. E.2), or scaled (the authors' code for CLIP "
            "students: unit features, weights as they are, a bias, divided by zeta)",
            (*HEADS, "nonlinear", "scaled"),
        ),
        "HEAD_HIDDEN": Setting(
            0, "width inside a nonlinear head", Whole(1, MOST, special=0, meaning="the student's feature size")
        ),
        "HEAD_DROPOUT": Setting(0.1, "dropout inside a nonlinear head", Number(0, 1, open_most=True)),
        "HEAD_INIT": Setting(
            "language", "language (the student's text features, Table 5), language_unit or kaiming", HEAD_STARTS
        ),
        "HEAD_LR": Setting(
            0.0, "learning rate of the KD head", Number(0, open_least=True, special=0, meaning="OPTIM.LR")
        ),
        "ALPHA": Setting(0.5, "share of the method's own head at inference (Eq. 11; Table 11: 0.5)", SHARE),
        "BETA": Setting(1.0, "temperature of the KD head at inference (Eq. 11; Table 11: 1)", Number(0.01, 1000)),
        "SEARCH": Setting(
            "auto",
            "alpha and beta: on chooses them on the validation set, off takes ALPHA and BETA, auto chooses where there "
            "is a validation set that is not the test set; never on test data",
            ("auto", "on", "off"),
        ),
        "SEARCH_BY": Setting(
            "likelihood", "what the search takes the best of: likelihood, or the paper's accuracy", SEARCHES
        ),
    },
)


class DHO(TwoHeads):
    """The paper's objective and prediction (Eq. 6, 7, 11; Alg. 1 and 2).

    Args:
        head: the KD head, (batch, d) features -> (batch, classes) logits.
        loss: Eq. 6 with its lambda and eta.
        alpha, beta: the mix at inference, until another is searched or recalled; then it is recorded as ``fixed``.
        searches: choose alpha and beta on validation data.
        searches_by: see :func:`~dho_prompt.inference.search_mix`.
    """

    name = "dho"

    def __init__(
        self,
        head: nn.Module,
        loss: DHOLoss,
        alpha: float = 0.5,
        beta: float = 1.0,
        searches: bool = False,
        searches_by: str = "likelihood",
    ) -> None:
        super().__init__(head, loss)
        self.searches, self.searches_by, self.fixed = searches, searches_by, (alpha, beta)
        self.mix: dict[str, Any] = {"alpha": alpha, "beta": beta, "chosen": "fixed by the configuration"}

    def forward(
        self,
        output: MethodOutput,
        labels: Tensor,
        teacher_logits: Tensor | None,
        teacher_features: Tensor | None = None,
    ) -> Terms:
        if teacher_logits is None:  # lambda 1
            return CE()(output, labels)
        kd_x, kd_u = _split(self.head(output.features), len(labels))
        said_x, said_u = _split(teacher_logits, len(labels))
        terms = self.loss(
            output.logits,
            labels,
            kd_x,
            said_x,
            kd_u,
            said_u,
            extra=sum(output.extra.values()) if output.extra else None,
        )
        parts = {"loss_ce": terms.ce, "loss_kd_x": terms.kd_x, "loss_kd_u": terms.kd_u}
        return Terms(terms.total, {**parts, **output.extra})

    def distilled(self, features: Tensor, teacher_logits: Tensor, labelled: int) -> Terms:
        """The teacher's side alone, for a host that computes its own: ``KL_x + KL_u`` and the two (Eq. 7)."""
        pairs = zip(_split(self.head(features), labelled), _split(teacher_logits, labelled))
        kd_x, kd_u = [self.loss.divergence(ours, said) for ours, said in pairs]
        return Terms(kd_x + kd_u, {"loss_kd_x": kd_x, "loss_kd_u": kd_u})

    def predict(self, logits: dict[str, Tensor]) -> Prediction:
        scores, each = super().predict(logits)
        if "kd" not in logits:
            return Prediction(scores, each)
        mixed = blend(logits["ce"], logits["kd"], self.mix["alpha"], self.mix["beta"])
        if self.mix["chosen"].startswith(SEARCHED):
            fixed = blend(logits["ce"], logits["kd"], *self.fixed)
            scores, each = {"fixed": fixed, **scores}, {"fixed": fixed, **each}
        # with alpha 1 the logits decide, as for the method alone: a softmax may round two of them to a tie
        return Prediction(
            {"blend": logits["ce"] if self.mix["alpha"] == 1 else mixed, **scores}, {"blend": mixed, **each}
        )

    def search(self, logits: dict[str, Tensor], labels: Tensor) -> None:
        found = search_mix(logits["ce"], logits["kd"], labels, by=self.searches_by, fixed=self.fixed)
        chosen = f"{SEARCHED} on {len(labels)} validation images by {self.searches_by}: {100 * found.accuracy:.2f}%"
        self.mix = {"alpha": found.alpha, "beta": found.beta, "chosen": chosen}

    def leave_out(self, head: str, reason: Exception) -> None:
        if self.mix["alpha"] != 1:
            raise UnknownClasses(f"{reason}. TRAINER.DHO.ALPHA 1.0 evaluates the method's own head alone") from reason
        print(f"alpha is 1: the KD head is not loaded, only the method's own head is evaluated ({reason})")
        self.has_head = False


def _split(logits: Tensor, labelled: int) -> tuple[Tensor, ...]:
    """Those of labelled and of unlabelled images; unlike two slices, their gradients are not padded and added."""
    return logits.split([labelled, len(logits) - labelled])
