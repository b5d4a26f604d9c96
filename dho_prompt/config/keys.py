"""Keys that belong to no single part: data, tests, optimisation."""

from __future__ import annotations

from dho_prompt.config import Setting, declare
from dho_prompt.config.ranges import EPOCHS, MOST, PATH, Items, Number, Text, Whole

declare(
    "MODEL.BACKBONE",
    {
        "WEIGHTS": Setting("", "a file with the weights of NAME, instead of what the name fetches", PATH),
        "STORE": Setting(
            "", "a folder with a frozen tower's features of every training image, as TRAINER.DHO.TEACHER.STORE", PATH
        ),
    },
)
declare(
    "DATASET",
    {
        "SUBSAMPLE_CLASSES": Setting("all", "all, base or new classes (Zhou et al., CoCoOp)", ("all", "base", "new")),
        "LABELED_PERCENT": Setting(
            0.0,
            "labelled images as a share of the training set in percent, balanced over the classes",
            Number(0, 100, open_least=True, special=0, meaning="off"),
        ),
        "LABELED_LIST": Setting(
            "",
            "a text file that names the labelled images, one a line (SimCLR's lists); {seed} in it is the run's seed",
            PATH,
        ),
        "SPLIT_FEWSHOT": Setting(
            "ours",
            "which images NUM_SHOTS labels: ours (a hash of seed and name) or coop (the pickles in split_fewshot)",
            ("ours", "coop"),
        ),
        "VAL_SHOTS": Setting(
            -1,
            "validation images per class; CoOp's few-shot protocol takes the smaller of shots and 4, Table 10 all",
            Whole(1, MOST, special=-1, meaning="all"),
        ),
        "FOLDER": Setting("", "for DATASET.NAME ImageFolder: the folder, absolute or below DATASET.ROOT", PATH),
    },
)
declare(
    "INPUT",
    {
        "FAST_RESIZE": Setting(
            False, "resize training images as 8-bit tensors: about twice as many a second, pixels rounded otherwise"
        ),
    },
)
declare(
    "TEST",
    {
        "SHIFTED_SETS": Setting(
            (),
            "further test sets of the same classes or some of them, evaluated after training",
            Items(Text(1), 0, 100, "distinct"),
        ),
        "ALL_CLASSES": Setting(
            False, "score sets of fewer classes (ImageNet-A and -R: 200) among all classes of the model"
        ),
    },
)
declare(
    "DATALOADER",
    {
        "FIT_BATCH": Setting(
            True, "let a step take the whole labelled set where it is smaller than the batch; False refuses"
        ),
        "MAX_UNREADABLE": Setting(
            10,
            "training images that may be unreadable; each is named in the log and replaced, one more stops the run",
            Whole(0, MOST),
        ),
        "STORE_VIEWS": Setting(
            0, "views of an image that STORE auto keeps", Whole(1, EPOCHS, 0, "as many as the run shows")
        ),
        "STORE_REUSE": Setting(False, "show views again where a run shows an image more often than there are views"),
    },
)
declare(
    "OPTIM",
    {
        "SCHEDULE_BY": Setting(
            "epoch",
            "what the learning rate changes with: epoch (Dassl's schedules) or iteration",
            ("epoch", "iteration"),
        ),
        "WARMUP_STEPS": Setting(
            0, "iterations of linear warm-up before the cosine of SCHEDULE_BY iteration (Table 11)", Whole(0, MOST)
        ),
        "ACCUMULATE": Setting(
            1, "equal parts that a batch is computed in, one after the other, to save memory", Whole(1, 4096)
        ),
        "CLIP_NORM": Setting(
            0.0,
            "largest norm of the gradient of all that is trained",
            Number(0, open_least=True, special=0, meaning="any"),
        ),
        "FUSED": Setting(
            False, "update all weights by one kernel (sgd, adam, amsgrad, adamw); Adam's last bits differ"
        ),
        "DECAY_ALL": Setting(True, "decay biases and the weights of normalisations too, as published"),
        "EMA": Setting(
            0.0,
            "decay of a moving average of the weights, which is what remains at the end",
            Number(0, 1, open_least=True, open_most=True, special=0, meaning="none"),
        ),
    },
)
declare(
    "",
    {"TORCH_THREADS": Setting(0, "CPU threads of PyTorch", Whole(1, 1024, 0, "PyTorch's own choice"))},
)
