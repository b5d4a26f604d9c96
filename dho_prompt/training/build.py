"""From the configuration to the parts of a run: student and teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dho_prompt.clip.loading import LoadedCLIP, load_clip
from dho_prompt.clip.names import resolve_name
from dho_prompt.clip.templates import templates_for
from dho_prompt.clip.weights import find_weights
from dho_prompt.students.clip import CLIPStudent
from dho_prompt.teachers.base import Teacher
from dho_prompt.teachers.prompts import PromptTeacher, checkpoint_file, load_prompts
from dho_prompt.teachers.zeroshot import ZeroShotTeacher


def prompt_templates(cfg: Any) -> list[str]:
    """The templates of the teacher and of heads that start from text: the configured ones, else the data set's."""
    return list(cfg.TRAINER.DHO.TEACHER.TEMPLATES) or templates_for(cfg.DATASET.NAME)


def check_student(cfg: Any) -> None:
    """Refuse names that :func:`build_student` cannot load, before anything is; nothing is fetched.

    Raises:
        FileNotFoundError, ValueError: an unknown model, or files of MODEL that are not there.
    """
    _check("MODEL.BACKBONE", cfg.MODEL.BACKBONE)
    if cfg.MODEL.INIT_WEIGHTS and not Path(cfg.MODEL.INIT_WEIGHTS).is_file():
        raise FileNotFoundError(f"there is no checkpoint {cfg.MODEL.INIT_WEIGHTS} (MODEL.INIT_WEIGHTS)")


def build_student(cfg: Any, precision: str, device: torch.device) -> CLIPStudent:
    """The CLIP of MODEL.BACKBONE, frozen.

    Args:
        precision: fp32, fp16, bf16 or amp, of the run.

    Raises:
        FileNotFoundError, ValueError: its weights are missing or do not fit, or INPUT.SIZE is not what it takes.
    """
    name = cfg.MODEL.BACKBONE.NAME
    print(f"Loading CLIP (backbone: {name})")
    student = CLIPStudent(_load("MODEL.BACKBONE", cfg.MODEL.BACKBONE, weight_precision(precision), device))
    size = student.view.size
    if tuple(cfg.INPUT.SIZE) != (size, size):
        raise ValueError(f"INPUT.SIZE is {tuple(cfg.INPUT.SIZE)}, but {name} takes images of ({size}, {size})")
    return student


def check_teacher(cfg: Any) -> None:
    """Refuse names that :func:`build_teacher` cannot load, as :func:`check_student` does."""
    node = cfg.TRAINER.DHO.TEACHER
    _check("TRAINER.DHO.TEACHER", node)
    if node.CHECKPOINT and not Path(checkpoint_file(node.CHECKPOINT)).is_file():
        raise FileNotFoundError(f"there is no checkpoint {node.CHECKPOINT} (TRAINER.DHO.TEACHER.CHECKPOINT)")


def build_teacher(cfg: Any, classnames: Sequence[str], precision: str, device: torch.device) -> Teacher:
    """The teacher of TRAINER.DHO.TEACHER.

    Args:
        classnames: one name per class.
        precision: of the run; TEACHER.PREC replaces it.
    """
    node, zeta = cfg.TRAINER.DHO.TEACHER, cfg.TRAINER.DHO.ZETA
    print(f"Loading the teacher ({node.NAME}{f', prompts of {node.CHECKPOINT}' if node.CHECKPOINT else ''})")
    clip = _load("TRAINER.DHO.TEACHER", node, node.PREC or weight_precision(precision), device)
    if node.CHECKPOINT:
        teacher: Teacher = PromptTeacher(load_prompts(clip, classnames, node.CHECKPOINT), zeta)
    else:
        teacher = ZeroShotTeacher(clip, classnames, prompt_templates(cfg), zeta)
    return teacher.to(device)


def teaches_nothing(cfg: Any) -> bool:
    """Whether no teacher is loaded: the objective is ce, or lambda is 1, which leaves the KD head untrained."""
    dho = cfg.TRAINER.DHO
    return dho.OBJECTIVE == "ce" or (dho.OBJECTIVE == "dho" and dho.LAMBDA == 1)


def describe_teacher(cfg: Any, teacher: Teacher | None) -> dict[str, Any] | None:
    """What a result file says of the teacher; None if the run had none.

    An evaluation does without the teacher and leaves its ``zeta`` open.
    """
    if teaches_nothing(cfg):
        return None
    node = cfg.TRAINER.DHO.TEACHER
    told = {"name": node.NAME, "zeta": None if teacher is None else teacher.zeta}
    return {**told, **({"checkpoint": node.CHECKPOINT} if node.CHECKPOINT else {"templates": prompt_templates(cfg)})}


def weight_precision(precision: str) -> str:
    """The precision of the frozen weights for a value of PREC: amp keeps float32 weights."""
    return "fp32" if precision == "amp" else precision


def _check(key: str, node: Any) -> None:
    """NAME and WEIGHTS of a node, as far as they can be told without a connection."""
    if not node.NAME:
        raise ValueError(f"{key}.NAME is empty; it names a CLIP model, such as ViT-B/16 (flag: --backbone)")
    with _naming(key, node):
        spec = resolve_name(node.NAME)
        if node.WEIGHTS or spec.folder is not None or not spec.pretrained:  # else they may have to be fetched
            find_weights(spec, node.WEIGHTS)


def _load(key: str, node: Any, precision: str, device: torch.device) -> LoadedCLIP:
    """:func:`~dho_prompt.clip.loading.load_clip` for NAME and WEIGHTS of a node."""
    with _naming(key, node):
        return load_clip(node.NAME, node.WEIGHTS, precision, device)


@contextmanager
def _naming(key: str, node: Any) -> Iterator[None]:
    """Errors name the keys of the node."""
    try:
        yield
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{error} (set by {key}.NAME {node.NAME!r} and {key}.WEIGHTS {node.WEIGHTS!r})") from error
