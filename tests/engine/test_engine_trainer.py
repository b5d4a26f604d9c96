"""The loop: log lines, TensorBoard, counting of iterations, modes, the loss that is not a number."""

import re

import pytest
import torch

from dho_prompt import engine

LINE = re.compile(
    r"epoch \[\d+/4\] batch \[\d/2\] time \d+\.\d{3} \(\d+\.\d{3}\) data \d+\.\d{3} \(\d+\.\d{3}\) "
    r"loss \d+\.\d{4} \(\d+\.\d{4}\) lr \d\.\d{4}e-\d\d eta \d+:\d\d:\d\d"
)


def test_a_run_prints_writes_and_learns(make_cfg, tiny, capsys, tmp_path):
    trainer = tiny.start(tiny.X, make_cfg(OPTIM__MAX_EPOCH=4))
    trainer.train()
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("epoch [")]
    assert len(lines) == 8
    assert all(LINE.fullmatch(line) for line in lines), lines[0]
    # the rate is read after the last batch has moved it on, as in Dassl
    assert [line.split(" lr ")[1].split()[0] for line in lines[:4]] == [
        "1.0000e-03",
        "5.0000e-02",
        "5.0000e-02",
        "4.2678e-02",
    ]
    run = tmp_path / "run"
    for expected in (
        "No checkpoint found, train from scratch\n",
        f"Initialize tensorboard (log_dir={run / 'tensorboard'})\n",
        f"Checkpoint saved to {run / 'body' / 'model.pth.tar-4'}\n",
        "Finish training\nDeploy the last-epoch model\nEvaluate on the *test* set\n=> result\n* total: 15\n",
    ):
        assert expected in printed
    assert re.fullmatch(r"Elapsed: \d:\d\d:\d\d", printed.splitlines()[-1])
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines]
    assert sum(losses[-2:]) < sum(losses[:2])


def test_tensorboard_scalars(make_cfg, tiny, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer = tiny.start(tiny.X, make_cfg(OPTIM__MAX_EPOCH=2))
    trainer.train()
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "train/loss",
        "train/lr",
        "test/accuracy",
        "test/error_rate",
        "test/macro_f1",
    }
    assert [event.step for event in events.Scalars("train/lr")] == [0, 1, 2, 3]
    assert [event.step for event in events.Scalars("test/accuracy")] == [1]


def test_only_registered_models_change_mode(make_cfg, tiny):
    trainer = tiny.start(tiny.X, make_cfg())
    trainer.frozen = torch.nn.Dropout().eval()
    trainer.set_model_mode("train")
    assert trainer.body.training
    assert not trainer.frozen.training
    trainer.set_model_mode("eval", names="head")
    assert trainer.body.training
    assert not trainer.head.training
    trainer.set_model_mode("train")
    trainer.test()
    assert not trainer.body.training
    assert trainer.get_model_names() == ["body", "head"]
    with pytest.raises((ValueError, AssertionError)):
        trainer.get_model_names("tail")
    with pytest.raises((ValueError, AssertionError)):
        trainer.register_model("body", trainer.body)
    with pytest.raises((ValueError, KeyError)):
        trainer.set_model_mode("trian")


def test_best_validation_model_is_deployed(make_cfg, tiny, capsys, tmp_path):
    cfg = make_cfg(TEST__FINAL_MODEL="best_val")
    trainer = tiny.start(tiny.X, cfg)
    trainer.train()
    printed = capsys.readouterr().out
    results = [float(value) for value in re.findall(r"\*val\* set\n=> result\n.*\n.*\n\* accuracy: (.*)%", printed)]
    assert len(results) == 4
    best = engine.load_checkpoint(str(tmp_path / "run" / "head" / "model-best.pth.tar"))
    assert best["epoch"] == 1 + results.index(max(results))
    assert best["val_result"] == pytest.approx(max(results), abs=0.05)
    assert torch.equal(best["state_dict"]["weight"], trainer.head.weight)
    assert "Deploy the model with the best val performance\n" in printed


def test_loss_that_is_not_a_number_stops_the_run(make_cfg, tiny, tmp_path):
    cfg = make_cfg()
    trainer = tiny.start(tiny.X, cfg)
    plain_step = trainer.step

    def step(images, labels):
        return plain_step(images * float("nan") if trainer.epoch == 2 else images, labels)

    trainer.step = step
    with pytest.raises(
        FloatingPointError, match=r"nan in epoch 3, batch 1 of 2.*body 4\.2678e-02.*Lower OPTIM.LR.*fp32"
    ):
        trainer.train()
    assert (tmp_path / "run" / "body" / "model.pth.tar-2").is_file()
    assert all(torch.isfinite(value).all() for value in trainer.weights().values())


def test_build_trainer_and_its_missing_parts(make_cfg):
    class Unfinished(engine.TrainerX):
        pass

    class Forgetful(engine.TrainerX):
        def build_model(self):
            self.register_model("layer", torch.nn.Linear(1, 1))

    for cls in (Unfinished, Forgetful):
        engine.register_if_absent(engine.TRAINER_REGISTRY, cls)
    trainer = engine.build_trainer(make_cfg(TRAINER__NAME="Forgetful"))
    assert type(trainer) is Forgetful
    if engine.ENGINE == "embedded":
        with pytest.raises(NotImplementedError, match="Unfinished must build .* in build_model"):
            engine.build_trainer(make_cfg(TRAINER__NAME="Unfinished"))
        with pytest.raises(NotImplementedError, match="Forgetful neither saves nor resumes; put .*Resumable before"):
            trainer.train()
