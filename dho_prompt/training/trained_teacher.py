"""From the folder of a finished run to a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from dho_prompt.config import extend_cfg, merge_plain
from dho_prompt.data.batches.views import View
from dho_prompt.data.classes import Classes
from dho_prompt.engine import TRAINER_REGISTRY, get_cfg_default, load_checkpoint, load_strictly
from dho_prompt.engine.checkpoint import BEST
from dho_prompt.runs.folder import CONFIG, MIX, RESULTS, read_config
from dho_prompt.runs.mix import read_mix
from dho_prompt.runs.saved_classes import refuse_other_classes
from dho_prompt.teachers.trained import TrainedTeacher

POINTER = "checkpoint"


def is_run(path: str) -> bool:
    """Whether a path is the output folder of a run of this command line."""
    return (Path(path) / CONFIG).is_file()


def is_own_run(path: str) -> bool:
    """Whether a path is a run of this package, other than of prompts alone, which are put on TEACHER.NAME."""
    from dho_prompt.train import register
    from dho_prompt.training.method_trainer import MethodTrainer

    if not is_run(path):
        return False
    register()
    trainer = TRAINER_REGISTRY.get(str(read_config(path)["TRAINER"].get("NAME")))
    own = isinstance(trainer, type) and issubclass(trainer, MethodTrainer)
    return own and trainer.node not in ("COOP", "PROMPTSRC")


def load_run(path: str, classnames: Sequence[str], device: torch.device) -> TrainedTeacher:
    """The model that a run was tested with, and its mix, as teacher: the last epoch's, or the best on validation.

    Args:
        path: the run's folder.
        classnames: one name per class; the run must have been trained on these.
        device: where it goes.

    Raises:
        FileNotFoundError: a checkpoint is missing.
        ValueError: the run is a host's, or of other classes, or a file is damaged.
    """
    from dho_prompt.train import register
    from dho_prompt.training.method_trainer import MethodTrainer
    from dho_prompt.training.trained_run import parts_of

    register()
    folder = Path(path)
    cfg = extend_cfg(get_cfg_default())
    merge_plain(cfg, read_config(folder), str(folder / CONFIG))
    cls = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    if not (isinstance(cls, type) and issubclass(cls, MethodTrainer)) or not cls.trains:
        raise ValueError(
            f"{path} is a run of {cfg.TRAINER.NAME}; runs of this package's own trainers can teach, and a CLIP itself "
            "by TRAINER.DHO.TEACHER.NAME"
        )
    trainer = parts_of(cfg, cls, classnames, device)
    method, objective = trainer.model, trainer.objective
    for name, module in {**method.trainable(), **objective.trainable()}.items():
        pointer = folder / name / POINTER
        if not pointer.is_file():
            raise FileNotFoundError(f"{folder / name} has no checkpoint; the run's training command makes it")
        best = cfg.TEST.FINAL_MODEL == "best_val"
        file = str(folder / name / (BEST if best else pointer.read_text(encoding="utf-8").strip()))
        checkpoint = load_checkpoint(file)
        refuse_other_classes(checkpoint, file, Classes(list(classnames)))
        load_strictly(module, checkpoint, file)
    if objective.mix is not None and (folder / MIX).is_file():
        objective.mix = read_mix(folder / MIX)
    if not (folder / RESULTS).is_file():
        print(f"Note: {path} is not finished; it teaches with its last checkpoint")
    teacher, node = TrainedTeacher(method, objective), cfg.INPUT
    teacher.views = (View(node.SIZE[0], tuple(node.PIXEL_MEAN), tuple(node.PIXEL_STD)),)  # what it was trained on
    return teacher
