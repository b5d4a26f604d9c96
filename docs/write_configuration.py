"""Write docs/configuration.md from the code: python docs/write_configuration.py. A test says when it is out of date."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from dho_prompt.config import declared, extend_cfg, known_keys, ranges
from dho_prompt.engine.embedded.defaults import get_cfg_default

PAGE = Path(__file__).with_name("configuration.md")
HEAD = """\
# Configuration: every key

Written from the code by `python docs/write_configuration.py`.

Keys are set in a YAML file (`--config-file`, `--dataset-config-file`) or behind a command, as `KEY VALUE` pairs, which
win:

```bash
TAG=lambda bash scripts/coop_dho.sh digits 4 TRAINER.DHO.LAMBDA 0.7 OPTIM.MAX_EPOCH 100
```

Unknown keys are refused, with the nearest known one named, and values outside a key's range, with the range. The log
names settings that a run does not use. Lists are written as in Python: `"('digits-teacher', 'RN50')"`. The defaults
here are those of the code; a recipe below `configs/` sets its own, and the scripts choose a recipe.

What most runs change: `TRAINER.DHO.*`, `MODEL.BACKBONE.NAME`, `OPTIM.LR`, `OPTIM.MAX_EPOCH`, `DATASET.NUM_SHOTS`.
"""
TITLES = {
    "TRAINER.DHO": "The DHO pathway",
    "TRAINER.DHO.TEACHER": "The teacher",
    "MODEL": "The student",
    "TRAINER.COOP": "CoOp",
    "TRAINER.PROMPTSRC": "PromptSRC",
    "TRAINER.VPT": "VPT",
    "TRAINER.LINEAR_PROBE": "Linear probing",
    "TRAINER.FINETUNE": "Students trained in full",
    "TRAINER.TIP_ADAPTER": "Tip-Adapter",
    "TRAINER.ZEROSHOT": "Zero-shot CLIP",
    "DATASET": "Data sets",
    "DATALOADER": "Batches",
    "INPUT": "Images",
    "OPTIM": "Optimiser and schedule",
    "TRAIN": "Training",
    "TEST": "Evaluation",
    "": "The run",
}
# What Dassl's own keys mean; ours say it where they are declared
DASSL = {
    "OUTPUT_DIR": "folder of the run (`--output-dir`)",
    "RESUME": "folder of another run to go on from (`--resume`)",
    "SEED": "of images, weights and order (`--seed`)",
    "USE_CUDA": "take a GPU where there is one",
    "VERBOSE": "print the configuration and the environment",
    "INPUT.SIZE": "height and width in pixels",
    "INPUT.INTERPOLATION": "of every resize",
    "INPUT.TRANSFORMS": "augmentations of training images, in this order",
    "INPUT.NO_TRANSFORM": "of Dassl; refused when True",
    "INPUT.PIXEL_MEAN": "of the student's images, per channel",
    "INPUT.PIXEL_STD": "of the student's images, per channel",
    "INPUT.CROP_PADDING": "pixels around an image for random_crop",
    "INPUT.RRCROP_SCALE": "share of an image's area that random_resized_crop takes",
    "INPUT.CUTOUT_N": "holes of cutout",
    "INPUT.CUTOUT_LEN": "their side in pixels",
    "INPUT.GN_MEAN": "mean of gaussian_noise",
    "INPUT.GN_STD": "its standard deviation",
    "INPUT.RANDAUGMENT_N": "operations of randaugment",
    "INPUT.RANDAUGMENT_M": "their strength",
    "INPUT.COLORJITTER_B": "brightness of colorjitter",
    "INPUT.COLORJITTER_C": "its contrast",
    "INPUT.COLORJITTER_S": "its saturation",
    "INPUT.COLORJITTER_H": "its hue",
    "INPUT.RGS_P": "chance of randomgrayscale",
    "INPUT.GB_P": "chance of gaussian_blur",
    "INPUT.GB_K": "its kernel in pixels",
    "DATASET.ROOT": "folder of the data sets (`--root`)",
    "DATASET.NAME": "a data set, `ImageFolder`, or a class of your own as `package.module:Class`",
    "DATASET.SOURCE_DOMAINS": "of Dassl's domain data sets (`--source-domains`)",
    "DATASET.TARGET_DOMAINS": "of Dassl's domain data sets (`--target-domains`)",
    "DATASET.NUM_LABELED": "of Dassl's semi-supervised data sets",
    "DATASET.NUM_SHOTS": "labelled images per class",
    "DATASET.VAL_PERCENT": "of Dassl's data sets that split themselves",
    "DATASET.STL10_FOLD": "of Dassl's STL-10",
    "DATASET.CIFAR_C_TYPE": "of Dassl's CIFAR-C",
    "DATASET.CIFAR_C_LEVEL": "of Dassl's CIFAR-C",
    "DATASET.ALL_AS_UNLABELED": "of Dassl's semi-supervised data sets",
    "DATALOADER.NUM_WORKERS": "processes that read images",
    "DATALOADER.K_TRANSFORMS": "views of a training image; more than 1 is refused",
    "DATALOADER.RETURN_IMG0": "of Dassl; refused when True",
    "DATALOADER.TRAIN_X.SAMPLER": "order of the labelled images",
    "DATALOADER.TRAIN_X.BATCH_SIZE": "labelled images in a step",
    "DATALOADER.TRAIN_X.N_DOMAIN": "of Dassl's RandomDomainSampler",
    "DATALOADER.TRAIN_X.N_INS": "of Dassl's RandomClassSampler",
    "DATALOADER.TRAIN_U.SAME_AS_X": "unlabelled batches as the labelled ones",
    "DATALOADER.TRAIN_U.SAMPLER": "order of the unlabelled images, without SAME_AS_X",
    "DATALOADER.TRAIN_U.BATCH_SIZE": "unlabelled images in a step, without SAME_AS_X",
    "DATALOADER.TRAIN_U.N_DOMAIN": "of Dassl's RandomDomainSampler",
    "DATALOADER.TRAIN_U.N_INS": "of Dassl's RandomClassSampler",
    "DATALOADER.TEST.SAMPLER": "order of the test images",
    "DATALOADER.TEST.BATCH_SIZE": "test images at a time",
    "MODEL.INIT_WEIGHTS": "a checkpoint that the run starts from",
    "MODEL.BACKBONE.NAME": "the student: a CLIP ([names](datasets.md#models)) or a [network](students.md#networks)",
    "MODEL.BACKBONE.PRETRAINED": "of Dassl's backbones",
    "MODEL.HEAD.NAME": "of Dassl's SimpleNet",
    "MODEL.HEAD.HIDDEN_LAYERS": "of Dassl's SimpleNet",
    "MODEL.HEAD.ACTIVATION": "of Dassl's SimpleNet",
    "MODEL.HEAD.BN": "of Dassl's SimpleNet",
    "MODEL.HEAD.DROPOUT": "of Dassl's SimpleNet",
    "OPTIM.NAME": "optimiser",
    "OPTIM.LR": "learning rate",
    "OPTIM.WEIGHT_DECAY": "weight decay",
    "OPTIM.MOMENTUM": "of sgd and rmsprop",
    "OPTIM.SGD_DAMPNING": "of sgd",
    "OPTIM.SGD_NESTEROV": "of sgd",
    "OPTIM.RMSPROP_ALPHA": "of rmsprop",
    "OPTIM.ADAM_BETA1": "of adam, amsgrad, radam and adamw",
    "OPTIM.ADAM_BETA2": "of adam, amsgrad, radam and adamw",
    "OPTIM.STAGED_LR": "of Dassl; refused when True by the embedded engine",
    "OPTIM.NEW_LAYERS": "of STAGED_LR",
    "OPTIM.BASE_LR_MULT": "of STAGED_LR",
    "OPTIM.LR_SCHEDULER": "how the rate changes",
    "OPTIM.STEPSIZE": "epochs at which a step schedule lowers it",
    "OPTIM.GAMMA": "factor of a step schedule",
    "OPTIM.MAX_EPOCH": "epochs",
    "OPTIM.WARMUP_EPOCH": "epochs of warm-up",
    "OPTIM.WARMUP_TYPE": "how the rate is in them",
    "OPTIM.WARMUP_CONS_LR": "rate of a constant warm-up",
    "OPTIM.WARMUP_MIN_LR": "first rate of a linear warm-up",
    "OPTIM.WARMUP_RECOUNT": "the schedule counts its epochs from the end of the warm-up",
    "TRAIN.CHECKPOINT_FREQ": "epochs between checkpoints that are kept",
    "TRAIN.PRINT_FREQ": "batches between lines of the log",
    "TRAIN.COUNT_ITER": "whose batches make an epoch: labelled, unlabelled, or the fewer",
    "TEST.EVALUATOR": "of Dassl's registry",
    "TEST.PER_CLASS_RESULT": "print the accuracy of each class",
    "TEST.COMPUTE_CMAT": "write a confusion matrix",
    "TEST.NO_TEST": "train without a test",
    "TEST.SPLIT": "what a run is tested on",
    "TEST.FINAL_MODEL": "which checkpoint is tested; best_val is chosen on validation images",
    "TRAINER.NAME": "the trainer (`--trainer`)",
}
# Dassl's nodes for its own trainers
FOREIGN = [name for name, node in get_cfg_default().TRAINER.items() if isinstance(node, CfgNode)]
_ANY = re.compile(r" \([01] to 4096 characters\)")  # as long as anybody writes
LEFT_OUT = ("VERSION", *(f"TRAINER.{name}." for name in FOREIGN))  # Dassl's own trainers: here only so that files merge


def page() -> str:
    """The page, in Markdown: a table for each group of keys."""
    cfg, abouts = extend_cfg(get_cfg_default()), {key: setting.about for key, setting in declared().items()}
    abouts, allowed = {**DASSL, **abouts}, ranges()
    groups: dict[str, list[str]] = {node: [] for node in TITLES}
    for key in known_keys(cfg):
        if not key.startswith(LEFT_OUT):
            values = allowed[key].words if key in allowed else f"any {type(_value(cfg, key)).__name__}"
            groups[_group(key)].append(_row(f"`{key}`", _shown(_value(cfg, key)), _ANY.sub("", values), abouts[key]))
    parts = [HEAD]
    for node, rows in groups.items():
        rows.sort()
        head = f"## {TITLES[node]}\n\n| key | default | allowed | meaning |\n|---|---|---|---|\n"
        parts.append(head + "\n".join(rows) + "\n")
    left = ", ".join(f"`TRAINER.{name}`" for name in FOREIGN)
    parts.append(f"Dassl's nodes for its own trainers ({left}) and `VERSION` are there so that its files merge.\n")
    return "\n".join(parts)


def _group(key: str) -> str:
    return max((node for node in TITLES if not node or key.startswith(f"{node}.")), key=len)


def _value(cfg: CfgNode, key: str) -> Any:
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def _shown(value: Any) -> str:
    return "" if value == "" else f"`{value}`"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
