"""Checkpoints of another configuration, malformed or diverged ones, and folders that a run cannot go on from."""

import json

import pytest
import torch

from dho_prompt.runs.finite import refuse_loss, refuse_weights
from dho_prompt.train import main


def fails(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return str(caught.value.code)


def files(run, epoch=3):
    return [run / model / f"model.pth.tar-{epoch}" for model in ("prompt_learner", "kd_head")]


def changed(path, change):
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)


def same(first, second):
    pairs = zip(files(first), files(second))
    loaded = [[torch.load(path, weights_only=True)["state_dict"] for path in pair] for pair in pairs]
    keys = [key for key in loaded[0][0] if not key.startswith("token_")]
    return all(torch.equal(one[key], two[key]) for one, two in loaded for key in (keys if "ctx" in one else one))


def test_a_checkpoint_keeps_its_configuration_when_the_file_of_it_is_gone(train_args, tmp_path):
    """Other settings are refused and leave nothing behind, so that the right ones go on afterwards."""
    run = tmp_path / "run"
    main(train_args("CoOpDHO"))
    for name in ("config.json", "results.json"):
        (run / name).unlink()
    message = fails(train_args("CoOpDHO", "OPTIM.LR", "0.5"))
    assert "run of another configuration" in message and "OPTIM.LR: 0.01 -> 0.5" in message
    assert not (run / "config.json").exists() and not (run / "results.json").exists()
    main(train_args("CoOpDHO"))
    config = json.loads((run / "config.json").read_text())
    assert config["OPTIM"]["LR"] == 0.01 and (run / "results.json").exists()


def test_another_run_is_gone_on_from_with_other_settings_that_are_named(train_args, tmp_path, capsys):
    main(train_args("CoOpDHO", "OPTIM.MAX_EPOCH", "1", output=tmp_path / "first"))
    capsys.readouterr()
    flags = ["--resume", str(tmp_path / "first")]
    main(flags + train_args("CoOpDHO", "OPTIM.LR", "0.5", output=tmp_path / "second"))
    printed = capsys.readouterr().out
    assert "first was trained with other settings" in printed and "OPTIM.LR: 0.01 -> 0.5" in printed
    assert "Previous epoch: 1" in printed
    message = fails(flags + train_args("CoOpDHO", "TRAINER.COOP.N_CTX", "3", output=tmp_path / "third"))
    assert "does not fit PromptLearner" in message and "N_CTX" in message and "size mismatch" in message


@pytest.mark.parametrize("kind", ["absent", "file", "other trainer", "empty"])
def test_what_resume_cannot_go_on_from_is_named(train_args, tmp_path, kind, capsys):
    folder = tmp_path / "from"
    if kind == "file":
        folder.write_text("kept")
    elif kind == "other trainer":
        main(train_args("LinearProbe", "OPTIM.MAX_EPOCH", "1", output=folder))
    elif kind == "empty":
        folder.mkdir()
    capsys.readouterr()
    message = fails(["--resume", str(folder)] + train_args("CoOpDHO"))
    words = {
        "absent": "there is no folder",
        "file": "is a file; --resume takes the output folder",
        "other trainer": "needs those of prompt_learner, kd_head, and the folder holds ce_head",
        "empty": "the folder holds nothing",
    }
    assert words[kind] in message and str(folder) in message
    assert "epoch [1/" not in capsys.readouterr().out


MALFORMED = {
    "weights in a list": (lambda saved: saved.update(state_dict=[1]), "no mapping of names to tensors"),
    "an epoch as text": (lambda saved: saved.update(epoch="3"), "'3' for the number of its epoch"),
    "no random state": (
        lambda saved: saved["trainer"].update(rng={"python": 1}),
        "random state that cannot be restored",
    ),
    "no extra state": (lambda saved: saved["trainer"].update(extra=None), "malformed 'trainer' entry"),
    "an optimiser of nothing": (lambda saved: saved.update(optimizer={"state": 1}), "its optimizer state cannot"),
    "weights that are no numbers": (
        lambda saved: next(iter(saved["state_dict"].values())).fill_(float("nan")),
        "infinite or not numbers",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_checkpoint_is_passed_over_for_the_epoch_before(train_args, tmp_path, capsys, name):
    change, reason = MALFORMED[name]
    main(train_args("CoOpDHO", "TRAIN.CHECKPOINT_FREQ", "1", output=tmp_path / "whole"))
    main(train_args("CoOpDHO", "TRAIN.CHECKPOINT_FREQ", "1"))
    (tmp_path / "run" / "results.json").unlink()
    changed(files(tmp_path / "run")[0], change)
    capsys.readouterr()
    main(train_args("CoOpDHO", "TRAIN.CHECKPOINT_FREQ", "1"))
    printed = capsys.readouterr().out
    assert "Passing over model.pth.tar-3" in printed and reason in printed and "Previous epoch: 2" in printed
    assert same(tmp_path / "whole", tmp_path / "run")


def test_weights_that_are_no_numbers_are_not_evaluated(train_args, tmp_path):
    main(train_args("CoOpDHO"))
    changed(files(tmp_path / "run")[1], lambda saved: saved["state_dict"]["weight"].fill_(float("inf")))
    flags = ["--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "3"]
    message = fails(flags + train_args("CoOpDHO", output=tmp_path / "evaluated"))
    assert "kd_head" in message and "infinite or not numbers (weight): the run has diverged" in message


def test_diverged_weights_are_not_written_and_the_epoch_before_stays(train_args, tmp_path, monkeypatch):
    """As by the last step of an epoch: its loss was finite, what it made of the weights is not."""
    from dho_prompt.training.method_trainer import MethodTrainer

    update = MethodTrainer._update

    def diverges(self):
        update(self)
        if self.epoch == 1:
            self._models["kd_head"].weight.data[0, 0] = float("nan")

    monkeypatch.setattr(MethodTrainer, "_update", diverges)
    message = fails(train_args("CoOpDHO", "DATALOADER.TRAIN_X.BATCH_SIZE", "10", "TRAIN.COUNT_ITER", "train_x"))
    assert "after epoch 2 1 weights of kd_head are infinite or not numbers (weight)" in message
    assert "Lower OPTIM.LR" in message and "use a new OUTPUT_DIR" in message
    assert all(path.exists() for path in files(tmp_path / "run", 1))
    assert not any(path.exists() for path in files(tmp_path / "run", 2))
    monkeypatch.setattr(MethodTrainer, "_update", update)
    main(train_args("CoOpDHO", "DATALOADER.TRAIN_X.BATCH_SIZE", "10", "TRAIN.COUNT_ITER", "train_x"))
    assert (tmp_path / "run" / "results.json").exists()


def test_frozen_weights_may_be_infinite_and_finite_numbers_pass():
    layer = torch.nn.Linear(2, 2)
    layer.weight.requires_grad_(False).fill_(float("inf"))
    refuse_weights({"layer": layer}, "now")
    refuse_loss(torch.tensor(1e30), None)
    layer.bias.data[0] = float("inf")
    with pytest.raises(FloatingPointError, match="now 1 weights of layer"):
        refuse_weights({"layer": layer}, "now")
