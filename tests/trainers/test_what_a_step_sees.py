"""Which images a step gets, and that student and teacher see the same ones, each in its own size and normalisation."""

import random

import numpy as np
import pytest
import torch

import by_hand
from dho_prompt import with_dho
from dho_prompt.data.datasets import ImageNet
from dho_prompt.engine import DATASET_REGISTRY, register_if_absent
from stand_in_hosts import EngineStep
from tests_support import CLASSES, write_imagenet
from trainer_contract import build, first_batches


class Drawing(ImageNet):
    """As a host's data set that splits itself: it draws random numbers whenever it is built."""

    def __init__(self, cfg):
        random.random(), np.random.rand(), torch.rand(1)
        super().__init__(cfg)


register_if_absent(DATASET_REGISTRY, Drawing)
HOST = with_dho(EngineStep, name="EngineStepSees").__name__
SETTINGS = {
    # the whole of a square image, the only crop of its size: what is random is gone
    "INPUT.TRANSFORMS": "('random_resized_crop', 'normalize')", "INPUT.RRCROP_SCALE": "(1.0, 1.0)",
    "INPUT.INTERPOLATION": "bicubic", "TRAIN.COUNT_ITER": "train_u", "DATASET.NUM_SHOTS": 2,
    "DATALOADER.TRAIN_X.BATCH_SIZE": 4, "DATALOADER.TRAIN_U.SAME_AS_X": False, "DATALOADER.TRAIN_U.BATCH_SIZE": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_imagenet(tmp_path_factory.mktemp("square"), width=36)


@pytest.fixture
def files(root):
    """All training images."""
    return sorted((root / "imagenet" / "images" / "train").rglob("*.JPEG"))


@pytest.fixture
def epoch_of(train_args, clip_folders, root, tmp_path):
    """``epoch_of(trainer, keys of TRAINER.DHO, steps)``: the batches of a first epoch, which must have so many."""

    def draw(name, dho, steps, **more):
        options = {**SETTINGS, "MODEL.BACKBONE.NAME": clip_folders[0], "TRAINER.DHO.TEACHER.NAME": clip_folders[1]}
        options.update({f"TRAINER.DHO.{key}": value for key, value in dho.items()}, **more)
        output = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        arguments = train_args(name, *(word for pair in options.items() for word in pair), output=output)
        trainer = build(["--root", root, *arguments[2:]])
        assert len(trainer.train_loader_x) == steps
        return first_batches(trainer, steps)

    return draw


def recognised(files, clip, views):
    """For each view (3, size, size) of ``clip`` the file that it shows."""
    known = torch.stack([by_hand.view(file, clip.size, clip.mean, clip.std, centre=False) for file in files])
    distances = (known[None] - views[:, None].double()).abs().flatten(2).amax(2)
    assert (distances.amin(1) < 1e-5).all()
    return [files[number] for number in distances.argmin(1)]


@pytest.mark.parametrize("trainer", ["CoOpDHO", HOST])
def test_both_models_see_the_same_images_under_their_labels(epoch_of, files, clips, trainer):
    for batch in epoch_of(trainer, {}, steps=8)[:3]:
        assert set(batch) >= {"img", "img_teacher", "label", "img_u", "img_teacher_u"} and "label_u" not in batch
        for suffix in ("", "_u"):
            seen = [recognised(files, clip, batch[key + suffix]) for clip, key in zip(clips, ("img", "img_teacher"))]
            assert seen[0] == seen[1] and len(seen[0]) == (5 if suffix else 4)
        labels = [list(CLASSES).index(file.parent.name) for file in recognised(files, clips[0], batch["img"])]
        assert batch["label"].tolist() == labels and list(map(str, recognised(files, clips[0], batch["img"]))) == [
            str(path) for path in batch["impath"]
        ]


@pytest.mark.parametrize("trainer", ["CoOpDHO", HOST])
@pytest.mark.parametrize("which, images, steps", [("all", 40, 8), ("exclude_labeled", 30, 6), ("none", 0, 8)])
def test_the_pool(epoch_of, files, clips, trainer, which, images, steps):
    """An epoch over the unlabelled images shows each once; without any it has as many steps as with all."""
    batches = epoch_of(trainer, {"UNLABELED": which}, steps)
    labelled = {file for batch in batches for file in recognised(files, clips[0], batch["img"])}
    assert len(labelled) == 10
    pool = [file for batch in batches if "img_u" in batch for file in recognised(files, clips[0], batch["img_u"])]
    wanted = {"all": set(files), "exclude_labeled": set(files) - labelled, "none": set()}[which]
    assert set(pool) == wanted and len(pool) == images


@pytest.mark.parametrize("count, steps", [("train_x", 2), ("smaller_one", 2), ("train_u", 8)])
@pytest.mark.parametrize("trainer", ["CoOp", "CoOpDHO"])
def test_an_epoch_counts_what_it_is_told(epoch_of, trainer, count, steps):
    epoch_of(trainer, {}, steps, **{"TRAIN.COUNT_ITER": count})


def test_unlabelled_batches_may_be_as_large_as_labelled_ones(epoch_of):
    batches = epoch_of("CoOpDHO", {}, steps=10, **{"DATALOADER.TRAIN_U.SAME_AS_X": True})
    assert {len(batch["img_u"]) for batch in batches} == {4}


def test_a_pool_smaller_than_its_batch_is_one_step(epoch_of):
    small = {"DATALOADER.TRAIN_U.BATCH_SIZE": 64}
    assert len(epoch_of("CoOpDHO", {}, steps=1, **small)[0]["img_u"]) == 40
    assert "img_u" not in epoch_of("CoOpDHO", {"UNLABELED": "none"}, steps=1, **small)[0]


@pytest.mark.parametrize("trainer", ["CoOpDHO", HOST])
def test_the_pool_changes_nothing_about_the_labelled_batches(epoch_of, trainer):
    """Though the data set draws random numbers, and the crops are drawn too."""
    cropped = {"INPUT.RRCROP_SCALE": "(0.3, 1.0)", "DATASET.NAME": "Drawing", "TRAIN.COUNT_ITER": "train_x"}
    alone, beside = (epoch_of(trainer, {"UNLABELED": which}, 2, **cropped) for which in ("none", "all"))
    for first, second in zip(alone, beside):
        assert torch.equal(first["img"], second["img"]) and torch.equal(first["label"], second["label"])
