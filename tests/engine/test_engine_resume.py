"""A killed run goes on as if nothing had happened."""

import errno
import os

import pytest
import torch

from dho_prompt import engine

NUMBERED = "model.pth.tar-"


def straight(tiny, cls, cfg):
    trainer = tiny.start(cls, cfg)
    trainer.train()
    return trainer


def files(tmp_path, model="body"):
    return sorted(name for name in os.listdir(tmp_path / "run" / model) if name != "checkpoint")


def die(tiny, cls, cfg, epoch):
    trainer = tiny.start(cls, cfg, kill_in_epoch=epoch)
    with pytest.raises(tiny.Killed):
        trainer.train()
    return trainer


@pytest.mark.parametrize("kind", ["plain", "validated", "workers"])
def test_killed_in_every_epoch_ends_with_the_same_weights(make_cfg, tiny, tmp_path, kind):
    cls = tiny.X
    changes = {
        "plain": {},
        "validated": {"TEST__FINAL_MODEL": "best_val"},
        "workers": {"DATALOADER__NUM_WORKERS": 1, "OPTIM__MAX_EPOCH": 2},
    }[kind]
    expected = straight(tiny, cls, make_cfg(OUTPUT_DIR=str(tmp_path / "straight"), **changes))
    cfg = make_cfg(**changes)
    rates, seen = [], []
    for epoch in range(cfg.OPTIM.MAX_EPOCH):
        # once there is a checkpoint, each new process starts from another seed: only the checkpoint may decide
        trainer = tiny.start(cls, cfg, kill_in_epoch=epoch, seed=100 * epoch if epoch > 1 else 0)
        with pytest.raises(tiny.Killed):
            trainer.train()
        complete = len([rate for rate in trainer.rates if rate[0] < epoch])
        rates += trainer.rates[:complete]
        seen += trainer.seen[:complete]
    trainer = tiny.start(cls, cfg, seed=77)
    trainer.train()
    assert seen + trainer.seen == expected.seen
    assert rates + trainer.rates == expected.rates
    assert trainer.steps == expected.steps
    assert trainer.best_result == expected.best_result
    for name, weight in expected.weights().items():
        assert torch.equal(weight, trainer.weights()[name]), name
    for folder in ("body", "head"):
        kept = sorted(os.listdir(tmp_path / "run" / folder))
        assert kept == sorted(os.listdir(tmp_path / "straight" / folder))


def test_finished_run_leaves_dassls_files_and_trains_no_more(make_cfg, tiny, tmp_path, capsys):
    cfg = make_cfg(OPTIM__MAX_EPOCH=5, TRAIN__CHECKPOINT_FREQ=2)
    first = straight(tiny, tiny.X, cfg)
    assert files(tmp_path) == files(tmp_path, "head") == [NUMBERED + "2", NUMBERED + "4", NUMBERED + "5"]
    assert (tmp_path / "run" / "body" / "checkpoint").read_text() == NUMBERED + "5\n"
    printed = capsys.readouterr().out
    assert printed.count("Checkpoint saved") == 6  # what Dassl would have announced
    again = straight(tiny, tiny.X, cfg)
    assert again.seen == []
    assert again.epoch == 4
    assert all(torch.equal(weight, again.weights()[name]) for name, weight in first.weights().items())
    printed = capsys.readouterr().out
    assert "Previous epoch: 5" in printed
    assert "Finish training\nDeploy the last-epoch model\nEvaluate on the *test* set" in printed


def test_longer_run_keeps_the_shorter_ones_last_checkpoint(make_cfg, tiny, tmp_path):
    straight(tiny, tiny.X, make_cfg(OPTIM__MAX_EPOCH=2))
    straight(tiny, tiny.X, make_cfg(OPTIM__MAX_EPOCH=4))
    assert files(tmp_path) == [NUMBERED + "2", NUMBERED + "4"]


def test_layout_of_a_checkpoint(make_cfg, tiny, tmp_path):
    straight(tiny, tiny.X, make_cfg(OPTIM__MAX_EPOCH=1))
    loaded = torch.load(tmp_path / "run" / "body" / (NUMBERED + "1"), weights_only=True)
    assert set(loaded) == {"state_dict", "epoch", "optimizer", "scheduler", "val_result", "trainer"}
    assert loaded["epoch"] == 1
    assert loaded["val_result"] is None
    assert list(loaded["state_dict"]) == ["1.weight", "1.bias"]
    assert set(loaded["trainer"]) == {"rng", "best_result", "extra", "resume_only"}
    assert loaded["trainer"]["extra"] == {"steps": 2}


def test_epoch_that_only_one_model_has_is_passed_over(make_cfg, tiny, tmp_path):
    cfg = make_cfg()
    expected = straight(tiny, tiny.X, make_cfg(OUTPUT_DIR=str(tmp_path / "straight")))
    die(tiny, tiny.X, cfg, epoch=2)
    newer = tmp_path / "run" / "body" / (NUMBERED + "3")
    newer.write_bytes((tmp_path / "run" / "body" / (NUMBERED + "2")).read_bytes())
    trainer = straight(tiny, tiny.X, cfg)
    assert trainer.start_epoch == 2
    assert all(torch.equal(weight, trainer.weights()[name]) for name, weight in expected.weights().items())


def test_kill_between_the_two_models_files(make_cfg, tiny, tmp_path, monkeypatch):
    expected = straight(tiny, tiny.X, make_cfg(OUTPUT_DIR=str(tmp_path / "straight")))
    cfg = make_cfg()
    trainer = tiny.start(tiny.X, cfg)
    plain_replace = os.replace

    def replace(source, target):
        if str(target).endswith(os.path.join("head", NUMBERED + "3")):
            raise tiny.Killed
        plain_replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(tiny.Killed):
            trainer.train()
    assert files(tmp_path) == [NUMBERED + "2", NUMBERED + "3"]
    assert files(tmp_path, "head") == [NUMBERED + "2"]
    trainer = straight(tiny, tiny.X, cfg)
    assert trainer.start_epoch == 2
    assert all(torch.equal(weight, trainer.weights()[name]) for name, weight in expected.weights().items())
    assert files(tmp_path) == files(tmp_path, "head") == [NUMBERED + "4"]


def test_damaged_newest_checkpoint(make_cfg, tiny, tmp_path, capsys):
    cfg = make_cfg(TRAIN__CHECKPOINT_FREQ=1)
    expected = straight(tiny, tiny.X, make_cfg(OUTPUT_DIR=str(tmp_path / "straight")))
    die(tiny, tiny.X, cfg, epoch=3)
    newest = tmp_path / "run" / "head" / (NUMBERED + "3")
    newest.write_bytes(newest.read_bytes()[:1000])
    capsys.readouterr()
    trainer = straight(tiny, tiny.X, cfg)
    printed = capsys.readouterr().out
    assert f"Passing over {NUMBERED}3" in printed
    assert str(newest) in printed
    assert trainer.start_epoch == 2
    assert all(torch.equal(weight, trainer.weights()[name]) for name, weight in expected.weights().items())


def test_nothing_readable_is_an_error_not_a_fresh_start(make_cfg, tiny, tmp_path):
    cfg = make_cfg()
    die(tiny, tiny.X, cfg, epoch=2)
    (tmp_path / "run" / "body" / (NUMBERED + "2")).write_bytes(b"")
    with pytest.raises(ValueError, match="delete the models' folders to train from scratch"):
        tiny.start(tiny.X, cfg).train()


def test_full_disk_while_saving(make_cfg, tiny, tmp_path, monkeypatch):
    expected = straight(tiny, tiny.X, make_cfg(OUTPUT_DIR=str(tmp_path / "straight")))
    cfg = make_cfg()
    trainer = tiny.start(tiny.X, cfg)

    def full(descriptor):
        if trainer.epoch == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            trainer.train()
    assert files(tmp_path) == files(tmp_path, "head") == [NUMBERED + "2"]
    trainer = straight(tiny, tiny.X, cfg)
    assert all(torch.equal(weight, trainer.weights()[name]) for name, weight in expected.weights().items())


def test_resume_from_another_folder_leaves_that_alone(make_cfg, tiny, tmp_path):
    expected = straight(tiny, tiny.X, make_cfg(OUTPUT_DIR=str(tmp_path / "straight")))
    die(tiny, tiny.X, make_cfg(), epoch=2)
    cfg = make_cfg(OUTPUT_DIR=str(tmp_path / "other"), RESUME=str(tmp_path / "run"))
    trainer = straight(tiny, tiny.X, cfg)
    assert trainer.start_epoch == 2
    assert files(tmp_path) == [NUMBERED + "2"]
    assert (tmp_path / "other" / "body" / (NUMBERED + "4")).is_file()
    assert all(torch.equal(weight, trainer.weights()[name]) for name, weight in expected.weights().items())


def test_best_model_of_the_other_folder_is_deployed_when_nothing_beats_it(make_cfg, tiny, tmp_path):
    changes = {"TEST__FINAL_MODEL": "best_val"}
    expected = straight(tiny, tiny.X, make_cfg(OUTPUT_DIR=str(tmp_path / "straight"), **changes))
    die(tiny, tiny.X, make_cfg(**changes), epoch=3)
    cfg = make_cfg(OUTPUT_DIR=str(tmp_path / "other"), RESUME=str(tmp_path / "run"), **changes)
    trainer = tiny.start(tiny.X, cfg)
    plain_test = trainer.test
    trainer.test = lambda split=None: -1.0 if split == "val" else plain_test(split)
    trainer.train()
    name = os.path.join("head", "model-best.pth.tar")
    best = torch.load(tmp_path / "run" / name, weights_only=True)["state_dict"]["weight"]
    assert torch.equal(trainer.head.weight, best)
    assert trainer.best_result <= expected.best_result


def test_kill_after_the_last_epochs_files_before_the_older_are_deleted(make_cfg, tiny, tmp_path, monkeypatch):
    trainer = tiny.start(tiny.X, make_cfg())

    def remove(path):
        if trainer.epoch == 3:
            raise tiny.Killed
        os.unlink(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "remove", remove)
        with pytest.raises(tiny.Killed):
            trainer.train()
    assert files(tmp_path) == [NUMBERED + "3", NUMBERED + "4"]
    again = straight(tiny, tiny.X, make_cfg())
    assert again.seen == []
    assert files(tmp_path) == files(tmp_path, "head") == [NUMBERED + "4"]


def test_optimiser_state_keeps_type_and_device(make_cfg, tiny):
    def types(trainer):
        return [
            {key: (value.dtype, value.device) for key, value in entry.items() if isinstance(value, torch.Tensor)}
            for optim in trainer._optims.values()
            for entry in optim.state.values()
        ]

    class HalfBody(tiny.X):
        def build_model(self):
            super().build_model()
            self.body.bfloat16()

        def model_inference(self, input):
            return self.head(self.body(input.bfloat16()).float())

    cfg = make_cfg(OPTIM__MAX_EPOCH=2, TEST__NO_TEST=True)
    first = straight(tiny, HalfBody, cfg)
    again = straight(tiny, HalfBody, cfg)
    assert types(first) == types(again)
    assert {key for entry in types(again) for key in entry} == {"momentum_buffer", "exp_avg", "exp_avg_sq", "step"}


def test_load_model(make_cfg, tiny, tmp_path, capsys):
    first = straight(tiny, tiny.X, make_cfg())
    trainer = tiny.start(tiny.X, make_cfg(), seed=5)
    run = str(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=rf"model-best.*holds {NUMBERED}4"):
        trainer.load_model(run)
    with pytest.raises(FileNotFoundError, match=rf"{NUMBERED}9.*holds {NUMBERED}4"):
        trainer.load_model(run, epoch=9)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        trainer.load_model(str(tmp_path / "nowhere"), epoch=4)
    with pytest.raises(FileNotFoundError, match="no folder of that model"):
        trainer.load_model(str(tmp_path), epoch=4)
    capsys.readouterr()
    trainer.load_model("")
    offered = []

    def fit(name, checkpoint, path):
        offered.append((name, checkpoint["trainer"]["extra"], os.path.basename(os.path.dirname(path))))
        return None if name == "head" else checkpoint

    trainer.fit_checkpoint = fit
    before = [weight.clone() for weight in trainer.head.parameters()]
    trainer.load_model(run, epoch=4)
    assert offered == [("body", {"steps": 8}, "body"), ("head", {"steps": 8}, "head")]
    assert all(torch.equal(old, new) for old, new in zip(before, trainer.head.parameters()))
    trainer.fit_checkpoint = lambda name, checkpoint, path: checkpoint
    trainer.load_model(run, epoch=4)
    assert trainer.steps == 0
    path = os.path.join(run, "body", NUMBERED + "4")
    assert f"Load {path} to body (epoch=4, val_result=none)" in capsys.readouterr().out
    assert all(torch.equal(weight, trainer.weights()[name]) for name, weight in first.weights().items())
    engine.save_checkpoint({"state_dict": {"weight": torch.zeros(3, 8)}, "epoch": 7}, os.path.join(run, "head"))
    os.replace(os.path.join(run, "body", NUMBERED + "4"), os.path.join(run, "body", NUMBERED + "7"))
    with pytest.raises(ValueError, match="does not fit.*bias"):
        trainer.load_model(run, epoch=7)
