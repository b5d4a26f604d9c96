"""From the configuration to the objective of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dho_prompt.clip.names import resolve_name
from dho_prompt.distill.base import Objective
from dho_prompt.distill.ce import CE
from dho_prompt.distill.ce_kd import CEKD
from dho_prompt.distill.ce_kd_feature import CEKDFeature
from dho_prompt.distill.dhkd import DHKD
from dho_prompt.distill.dho import DHO
from dho_prompt.distill.feature import Projector
from dho_prompt.distill.kd import KD
from dho_prompt.distill.kd_feature import KDFeature, TextClassifier
from dho_prompt.distill.sskd import SSKD
from dho_prompt.heads import student_head
from dho_prompt.inference import check_mix
from dho_prompt.losses import DHOLoss
from dho_prompt.students.base import Student
from dho_prompt.training.build import prompt_templates


def build_loss(cfg: Any) -> DHOLoss:
    """Eq. 6 as TRAINER.DHO has it, and a look at ALPHA and BETA.

    Raises:
        ValueError: a value is out of its range.
    """
    dho = cfg.TRAINER.DHO
    check_mix(dho.ALPHA, dho.BETA)
    return DHOLoss(dho.LAMBDA, dho.TEMPERATURE, dho.SCALE_BY_TEMPERATURE)


def build_objective(cfg: Any, student: Student, classnames: Sequence[str], searches: bool) -> Objective:
    """The objective of TRAINER.DHO.OBJECTIVE on the features of a student, its heads started as configured.

    Before the teacher is known a cosine head has the student's own temperature; a checkpoint brings the right one.

    Args:
        searches: whether alpha and beta are to be chosen on validation data.
    """
    dho, loss, classes = cfg.TRAINER.DHO, build_loss(cfg), len(classnames)
    kind = dho.OBJECTIVE
    if kind == CE.name:
        return CE()
    if kind == KD.name:
        return KD(loss, labelled=dho.KD_ON == "both")
    if kind == CEKD.name:
        return CEKD(loss, labelled=dho.KD_ON != "unlabeled")
    if kind == KDFeature.name:
        head = TextClassifier(student.embed_dim, _teacher_features(cfg), classes)
        return KDFeature(head, dho.FEATURE_WEIGHT, labelled=dho.KD_ON == "both")
    if kind == CEKDFeature.name:
        projector = Projector(student.embed_dim, _teacher_features(cfg))
        return CEKDFeature(projector, loss, dho.FEATURE_WEIGHT, labelled=dho.KD_ON == "both")
    head = student_head(
        student,
        classnames,
        prompt_templates(cfg),
        dho.HEAD,
        dho.HEAD_INIT,
        dho.ZETA,
        hidden=dho.HEAD_HIDDEN,
        dropout=dho.HEAD_DROPOUT,
    )
    if kind == SSKD.name:
        return SSKD(head, loss)
    if kind == DHKD.name:
        return DHKD(head, loss, dho.DHKD_GRADIENT)
    return DHO(head, loss, dho.ALPHA, dho.BETA, searches, dho.SEARCH_BY)


def _teacher_features(cfg: Any) -> int:
    """Size of the teacher's image features, which its name says before it is loaded."""
    return resolve_name(cfg.TRAINER.DHO.TEACHER.NAME).architecture["embed_dim"]
