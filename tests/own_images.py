"""A small folder of somebody's own images and the settings of a quick run on it."""

import numpy as np

from tests_support import MEAN, STD, write_images

CLASSES = ("bee", "great tit", "wasp")
COUNTS = {"train": 7, "val": 4, "test": 5}


def write_own_folder(folder, draw=None):
    """Class folders below train, val and test, and images without labels."""
    draw = np.random.default_rng(5) if draw is None else draw
    for part, count in COUNTS.items():
        for label, name in enumerate(CLASSES):
            write_images(folder / part / name, label, count, draw, cast=120)
    write_images(folder / "unlabelled" / "more", 1, 6, draw, cast=120)
    return folder


def quick(student, teacher, **more):
    """Settings of a run of two epochs; uneven batches, no value at a default that could hide another."""
    return {
        "INPUT.SIZE": (32, 32),
        "INPUT.INTERPOLATION": "bicubic",
        "INPUT.TRANSFORMS": ("random_resized_crop", "random_flip", "normalize"),
        "INPUT.PIXEL_MEAN": MEAN,
        "INPUT.PIXEL_STD": STD,
        "MODEL.BACKBONE.NAME": student,
        "TRAINER.DHO.TEACHER.NAME": teacher,
        "TRAINER.DHO.TEACHER.PREC": "fp32",
        "TRAINER.DHO.ALPHA": 0.3,
        "TRAINER.DHO.BETA": 0.7,
        "OPTIM.MAX_EPOCH": 2,
        "OPTIM.LR": 0.05,
        "DATALOADER.NUM_WORKERS": 0,
        "DATALOADER.TRAIN_X.BATCH_SIZE": 4,
        "DATALOADER.TEST.BATCH_SIZE": 4,
        "TORCH_THREADS": 1,
        "VERBOSE": False,
        **more,
    }
