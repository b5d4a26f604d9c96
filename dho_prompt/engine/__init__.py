"""Dassl's contract, whichever engine provides it.

Trainers, data sets and evaluators are written once against the names below. They come from the real Dassl when it is
installed, so that they join a host's registries, and else from the embedded engine. ``DHO_PROMPT_ENGINE=dassl`` or
``=embedded`` in the environment forces one.

On both engines the trainers resume exactly (:class:`Resumable`), and the optimisers, schedules, checkpoint files,
meters and small helpers are ours: the learning rates and the layout are Dassl's, but its schedules do not build on
torch 2.7 and later, and its checkpoints are neither atomic nor readable with ``weights_only=True``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from dho_prompt import __version__

from .choose import choose_engine, import_dassl
from .embedded.checkpoint import load_checkpoint, load_pretrained_weights, load_strictly, save_checkpoint
from .embedded.logger import setup_logger
from .embedded.meters import AverageMeter, MetricMeter
from .embedded.optim import build_lr_scheduler, build_optimizer
from .embedded.utils import (
    collect_env_info,
    compute_accuracy,
    count_num_param,
    listdir_nohidden,
    mkdir_if_missing,
    read_image,
    set_random_seed,
)
from .resume import Resumable

ENGINE = choose_engine()
if ENGINE == "dassl":
    ENGINE_VERSION = getattr(import_dassl(), "__version__", "unknown")
    from dassl.config import get_cfg_default
    from dassl.data import DataManager, DatasetWrapper
    from dassl.data.data_manager import build_data_loader
    from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum, build_dataset
    from dassl.data.transforms import build_transform
    from dassl.engine import TRAINER_REGISTRY, build_trainer
    from dassl.engine import SimpleTrainer as _SimpleTrainer
    from dassl.engine import TrainerBase as _TrainerBase
    from dassl.engine import TrainerX as _TrainerX
    from dassl.engine import TrainerXU as _TrainerXU
    from dassl.evaluation import EVALUATOR_REGISTRY, EvaluatorBase, build_evaluator
else:
    try:
        from .embedded.data import (
            DATASET_REGISTRY,
            DataManager,
            DatasetBase,
            DatasetWrapper,
            Datum,
            build_data_loader,
            build_dataset,
            build_transform,
        )
        from .embedded.defaults import get_cfg_default
        from .embedded.evaluation import EVALUATOR_REGISTRY, EvaluatorBase, build_evaluator
        from .embedded.trainer import TRAINER_REGISTRY, build_trainer
        from .embedded.trainer import SimpleTrainer as _SimpleTrainer
        from .embedded.trainer import TrainerBase as _TrainerBase
        from .embedded.trainer import TrainerX as _TrainerX
        from .embedded.trainer import TrainerXU as _TrainerXU
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("dho_prompt"):
            raise
        raise ImportError(f"training needs the package '{error.name}', which is not installed") from error
    ENGINE_VERSION = __version__


class TrainerBase(Resumable, _TrainerBase):
    """Registered models and the order of a run; resumes exactly."""


class SimpleTrainer(TrainerBase, _SimpleTrainer):
    """Adds data, evaluation, logging and checkpoints of a classifier."""


class TrainerX(SimpleTrainer, _TrainerX):
    """Trains on labelled batches: ``forward_backward(batch)``."""


class TrainerXU(SimpleTrainer, _TrainerXU):
    """Trains on pairs of a labelled and an unlabelled batch: ``forward_backward(batch_x, batch_u)``."""


def describe_engine() -> str:
    """One line for the log: which engine runs, and its version."""
    if ENGINE == "dassl":
        return f"Engine: Dassl {ENGINE_VERSION} (with dho_prompt's checkpoints, optimisers and schedules)"
    return f"Engine: dho_prompt's embedded one ({ENGINE_VERSION}); Dassl is not used"


def register_if_absent(registry: Any, cls: Any, name: str | None = None) -> Any:
    """Register ``cls`` unless the name is taken, for example by the host's own class.

    Args:
        registry: any of the three registries.
        cls: the class.
        name: to be registered by; default its ``__name__``.

    Returns:
        The class that the name stands for: the one that was there before, or ``cls``.
    """
    name = cls.__name__ if name is None else name
    if name in registry.registered_names():
        return registry.get(name)
    registry._do_register(name, cls)
    return cls


def register_trainer(cls: Any) -> Any:
    """Decorator: register a trainer class of ours by its name.

    Its file may be imported under two names, as ``trainers.<file>`` and ``dho_prompt.trainers.<file>``: the first
    import registers the class, and both modules then hold that one.

    Raises:
        ValueError: the name belongs to another class.
    """
    name = cls.__name__
    if name not in TRAINER_REGISTRY.registered_names():
        TRAINER_REGISTRY._do_register(name, cls)
        return cls
    first = TRAINER_REGISTRY.get(name)
    if _source_file(first) != _source_file(cls):
        raise ValueError(
            f"a trainer named {name} is registered already ({first.__module__}.{first.__qualname__}), so "
            f"{cls.__module__} cannot register its own; import only one of the two"
        )
    return first


def _source_file(cls: Any) -> str:
    return os.path.realpath(getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__)


__all__ = [
    "DATASET_REGISTRY",
    "ENGINE",
    "ENGINE_VERSION",
    "EVALUATOR_REGISTRY",
    "TRAINER_REGISTRY",
    "AverageMeter",
    "DataManager",
    "DatasetBase",
    "DatasetWrapper",
    "Datum",
    "EvaluatorBase",
    "MetricMeter",
    "Resumable",
    "SimpleTrainer",
    "TrainerBase",
    "TrainerX",
    "TrainerXU",
    "build_data_loader",
    "build_dataset",
    "build_evaluator",
    "build_lr_scheduler",
    "build_optimizer",
    "build_trainer",
    "build_transform",
    "collect_env_info",
    "compute_accuracy",
    "count_num_param",
    "describe_engine",
    "get_cfg_default",
    "listdir_nohidden",
    "load_checkpoint",
    "load_pretrained_weights",
    "load_strictly",
    "mkdir_if_missing",
    "read_image",
    "register_if_absent",
    "register_trainer",
    "save_checkpoint",
    "set_random_seed",
    "setup_logger",
]
