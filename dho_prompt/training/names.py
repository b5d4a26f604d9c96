"""Names in a configuration that must mean something, looked up before data and models are loaded."""

from __future__ import annotations

from typing import Any

from dho_prompt.engine import DATASET_REGISTRY, EVALUATOR_REGISTRY, TRAINER_REGISTRY
from dho_prompt.engine.embedded.registry import unknown_name
from dho_prompt.training.build_teacher import check_teacher, teaches_nothing

TRAINER = "TRAINER.NAME, flag --trainer"


def check_names(cfg: Any, training: bool) -> None:
    """Refuse names of trainers, data sets and teachers that nothing goes by, and files that are not there.

    The student's are looked up by its trainer (:meth:`.MethodTrainer.check_cfg`), in a host's own train.py too.

    Args:
        cfg: of a run whose trainer and data sets are registered.
        training: whether the teacher will be loaded; an evaluation does without.

    Raises:
        FileNotFoundError, ValueError: names the key and the nearest known names.
    """
    trainer = _registered(TRAINER_REGISTRY, "trainer", TRAINER, cfg.TRAINER.NAME)
    _registered(DATASET_REGISTRY, "data set", "DATASET.NAME, which a --dataset-config-file brings", cfg.DATASET.NAME)
    for name in cfg.TEST.SHIFTED_SETS:
        _registered(DATASET_REGISTRY, "data set", "TEST.SHIFTED_SETS", name)
    _registered(EVALUATOR_REGISTRY, "evaluator", "TEST.EVALUATOR", cfg.TEST.EVALUATOR)
    untaught = cfg.TRAINER.DHO.OBJECTIVE == "ce" or teaches_nothing(cfg)
    if training and getattr(trainer, "distils", False) and not untaught:
        check_teacher(cfg)


def check_trained(cfg: Any) -> None:
    """Refuse to evaluate a trainer that has something to train without a trained run.

    Raises:
        ValueError: the trainer of ``cfg``, which is registered, is such a one.
    """
    name = cfg.TRAINER.NAME
    if getattr(_registered(TRAINER_REGISTRY, "trainer", TRAINER, name), "trains", True):
        raise ValueError(
            f"--eval-only without --model-dir would evaluate an untrained {name}; give the output folder of a trained "
            "run (only a trainer that trains nothing, such as ZeroshotCLIP, needs none)"
        )


def _registered(registry: Any, kind: str, key: str, name: str) -> Any:
    if name not in registry.registered_names():
        raise ValueError(f"{unknown_name(kind, name, registry.registered_names())} (set by {key})")
    return registry.get(name)
