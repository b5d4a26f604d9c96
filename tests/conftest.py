"""Fixtures shared by all tests: small models, a small data set, the arguments of a small run."""

import pytest

from tests_support import MEAN, STD, write_clip, write_imagenet


@pytest.fixture(scope="session")
def student_clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "student", 32, 32, seed=1)


@pytest.fixture(scope="session")
def teacher_clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "teacher", 48, 40, seed=2)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    return write_imagenet(tmp_path_factory.mktemp("data"))


@pytest.fixture
def train_args(data_root, student_clip, teacher_clip, tmp_path):
    """Arguments of a small run: ``train_args(trainer, KEY, VALUE, ...)``; output goes to ``tmp_path / "run"``."""

    def arguments(trainer, *opts, output=None, seed=1):
        fixed = {
            "DATASET.NAME": "ImageNet",
            "DATASET.NUM_SHOTS": "2",
            "INPUT.SIZE": "(32, 32)",
            "INPUT.TRANSFORMS": "('random_resized_crop', 'random_flip', 'normalize')",
            "INPUT.PIXEL_MEAN": str(MEAN),
            "INPUT.PIXEL_STD": str(STD),
            "MODEL.BACKBONE.NAME": student_clip,
            "TRAINER.DHO.TEACHER.NAME": teacher_clip,
            "TRAINER.DHO.TEACHER.TEMPLATES": "('a photo of a {}.',)",
            "TRAINER.COOP.N_CTX": "2",
            "TRAINER.COOP.PREC": "fp32",
            "OPTIM.NAME": "sgd",
            "OPTIM.LR": "0.01",
            "OPTIM.MAX_EPOCH": "3",
            "OPTIM.LR_SCHEDULER": "cosine",
            "OPTIM.WARMUP_EPOCH": "1",
            "OPTIM.WARMUP_TYPE": "constant",
            "DATALOADER.NUM_WORKERS": "0",
            "TRAIN.COUNT_ITER": "train_u",
            "TRAIN.PRINT_FREQ": "1",
            "VERBOSE": "False",
        }
        fixed.update(zip(opts[0::2], map(str, opts[1::2])))
        output = tmp_path / "run" if output is None else output
        flags = ["--root", str(data_root), "--seed", str(seed), "--trainer", trainer, "--output-dir", str(output)]
        return flags + [word for pair in fixed.items() for word in pair]

    return arguments


@pytest.fixture(scope="session")
def students(tmp_path_factory):
    """Folders of three tiny CLIPs in OpenAI's format too: narrow, wide, and narrow with other weights."""
    from real_hosts import openai_clip

    kinds = ((False, 3), (True, 3), (False, 4))
    return [openai_clip(tmp_path_factory.mktemp("student") / "clip", wide, seed) for wide, seed in kinds]


@pytest.fixture
def host(name, students, teacher_clip, data_root, tmp_path):
    """The checkout of another code base with the trainer ``name``, or a skipped test (see ``real_hosts.py``)."""
    from real_hosts import Host

    return Host(name, students, teacher_clip, data_root, tmp_path)


@pytest.fixture(scope="session")
def clip_folders(tmp_path_factory):
    """Student and teacher that have nothing in common: size, temperature of the cosine logits, normalisation."""
    folder = tmp_path_factory.mktemp("clips")
    student = write_clip(folder / "student", 32, 32, seed=11, zeta=0.03)
    teacher = write_clip(folder / "teacher", 48, 40, 12, zeta=0.05, mean=[0.3, 0.4, 0.5], std=[0.2, 0.3, 0.25])
    return student, teacher


@pytest.fixture(scope="session")
def clips(clip_folders):
    """The same in float64, for what is restated by hand."""
    import by_hand

    return [by_hand.read_clip(folder) for folder in clip_folders]
