"""Runs that read stores: the same training as with the towers, resumed, in hosts, with a store made on the way."""

import json
from pathlib import Path

import pytest
import torch

import dho_prompt.training.stores
from dho_prompt import with_dho
from dho_prompt.students.clip import CLIPStudent
from dho_prompt.train import run
from dho_prompt.training import run as running
from stand_in_hosts import EngineStep
from tests_support import write_imagenet
from trainer_contract import build

TEACHER, STUDENT = "TRAINER.DHO.TEACHER.STORE", "MODEL.BACKBONE.STORE"
HOST = with_dho(EngineStep, name="EngineStepStored").__name__


@pytest.fixture
def trained(arguments, tmp_path):
    """``trained(trainer, settings, name)``: weights at the end, and the results file."""

    def train(trainer, more, name):
        output = tmp_path / name
        run(arguments(trainer, more, output=output))
        weights = {}
        for path in sorted(output.glob("*/model.pth.tar-3")):
            state = torch.load(path, weights_only=True)["state_dict"]
            weights.update({f"{path.parent.name}/{key}": value for key, value in state.items()})
        return weights, json.loads((output / "results.json").read_text())

    return train


def assert_same(first, second):
    assert set(first) == set(second) and first
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


def moved(first, second):
    return max(float((first[key] - second[key]).abs().max()) for key in first if first[key].is_floating_point())


@pytest.mark.parametrize("trainer", ["LinearProbeDHO", "CoOpDHO"])
def test_stored_towers_train_the_same_weights(trained, made, trainer, monkeypatch):
    teacher, student = made(3), made(3, kind="student")
    asked, _ = trained(trainer, {STUDENT: student}, "teacher-asked")  # whose teacher sees the stored crops
    whole, _ = trained(trainer, {TEACHER: teacher}, "student-asked")
    monkeypatch.setattr(running, "build_teacher", None)  # is not loaded
    monkeypatch.setattr("dho_prompt.data.batches.stored.read_image", None)  # and no training image is read
    stored, record = trained(trainer, {STUDENT: student, TEACHER: teacher}, "stored")
    assert_same(asked, stored)
    assert_same(whole, stored)
    assert record["stores"]["views"] == 3 and record["stores"]["reused"] is False
    assert {name: record["stores"][name]["holds"] for name in ("teacher", "student")} == {
        "teacher": "logits", "student": "features"}  # fmt: skip
    assert record["teacher"]["zeta"] == pytest.approx(0.07)


def test_other_views_train_other_weights(trained, made):
    """So that the comparison above sees a crop that is not the stored one."""
    teacher, student = made(6), made(6, kind="student")
    few = [made(3, kind=kind, name="few") for kind in ("teacher", "student")]
    stored, _ = trained("LinearProbeDHO", {TEACHER: teacher, STUDENT: student}, "six")
    others, _ = trained("LinearProbeDHO", {TEACHER: few[0], STUDENT: few[1]}, "three")
    assert moved(stored, others) > 1e-4
    with pytest.raises(ValueError, match="of other crops or numbers of views .3 and 6"):
        trained("LinearProbeDHO", {TEACHER: few[0], STUDENT: student}, "mixed")


def test_a_plain_probe_reads_its_features(trained, made):
    student = made(3, kind="student")
    weights, record = trained("LinearProbe", {STUDENT: student, "TRAIN.COUNT_ITER": "train_x"}, "plain")
    assert set(record["stores"]) == {"views", "shown", "reused", "student"} and weights


@pytest.mark.parametrize("accumulate", [1, 2])
def test_promptsrc_reads_what_its_frozen_tower_says(trained, made, monkeypatch, accumulate):
    teacher, student = made(3), made(3, kind="student")
    more = {f"TRAINER.PROMPTSRC.PROMPT_DEPTH_{tower}": 2 for tower in ("TEXT", "VISION")}
    more.update({"TRAINER.PROMPTSRC.PREC": "fp32", TEACHER: teacher, "OPTIM.ACCUMULATE": accumulate})
    more["DATALOADER.TRAIN_U.BATCH_SIZE"] = 4
    asked, _ = trained("PromptSRCDHO", more, "asked")
    original, calls = CLIPStudent.forward, []

    def count(self, images):
        if torch.is_grad_enabled():
            calls.append(len(images))
        return original(self, images)

    monkeypatch.setattr(CLIPStudent, "forward", count)
    stored, record = trained("PromptSRCDHO", {**more, STUDENT: student}, "stored")
    assert_same(asked, stored)
    assert not calls and record["stores"]["student"]["holds"] == "features"
    heavy, _ = trained("PromptSRCDHO", {**more, STUDENT: student, "TRAINER.PROMPTSRC.IMAGE_LOSS_WEIGHT": 25.0}, "heavy")
    assert moved(stored, heavy) > 1e-4  # the comparison would see another frozen feature
    assert not calls


@pytest.mark.parametrize("trainer", ["VPTDHO", "FinetuneDHO"])
def test_towers_that_change_have_no_stored_features(arguments, made, trainer):
    more = {STUDENT: made(3, kind="student"), "TRAINER.VPT.PREC": "fp32"}
    with pytest.raises(ValueError, match=f"STORE is .*, but {trainer} changes what the image tower says"):
        build(arguments(trainer, more))


@pytest.mark.parametrize("kinds", [(TEACHER,), (TEACHER, STUDENT)])
def test_a_resumed_run_shows_the_same_views(trained, made, monkeypatch, kinds):
    stores = {key: made(3, kind="teacher" if key == TEACHER else "student") for key in kinds}
    whole, _ = trained("CoOpDHO", stores, "whole")
    original = running.Run.before_epoch

    def stop(self):
        if self.epoch == 1:
            raise KeyboardInterrupt
        original(self)

    with monkeypatch.context() as patch:
        patch.setattr(running.Run, "before_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            trained("CoOpDHO", stores, "torn")
    torn, _ = trained("CoOpDHO", stores, "torn")
    assert all(torch.equal(value, torn[key]) for key, value in whole.items())


def test_a_resumed_run_refuses_another_store(arguments, made, monkeypatch, tmp_path):
    folder, other = made(3), made(4, name="other")
    with monkeypatch.context() as patch:
        patch.setattr(running.Run, "after_train", lambda self: None)
        run(arguments(more={TEACHER: folder}))
    Path(folder).rename(tmp_path / "away")
    Path(other).rename(folder)
    with pytest.raises(ValueError, match="this run began with other stores than"):
        run(arguments(more={TEACHER: folder}))


def test_auto_makes_a_store_once(trained, monkeypatch, tmp_path):
    root = tmp_path / "stores"
    monkeypatch.setenv("DHO_PROMPT_STORES", str(root))
    first, record = trained("CoOpDHO", {TEACHER: "auto"}, "first")
    (folder,) = root.iterdir()
    assert folder.name.startswith("ImageNet-teacher-") and folder.name.endswith("-3")
    monkeypatch.setattr("dho_prompt.store.writing.Writer.fill", None)
    monkeypatch.setattr("dho_prompt.training.store_build.build_teacher", None)  # nothing is loaded for it
    second, _ = trained("CoOpDHO", {TEACHER: "auto"}, "second")
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert record["stores"]["views"] == 3


def test_auto_keeps_its_stores_beside_the_data(arguments, tmp_path):
    root = write_imagenet(tmp_path / "data")
    more = {TEACHER: "auto", "DATALOADER.STORE_VIEWS": 2, "DATALOADER.STORE_REUSE": True}
    trainer = build(["--root", root, *arguments("CoOpDHO", more)[2:]])
    trainer.before_train()
    assert [folder.name[-2:] for folder in (root / "dho_prompt_stores").iterdir()] == ["-2"]


def test_a_host_reads_a_teacher(trained, made, arguments):
    teacher = made(3)
    weights, record = trained(HOST, {TEACHER: teacher}, "host")
    own, _ = trained("CoOpDHO", {TEACHER: teacher}, "own")
    assert record["stores"]["views"] == 3 and weights and own
    with pytest.raises(ValueError, match="MODEL.BACKBONE.STORE is .*own step encodes images itself"):
        build(arguments(HOST, {STUDENT: teacher}))


def test_an_unreadable_image_is_marked_and_replaced(arguments, made, tmp_path, trained):
    root = write_imagenet(tmp_path / "broken")
    paths = sorted((root / "imagenet" / "images" / "train").rglob("*.JPEG"))
    for number in (11, 12, 39):
        paths[number].write_bytes(b"no image")
    more = {"DATASET.ROOT": root, "DATASET.NUM_SHOTS": 8, "TRAIN.COUNT_ITER": "train_u"}
    teacher, student = made(30, more=more), made(30, kind="student", more=more)
    assert dho_prompt.training.stores.StoredRows(teacher).unreadable().tolist() == [11, 12, 39]
    for stores in ({TEACHER: teacher}, {TEACHER: teacher, STUDENT: student}):
        trainer = build(arguments("LinearProbeDHO", {**more, **stores}, output=tmp_path / str(len(stores))))
        trainer.before_train()
        trainer.epoch = 0
        trainer.before_epoch()
        seen = [batch["place_u"].tolist() for batch in trainer.train_loader_x]
        assert sorted(sum(seen, [])) == sorted([*set(range(40)) - {11, 12, 39}, 13, 13, 0])
    with pytest.raises(
        SystemExit, match="3 of 40 training images cannot be read, more than DATALOADER.MAX_UNREADABLE 2"
    ):
        made(1, more={**more, "DATALOADER.MAX_UNREADABLE": 2}, name="strict")
