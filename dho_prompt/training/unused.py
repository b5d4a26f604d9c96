"""Settings that a run of one of our trainers passes over, to be named in its log."""

from __future__ import annotations

from typing import Any

from dho_prompt.config import differences, extend_cfg, plain
from dho_prompt.data.datasets.base import NamedClasses
from dho_prompt.engine import DATASET_REGISTRY, get_cfg_default
from dho_prompt.training.method_trainer import MethodTrainer

# Keys that are there for Dassl's own trainers and transforms
OF_DASSL = {
    "INPUT": (
        *("CROP_PADDING", "CUTOUT_N", "CUTOUT_LEN", "GN_MEAN", "GN_STD", "RANDAUGMENT_N", "RANDAUGMENT_M", "RGS_P"),
        *("COLORJITTER_B", "COLORJITTER_C", "COLORJITTER_S", "COLORJITTER_H", "GB_P", "GB_K"),
    ),
    "DATALOADER": ("TRAIN_X.N_DOMAIN", "TRAIN_X.N_INS", "TRAIN_U.SAMPLER", "TRAIN_U.N_DOMAIN", "TRAIN_U.N_INS"),
    "MODEL": ("HEAD", "BACKBONE.PRETRAINED"),
}
OF_OUR_SETS = (
    *("ROOT", "NAME", "NUM_SHOTS", "SPLIT_FEWSHOT", "SUBSAMPLE_CLASSES", "LABELED_PERCENT", "LABELED_LIST"),
    "VAL_SHOTS",
)
OF_OPTIMISERS = {
    "MOMENTUM": ("sgd", "rmsprop"),
    "SGD_DAMPNING": ("sgd",),
    "SGD_NESTEROV": ("sgd",),
    "RMSPROP_ALPHA": ("rmsprop",),
    "ADAM_BETA1": ("adam", "amsgrad", "adamw", "radam"),
    "ADAM_BETA2": ("adam", "amsgrad", "adamw", "radam"),
}
OF_WARMUP = ("WARMUP_TYPE", "WARMUP_CONS_LR", "WARMUP_MIN_LR", "WARMUP_RECOUNT")


def unused_settings(cfg: Any, trainer: Any) -> list[str]:
    """Keys that are set to something else than their default and that a run does not read.

    Args:
        cfg: of the run.
        trainer: its class; nothing is known, and [] returned, of others than ours.
    """
    if not _extends(trainer, MethodTrainer):
        return []
    default = extend_cfg(get_cfg_default())
    changed = [line.partition(":")[0] for line in differences(plain(default), plain(cfg))]
    idle = tuple(f"{key}." for key in [*_idle(cfg), *_idle_in_training(cfg, trainer)])
    return [key for key in changed if _is_foreign(key, trainer) or f"{key}.".startswith(idle)]


def _extends(found: Any, cls: type) -> bool:
    return isinstance(found, type) and issubclass(found, cls)  # a registry may hold functions


def _is_foreign(key: str, trainer: type) -> bool:
    """Whether a key belongs to another trainer."""
    own = ("NAME", trainer.node, *(["DHO"] if trainer.distils else []))
    return key.startswith("TRAINER.") and key.split(".")[1] not in own and key not in trainer.reads


def _idle(cfg: Any) -> list[str]:
    keys = [f"{node}.{key}" for node, names in OF_DASSL.items() for key in names]
    if "random_resized_crop" not in cfg.INPUT.TRANSFORMS:
        keys.append("INPUT.RRCROP_SCALE")
    if "normalize" not in cfg.INPUT.TRANSFORMS:
        keys += ["INPUT.PIXEL_MEAN", "INPUT.PIXEL_STD"]
    if not cfg.TEST.SHIFTED_SETS:
        keys.append("TEST.ALL_CLASSES")
    if _extends(DATASET_REGISTRY.get(cfg.DATASET.NAME), NamedClasses):  # another class may read what it likes
        read = (*OF_OUR_SETS, *(["FOLDER"] if cfg.DATASET.NAME == "ImageFolder" else []))
        keys += [f"DATASET.{name}" for name in cfg.DATASET if name not in read]
    return keys


def _idle_in_training(cfg: Any, trainer: type) -> list[str]:
    optim, loader = cfg.OPTIM, cfg.DATALOADER.TRAIN_U
    if not trainer.trains:
        return ["OPTIM", "DATALOADER.TRAIN_U"]
    names = [name for name, optimisers in OF_OPTIMISERS.items() if optim.NAME not in optimisers]
    names += [] if optim.STAGED_LR else ["NEW_LAYERS", "BASE_LR_MULT"]
    if optim.SCHEDULE_BY == "iteration":
        names += ["STEPSIZE", "GAMMA", "WARMUP_EPOCH", *OF_WARMUP]
    else:
        names += ["WARMUP_STEPS", *(["STEPSIZE", "GAMMA"] if optim.LR_SCHEDULER == "cosine" else [])]
        constant = optim.WARMUP_TYPE == "constant"
        names += OF_WARMUP if optim.WARMUP_EPOCH < 1 else ["WARMUP_MIN_LR" if constant else "WARMUP_CONS_LR"]
    keys = [f"OPTIM.{name}" for name in names]
    if not trainer.distils and cfg.TRAIN.COUNT_ITER == "train_x":
        keys.append("DATALOADER.TRAIN_U")
    elif loader.SAME_AS_X:
        keys.append("DATALOADER.TRAIN_U.BATCH_SIZE")
    return keys
