"""Which checkpoint a run goes on from, what it stops at, and what a test is done with."""

import pytest
import torch

from dho_prompt import engine


def trained(tiny, cfg):
    trainer = tiny.start(tiny.X, cfg)
    trainer.train()
    return tiny.start(tiny.X, cfg)


def test_the_newest_of_two_digits_not_the_last_of_the_alphabet(make_cfg, tiny, tmp_path):
    trainer = trained(tiny, make_cfg(OPTIM__MAX_EPOCH=10, TRAIN__CHECKPOINT_FREQ=1))
    assert trainer.resume_model_if_exist(str(tmp_path / "run")) == 10
    # files of one number that say they are of different epochs do not belong together
    path = tmp_path / "run" / "head" / "model.pth.tar-10"
    torch.save({**torch.load(path, weights_only=True), "epoch": 8}, path)
    assert trainer.resume_model_if_exist(str(tmp_path / "run")) == 9


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run(make_cfg, tiny, value):
    trainer = tiny.start(tiny.X, make_cfg())
    with pytest.raises(FloatingPointError, match="Lower OPTIM.LR"):
        trainer.detect_anomaly(torch.tensor(value))
    trainer.detect_anomaly(torch.tensor(1e9))


def test_weights_that_do_not_fit_are_refused(tmp_path):
    given = torch.nn.Linear(2, 3).state_dict()
    with pytest.raises(ValueError, match="file does not fit Linear: .*bias"):
        engine.load_strictly(torch.nn.Linear(2, 3), {"weight": given["weight"]}, "file")
    with pytest.raises(ValueError, match="file does not fit Linear: .*more"):
        engine.load_strictly(torch.nn.Linear(2, 3), {**given, "more": given["bias"]}, "file")


def test_an_empty_test_set_has_no_accuracy(make_cfg):
    evaluator = engine.build_evaluator(make_cfg())
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluator.evaluate()


def test_testing_switches_dropout_off(make_cfg, tiny):
    trainer = tiny.start(tiny.X, make_cfg())
    trainer.set_model_mode("train")
    trainer.test()
    assert not trainer.body.training and not trainer.head.training
