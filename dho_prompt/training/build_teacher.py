"""From the configuration to the teacher of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dho_prompt.clip.loading import load_clip
from dho_prompt.clip.names import resolve_name
from dho_prompt.clip.weights import find_weights
from dho_prompt.runs.folder import read_config
from dho_prompt.teachers.average import AverageTeacher
from dho_prompt.teachers.base import Teacher
from dho_prompt.teachers.prompts import PromptTeacher, checkpoint_file, load_prompts
from dho_prompt.teachers.tip_adapter import TipAdapterTeacher, is_tip_adapter, read_tip_adapter
from dho_prompt.teachers.zeroshot import ZeroShotTeacher
from dho_prompt.training.build import (
    check_clip,
    find_named,
    is_store,
    load_named,
    prompt_templates,
    weight_precision,
)
from dho_prompt.training.trained_teacher import is_own_run, is_run, load_run


def teaches_nothing(cfg: Any) -> bool:
    """Whether DHO's loss is the method's own (lambda 1), so that nothing is asked of a teacher."""
    return cfg.TRAINER.DHO.OBJECTIVE == "dho" and cfg.TRAINER.DHO.LAMBDA == 1


def of_seed(path: str, cfg: Any) -> str:
    """A path with the run's seed in the place of ``{seed}``: the runs of several seeds then differ in nothing else."""
    return path.replace("{seed}", str(cfg.SEED))


def check_teacher(cfg: Any) -> None:
    """Refuse names that :func:`build_teacher` cannot load, before anything is; nothing is fetched.

    Raises:
        FileNotFoundError, ValueError: an unknown model, or files of TRAINER.DHO.TEACHER that are not there.
    """
    node = cfg.TRAINER.DHO.TEACHER
    stored = is_store("TRAINER.DHO.TEACHER.STORE", node.STORE)
    check_clip("TRAINER.DHO.TEACHER", node, needed=not stored)
    path = of_seed(node.CHECKPOINT, cfg)
    if (
        path
        and not stored
        and not is_tip_adapter(path)
        and not is_run(path)
        and not Path(checkpoint_file(path)).is_file()
    ):
        raise FileNotFoundError(f"there is no checkpoint {path} (TRAINER.DHO.TEACHER.CHECKPOINT)")
    if node.SHARES and len(node.SHARES) != 1 + len(node.ALSO):
        raise ValueError(
            f"TRAINER.DHO.TEACHER.SHARES has {len(node.SHARES)} numbers for {1 + len(node.ALSO)} teachers (NAME or "
            "CHECKPOINT, and those of ALSO); give one for each, or () for equal shares"
        )
    for name in (of_seed(name, cfg) for name in node.ALSO):
        if not is_run(name):
            resolve_name(name)


def find_teacher(cfg: Any) -> None:
    """See that the weights of every teacher are on this machine; they are fetched where they are not.

    Raises:
        FileNotFoundError, ValueError: they are not, and cannot be.
    """
    check_teacher(cfg)
    node = cfg.TRAINER.DHO.TEACHER
    path = of_seed(node.CHECKPOINT, cfg)
    if not path or is_tip_adapter(path) or not is_own_run(path):  # else the run says which CLIP it is on
        find_named("TRAINER.DHO.TEACHER", node)
    for name in (of_seed(name, cfg) for name in node.ALSO):
        if not is_run(name):
            find_weights(resolve_name(name))


def build_teacher(cfg: Any, classnames: Sequence[str], precision: str, device: torch.device) -> Teacher:
    """The teacher of TRAINER.DHO.TEACHER.

    Args:
        classnames: one name per class.
        precision: of the run; TEACHER.PREC replaces it.
    """
    node, zeta = cfg.TRAINER.DHO.TEACHER, cfg.TRAINER.DHO.ZETA
    print(f"Loading the teacher ({of_seed(node.CHECKPOINT, cfg) or node.NAME})")
    precision = weight_precision(node.PREC or precision)
    teacher = _first(cfg, classnames, precision, device)
    if node.ALSO:
        others = [_other(cfg, of_seed(name, cfg), classnames, precision, device) for name in node.ALSO]
        teacher = AverageTeacher([teacher, *others], node.SHARES, node.AVERAGE)
    if zeta:
        teacher.zeta = zeta
    if node.PREC:
        for each in (part for part in teacher.modules() if isinstance(part, Teacher)):
            each.mixed = node.PREC == "amp"
    return teacher.to(device)


def _first(cfg: Any, classnames: Sequence[str], precision: str, device: torch.device) -> Teacher:
    """NAME, or CHECKPOINT on it."""
    node, zeta = cfg.TRAINER.DHO.TEACHER, cfg.TRAINER.DHO.ZETA
    path = of_seed(node.CHECKPOINT, cfg)
    if path and not is_tip_adapter(path) and is_own_run(path):
        return load_run(path, classnames, device)
    clip = load_named("TRAINER.DHO.TEACHER", node, precision, device)
    if path and is_tip_adapter(path):
        return TipAdapterTeacher(clip, classnames, read_tip_adapter(path), path, zeta)
    if path:
        return PromptTeacher(load_prompts(clip, classnames, path), zeta)
    return ZeroShotTeacher(clip, classnames, prompt_templates(cfg), zeta)


def _other(cfg: Any, name: str, classnames: Sequence[str], precision: str, device: torch.device) -> Teacher:
    """One of ALSO: a run's folder, or a CLIP's name."""
    print(f"Loading a further teacher ({name})")
    zeta = cfg.TRAINER.DHO.ZETA
    if is_run(name) and is_tip_adapter(name):  # on the CLIP of its own run
        backbone = read_config(name)["MODEL"]["BACKBONE"]
        clip = load_clip(backbone["NAME"], backbone["WEIGHTS"], precision, device)
        return TipAdapterTeacher(clip, classnames, read_tip_adapter(name), name, zeta)
    if is_run(name):
        return load_run(name, classnames, device)
    return ZeroShotTeacher(load_clip(name, "", precision, device), classnames, prompt_templates(cfg), zeta)


def describe_teacher(cfg: Any, teacher: Teacher | None) -> dict[str, Any]:
    """What a result file says of the teacher; an evaluation does without one and leaves its ``zeta`` open."""
    node = cfg.TRAINER.DHO.TEACHER
    told = {"name": node.NAME, "zeta": None if teacher is None else teacher.zeta}
    if node.ALSO:
        told.update(also=list(node.ALSO), shares=list(node.SHARES), average=node.AVERAGE)
    return {**told, **({"checkpoint": node.CHECKPOINT} if node.CHECKPOINT else {"templates": prompt_templates(cfg)})}
