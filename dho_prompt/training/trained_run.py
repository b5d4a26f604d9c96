"""From the folder of a finished run back to its trainer, with its parts alone: no data, no teacher, no optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from yacs.config import CfgNode

from dho_prompt.config import extend_cfg, merge_plain
from dho_prompt.data.classes import Classes
from dho_prompt.distill.ce import CE
from dho_prompt.engine import TRAINER_REGISTRY, get_cfg_default, load_checkpoint
from dho_prompt.engine.checkpoint import BEST, checkpoint_name
from dho_prompt.engine.rng import untouched_rng
from dho_prompt.files import PathLike
from dho_prompt.runs.evaluation import Evaluation
from dho_prompt.runs.folder import CONFIG, RESULTS, read_config, read_result
from dho_prompt.runs.saved_classes import saved_classes

if TYPE_CHECKING:
    from dho_prompt.training.method_trainer import MethodTrainer


def finished_cfg(folder: PathLike) -> CfgNode:
    """The configuration of a finished run, with its folder as output folder.

    Raises:
        FileNotFoundError: the run is not there, or not finished.
        ValueError: a file of the run is damaged; a key is unknown, for example because the run was made in a host's
            own train.py.
    """
    folder = Path(folder)
    for name in (CONFIG, RESULTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}, so it is no finished run; its training command makes it or resumes it"
            )
    read_result(folder / RESULTS)  # a damaged one finishes no run
    cfg = extend_cfg(get_cfg_default())
    merge_plain(cfg, read_config(folder), str(folder / CONFIG))
    cfg.OUTPUT_DIR = str(folder)
    return cfg


def deployed_epoch(cfg: CfgNode) -> int | None:
    """The epoch whose weights a finished run was tested with; None for the best one on validation."""
    return None if cfg.TEST.FINAL_MODEL == "best_val" else cfg.OPTIM.MAX_EPOCH


def parts_of(
    cfg: CfgNode, trainer: type[MethodTrainer], classnames: Sequence[str], device: torch.device
) -> MethodTrainer:
    """A trainer that has its method and its objective, as they are before training, and nothing else.

    Args:
        trainer: its class.
        classnames: one name per class.
    """
    from dho_prompt.training.build_objective import build_objective

    parts = trainer.__new__(trainer)
    parts.cfg, parts.device, parts.classnames = cfg, device, list(classnames)
    student = parts.build_student(cfg, parts.precision(cfg))
    parts.model = parts.method(student, parts.classnames).to(device).eval()
    parts.distils = parts.distils and CE.name != cfg.TRAINER.DHO.OBJECTIVE
    objective = build_objective(cfg, student, parts.classnames, False) if parts.distils else CE()
    parts.objective = objective.to(device).eval()
    return parts


def load_trained(folder: PathLike, device: torch.device) -> MethodTrainer:
    """The trainer of a finished run with what it was tested with: weights, classes, mix.

    It predicts (``trainer.predict``, ``trainer.objective.predict``) as ``dho_prompt.evaluate`` has it predict, and
    needs no images of its data set.

    Args:
        folder: output folder of the run.
        device: where it goes.

    Raises:
        FileNotFoundError: the run is not there, or not finished, or has lost its checkpoints.
        ValueError: it is a host's, or a file is damaged or does not fit.
    """
    from dho_prompt.train import register
    from dho_prompt.training.method_trainer import MethodTrainer

    register()
    folder, cfg = Path(folder), finished_cfg(folder)
    found = TRAINER_REGISTRY.get(cfg.TRAINER.NAME) if cfg.TRAINER.NAME in TRAINER_REGISTRY.registered_names() else None
    if not (isinstance(found, type) and issubclass(found, MethodTrainer)):
        raise ValueError(
            f"{folder} is a run of {cfg.TRAINER.NAME}, which is none of this package's own trainers; the code base "
            "that it was made in evaluates it"
        )
    epoch, classes = deployed_epoch(cfg), _classes(folder, cfg, found.trains)
    with untouched_rng():  # heads are started before they are loaded
        trainer = parts_of(cfg, found, classes.names, device)
    trainer._models, trainer._optims, trainer._scheds, trainer._training = {}, {}, {}, False
    trainer.evaluation = Evaluation(classes, {})
    for name, module in {**trainer.model.trainable(), **trainer.objective.trainable()}.items():
        trainer.register_model(name, module, None, None)
    trainer.load_model(str(folder), epoch)
    return trainer


def _classes(folder: Path, cfg: CfgNode, trains: bool) -> Classes:
    """The classes that a run predicts."""
    if not trains:
        names = read_result(folder / RESULTS).get("classnames")
        if not names:
            raise ValueError(
                f"{folder / RESULTS} does not say which classes it has: it was written by an earlier version. Remove "
                "it, and run the command that made it again"
            )
        return Classes(list(names))
    epoch = deployed_epoch(cfg)
    file = BEST if epoch is None else checkpoint_name(epoch)
    paths = sorted(folder.glob(f"*/{file}"), key=lambda path: path.stat().st_size)
    if not paths:
        raise FileNotFoundError(
            f"{folder} has no checkpoint {file}, with which it was tested; without it nothing can be predicted"
        )
    classes = saved_classes(load_checkpoint(str(paths[0])))
    if classes is None:
        raise ValueError(f"{paths[0]} does not say which classes it was trained on; it is no checkpoint of ours")
    return classes
