"""A step whose numbers are read later trains and logs the same; a loss that is none is found when it is read."""

import re

import pytest
import torch

from dho_prompt.engine import ENGINE
from dho_prompt.engine.embedded.meters import LateNumbers
from dho_prompt.training.method_trainer import MethodTrainer
from trainer_contract import build, weights_of

pytestmark = pytest.mark.skipif(ENGINE == "dassl", reason="Dassl's loop reads every number at once")
RUN = ("CoOpDHO", "OPTIM.MAX_EPOCH", "2", "TRAIN.PRINT_FREQ", "3", "TEST.NO_TEST", "True")


def late(monkeypatch):
    """As on an accelerator."""
    add = LateNumbers.add

    def added(self, step, values):
        add(self, step, values)
        self.late = True

    monkeypatch.setattr(MethodTrainer, "reads_late", True)
    monkeypatch.setattr(LateNumbers, "add", added)


def trained(train_args, output, capsys):
    trainer = build(train_args(*RUN, "DATALOADER.TRAIN_X.BATCH_SIZE", "4", output=output))
    scalars, reads = [], []
    write = trainer.write_scalar
    trainer.write_scalar = lambda *scalar: (scalars.append(scalar), write(*scalar))
    read = LateNumbers.read
    LateNumbers.read = lambda self: reads.append(trainer.batch_idx) or read(self)
    try:
        trainer.train()
    finally:
        LateNumbers.read = read
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch [")]
    lines = [re.sub(r"(time|data|eta) \S+( \(\S+\))?", "", line) for line in lines]
    return weights_of(trainer), sorted(scalars), lines, reads


def test_weights_log_and_scalars_are_the_same(train_args, tmp_path, capsys, monkeypatch):
    at_once = trained(train_args, tmp_path / "a", capsys)
    late(monkeypatch)
    later = trained(train_args, tmp_path / "b", capsys)
    for key, value in at_once[0].items():
        assert torch.equal(later[0][key], value)
    assert later[1] == at_once[1] and later[2] == at_once[2] and len(later[2]) == 2 * 3
    assert at_once[3] == [*range(10)] * 2
    assert later[3] == [2, 5, 8, 9] * 2  # where a line is printed, and at the end of an epoch


def test_a_loss_that_is_no_number_is_found_when_it_is_read(train_args, tmp_path, monkeypatch):
    late(monkeypatch)
    trainer = build(train_args(*RUN, "DATALOADER.TRAIN_X.BATCH_SIZE", "4"))
    step = trainer.forward_backward

    def diverging(batch):
        summary = step(batch)
        return {**summary, "loss": summary["loss"] * float("nan")} if trainer.batch_idx == 4 else summary

    trainer.forward_backward = diverging
    with pytest.raises(FloatingPointError, match="the loss is nan in epoch 1, batch 5 of 10"):
        trainer.train()
    assert trainer.batch_idx == 4 and not list((tmp_path / "run").rglob("model.pth*"))


def test_a_loss_on_an_accelerator_is_not_waited_for(train_args, monkeypatch):
    trainer = build(train_args(*RUN))
    lost = torch.full((), float("nan"), device="meta")
    with pytest.raises((FloatingPointError, NotImplementedError, RuntimeError)):
        trainer.detect_anomaly(lost)  # looks at it
    late(monkeypatch)
    trainer.detect_anomaly(lost)
    with pytest.raises(FloatingPointError):
        trainer.detect_anomaly(torch.tensor(float("inf")))
