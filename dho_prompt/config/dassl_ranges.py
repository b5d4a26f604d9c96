"""What Dassl's own keys allow, as far as a run here reads them, whichever engine brings the keys.

A host checks its own keys itself, or not at all; see :data:`READ_IN_HOSTS` for what is checked there.
"""

from __future__ import annotations

from dho_prompt.config.ranges import EPOCHS, MOST, PATH, SHARE, SWITCH, TEXT, Choice, Items, Number, Range, Text, Whole

DECAY = Number(0, 1, open_most=True)
RATE = Number(0)
SIZE = Whole(1, 4096)  # pixels
BATCH = Whole(1, 10**5)

_SAMPLERS = Choice(
    ("RandomSampler", "SequentialSampler", "RandomDomainSampler", "SeqDomainSampler", "RandomClassSampler")
)
_TRANSFORMS = Choice(
    ("random_resized_crop", "random_flip", "normalize", "center_crop", "random_crop", "random_translation")
    + ("imagenet_policy", "cifar10_policy", "svhn_policy", "randaugment", "randaugment_fixmatch", "randaugment2")
    + ("colorjitter", "randomgrayscale", "gaussian_blur", "cutout", "gaussian_noise", "instance_norm")
)
_LOADER = {"SAMPLER": _SAMPLERS, "BATCH_SIZE": BATCH, "N_DOMAIN": Whole(0, MOST), "N_INS": Whole(1, MOST)}

_NODES: dict[str, dict[str, Range]] = {
    "": {
        "OUTPUT_DIR": PATH,
        "RESUME": PATH,
        "SEED": Whole(-(2**32), 2**32 - 1),  # negative: drawn freely
        "USE_CUDA": SWITCH,
        "VERBOSE": SWITCH,
    },
    "INPUT": {
        "SIZE": Items(SIZE, 2, 2, "equal"),
        "INTERPOLATION": Choice(("bilinear", "bicubic", "nearest")),
        "TRANSFORMS": Items(_TRANSFORMS, 0, 32, "distinct"),
        "NO_TRANSFORM": SWITCH,
        "PIXEL_MEAN": Items(SHARE, 3, 3),
        "PIXEL_STD": Items(Number(0.001, 1), 3, 3),
        "CROP_PADDING": Whole(0, 4096),
        "RRCROP_SCALE": Items(Number(0, 1, open_least=True), 2, 2, "rising"),
        "CUTOUT_N": Whole(0, 1000),
        "CUTOUT_LEN": Whole(0, 4096),
        "GN_MEAN": Number(-10, 10),
        "GN_STD": Number(0, 10),
        "RANDAUGMENT_N": Whole(0, 100),
        "RANDAUGMENT_M": Whole(0, 30),
        "COLORJITTER_B": Number(0, 10),
        "COLORJITTER_C": Number(0, 10),
        "COLORJITTER_S": Number(0, 10),
        "COLORJITTER_H": Number(0, 0.5),
        "RGS_P": SHARE,
        "GB_P": SHARE,
        "GB_K": Whole(1, 999),
    },
    "DATASET": {
        "ROOT": PATH,
        "NAME": TEXT,
        "SOURCE_DOMAINS": Items(Text(1), 0, 1000, "distinct"),
        "TARGET_DOMAINS": Items(Text(1), 0, 1000, "distinct"),
        "NUM_LABELED": Whole(1, MOST, -1, "all images"),
        "NUM_SHOTS": Whole(1, MOST, -1, "all images"),
        "VAL_PERCENT": DECAY,
        "STL10_FOLD": Whole(0, 9, -1, "all folds"),
        "CIFAR_C_TYPE": TEXT,
        "CIFAR_C_LEVEL": Whole(1, 5),
        "ALL_AS_UNLABELED": SWITCH,
    },
    "DATALOADER": {
        "NUM_WORKERS": Whole(0, 256),
        "K_TRANSFORMS": Whole(1, 100),
        "RETURN_IMG0": SWITCH,
    },
    "DATALOADER.TRAIN_X": _LOADER,
    "DATALOADER.TRAIN_U": {"SAME_AS_X": SWITCH, **_LOADER},
    "DATALOADER.TEST": {"SAMPLER": _SAMPLERS, "BATCH_SIZE": BATCH},
    "MODEL": {"INIT_WEIGHTS": PATH},
    "MODEL.BACKBONE": {"NAME": TEXT, "PRETRAINED": SWITCH},
    "OPTIM": {
        "NAME": Choice(("adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw")),
        "LR": RATE,
        "WEIGHT_DECAY": RATE,
        "MOMENTUM": DECAY,
        "SGD_DAMPNING": SHARE,
        "SGD_NESTEROV": SWITCH,
        "RMSPROP_ALPHA": DECAY,
        "ADAM_BETA1": DECAY,
        "ADAM_BETA2": DECAY,
        "STAGED_LR": SWITCH,
        "NEW_LAYERS": Items(Text(1), 0, 1000, "distinct"),
        "BASE_LR_MULT": RATE,
        "LR_SCHEDULER": Choice(("single_step", "multi_step", "cosine")),
        "STEPSIZE": Items(Whole(1, EPOCHS, -1, "MAX_EPOCH"), 1, 1000),
        "GAMMA": Number(0, 1, open_least=True),
        "MAX_EPOCH": Whole(1, EPOCHS),
        "WARMUP_EPOCH": Whole(0, EPOCHS, -1, "no warm-up, like 0"),
        "WARMUP_TYPE": Choice(("linear", "constant")),
        "WARMUP_CONS_LR": RATE,
        "WARMUP_MIN_LR": RATE,
        "WARMUP_RECOUNT": SWITCH,
    },
    "TRAIN": {
        "CHECKPOINT_FREQ": Whole(-1, EPOCHS, 0, "keep the last one only, as -1"),
        "PRINT_FREQ": Whole(1, MOST),
        "COUNT_ITER": Choice(("train_x", "train_u", "smaller_one")),
    },
    "TEST": {
        "EVALUATOR": Text(1),
        "PER_CLASS_RESULT": SWITCH,
        "COMPUTE_CMAT": SWITCH,
        "NO_TEST": SWITCH,
        "SPLIT": Choice(("test", "val")),
        "FINAL_MODEL": Choice(("last_step", "best_val")),
    },
    "TRAINER": {"NAME": TEXT},
}

DASSL: dict[str, Range] = {
    f"{node}.{name}".lstrip("."): allowed for node, keys in _NODES.items() for name, allowed in keys.items()
}

# Keys and nodes that our code reads in a host's run too. Others are the host's: it may give NUM_SHOTS 0 a meaning
READ_IN_HOSTS = (
    *("INPUT.SIZE", "INPUT.INTERPOLATION", "INPUT.TRANSFORMS", "INPUT.PIXEL_MEAN", "INPUT.PIXEL_STD"),
    *("INPUT.RRCROP_SCALE", "DATALOADER", "OPTIM", "TRAIN", "TEST"),
    *("DATASET.LABELED_PERCENT", "DATASET.LABELED_LIST"),
)
