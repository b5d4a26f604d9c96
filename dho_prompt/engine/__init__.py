"""Dassl's contract, whichever engine provides it.

Trainers and data sets are written once against the names below. They come from the real Dassl when it is installed, so
that they join a host's registries, and else from the embedded engine. ``DHO_PROMPT_ENGINE=dassl`` or ``=embedded`` in
the environment forces one.

On both engines the optimisers, schedules, checkpoint files and small helpers are ours: the learning rates and the
layout are Dassl's, but its schedules do not build on torch 2.7 and later, and its checkpoints are neither atomic nor
readable with ``weights_only=True``. A trainer on :class:`TrainerX` has :class:`dho_prompt.runs.resume.Resumable`
before it, which saves and resumes.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from dho_prompt import __version__
from dho_prompt.engine.checkpoint import load_checkpoint, load_pretrained_weights, load_strictly, save_checkpoint
from dho_prompt.engine.choose import choose_engine, import_dassl
from dho_prompt.engine.logger import setup_logger
from dho_prompt.engine.numpy_fits import check_numpy
from dho_prompt.engine.optim import build_optimizer
from dho_prompt.engine.rng import set_random_seed
from dho_prompt.engine.schedules import build_lr_scheduler
from dho_prompt.engine.utils import collect_env_info, compute_accuracy, read_image

check_numpy()
ENGINE = choose_engine()
if ENGINE == "dassl":
    ENGINE_VERSION = getattr(import_dassl(), "__version__", "unknown")
    from dassl.config import get_cfg_default
    from dassl.data import DataManager, DatasetWrapper
    from dassl.data.data_manager import build_data_loader
    from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum, build_dataset
    from dassl.data.transforms import build_transform
    from dassl.engine import TRAINER_REGISTRY, TrainerX, build_trainer
    from dassl.evaluation import EVALUATOR_REGISTRY, build_evaluator
else:
    try:
        from dho_prompt.engine.embedded.data import DataManager, DatasetWrapper, build_data_loader
        from dho_prompt.engine.embedded.dataset import DATASET_REGISTRY, DatasetBase, Datum, build_dataset
        from dho_prompt.engine.embedded.defaults import get_cfg_default
        from dho_prompt.engine.embedded.evaluation import EVALUATOR_REGISTRY, build_evaluator
        from dho_prompt.engine.embedded.trainer import TRAINER_REGISTRY, TrainerX, build_trainer
        from dho_prompt.engine.embedded.transforms import build_transform
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("dho_prompt"):
            raise
        raise ImportError(f"training needs the package '{error.name}', which is not installed") from error
    ENGINE_VERSION = __version__


def describe_engine() -> str:
    """One line for the log: which engine runs, and its version."""
    if ENGINE == "dassl":
        return f"Engine: Dassl {ENGINE_VERSION} (with dho_prompt's checkpoints, optimisers and schedules)"
    return f"Engine: dho_prompt's embedded one ({ENGINE_VERSION}); Dassl is not used"


def register_if_absent(registry: Any, cls: Any, name: str | None = None) -> Any:
    """Register ``cls`` unless the name is taken, for example by the host's own class.

    Args:
        registry: any of the registries.
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
    from dho_prompt.config import declared  # needs yacs, whose absence is named above
    from dho_prompt.config.unknown import explain_unknown_keys

    explain_unknown_keys(declared)
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
    "DataManager",
    "DatasetBase",
    "DatasetWrapper",
    "Datum",
    "TrainerX",
    "build_data_loader",
    "build_dataset",
    "build_evaluator",
    "build_lr_scheduler",
    "build_optimizer",
    "build_trainer",
    "build_transform",
    "collect_env_info",
    "compute_accuracy",
    "describe_engine",
    "get_cfg_default",
    "load_checkpoint",
    "load_pretrained_weights",
    "load_strictly",
    "read_image",
    "register_if_absent",
    "register_trainer",
    "save_checkpoint",
    "set_random_seed",
    "setup_logger",
]
