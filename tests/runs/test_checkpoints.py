"""Finding, reading and deleting the checkpoint files of a run."""

import os

import pytest
import torch

from dho_prompt.engine.checkpoint import BEST, UnreadableCheckpoint, checkpoint_name, save_checkpoint
from dho_prompt.runs.checkpoints import Checkpoints

MODELS = ("body", "head")


@pytest.fixture
def write(tmp_path):
    """``write(epoch, ...)``: a checkpoint of both models, or of those that are named."""

    def one(epoch, models=MODELS, run="run", name="", value=0.0, resume_only=False):
        state = {"state_dict": {"w": torch.tensor(value)}, "epoch": epoch, "trainer": {"resume_only": resume_only}}
        for model in models:
            save_checkpoint(state, str(tmp_path / run / model), model_name=name)
        return Checkpoints(str(tmp_path / run), MODELS)

    return one


def test_numbered_files_of_all_models_newest_first_and_the_best_one_last(write):
    write(9)
    write(10)
    write(11, models=("body",))
    assert write(9, name=BEST).common() == [checkpoint_name(10), checkpoint_name(9), BEST]


def test_a_run_that_does_not_exist_has_no_files(tmp_path):
    found = Checkpoints(str(tmp_path / "nowhere"), MODELS)
    assert found.common() == [] and found.resume_only(0) == set()
    assert Checkpoints(str(tmp_path), ()).common() == []


def test_files_of_one_name_but_different_epochs_are_refused(write):
    write(3, models=("body",))
    found = write(2, models=("head",), name=checkpoint_name(3))
    with pytest.raises(UnreadableCheckpoint, match=r"model.pth.tar-3 of body, head are of different epochs \[2, 3\]"):
        found.read(checkpoint_name(3))
    assert found.read_weights(3)["head"][1]["epoch"] == 2


@pytest.mark.parametrize("kept_every, expected", [(0, {4, 5}), (2, {5})])
def test_files_that_only_serve_resuming(write, kept_every, expected):
    for epoch in (4, 5):
        write(epoch, resume_only=True)
    found = write(7)
    assert found.resume_only(kept_every) == expected
    found.delete(5)
    found.delete(6)
    assert found.common() == [checkpoint_name(7), checkpoint_name(4)]


def test_the_best_of_another_run_does_not_replace_this_ones(write, tmp_path):
    found = write(3, name=BEST, value=3.0)
    write(8, name=BEST, models=("head",), run="other", value=8.0)
    found.copy_best_to(str(tmp_path / "other"))
    weights = Checkpoints(str(tmp_path / "other"), MODELS).read_weights(None)
    assert {name: content["state_dict"]["w"].item() for name, (_, content) in weights.items()} == {
        "body": 3.0,
        "head": 8.0,
    }
    assert sorted(os.listdir(tmp_path / "other" / "body")) == [BEST]
