"""The KD head's learning rate in hosts: bounded by the curvature of its loss, and a word when that rises."""

import pytest
import torch
from yacs.config import CfgNode

from dho_prompt.heads import make_head
from dho_prompt.hosts.head_rate import RisingLoss, safe_rate
from dho_prompt.hosts.with_dho import with_dho
from dho_prompt.losses import DHOLoss
from stand_in_hosts import EngineStep
from tests_support import write_clip
from trainer_contract import build, first_batches, take_step

SGD = CfgNode({"NAME": "sgd", "MOMENTUM": 0.9, "LR": 0.002})


def curvature(head, loss, features, teacher, teacher_u, features_u=None):
    """The largest eigenvalue of the weighted KD loss's Hessian in the weights, in float64."""
    shape = head.weight.shape

    def value(flat):
        def logits(z):
            zeros = [torch.zeros(shape[0], dtype=torch.float64)] if hasattr(head, "bias") else []
            parameters = {"weight": flat.view(shape), **({"bias": zeros[0]} if zeros else {})}
            return torch.func.functional_call(head, parameters, (z,))

        kd = loss.divergence(logits(features), teacher)
        if features_u is not None:
            kd = kd + loss.divergence(logits(features_u), teacher_u)
        return (1 - loss.lam) * kd

    hessian = torch.autograd.functional.hessian(value, head.weight.detach().double().flatten())
    return torch.linalg.eigvalsh(hessian).max().item()


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("terms", [1, 2])
def test_it_is_below_the_limit_of_the_worst_case_and_not_far_below(scaled, terms):
    """Two classes that are equally likely, and images that all point in the same direction across both."""
    loss = DHOLoss(0.2, 3.0, scaled)
    head = make_head(3, 2, zeta=0.02, text_features=torch.eye(3)[:2])
    head = head.double()
    features = torch.tensor([[0.0, 0.0, 1.0]] * 4, dtype=torch.float64)
    teacher = torch.zeros(4, 2, dtype=torch.float64)
    found = curvature(head, loss, features, teacher, teacher, features if terms == 2 else None)
    limit = 2 * 1.9 / found
    rate = safe_rate(head, loss, terms, SGD)
    assert rate == pytest.approx(limit / 2, rel=1e-6)


def test_a_cosine_of_a_hundredth_is_slowed_and_of_a_tenth_is_not():
    def rate(zeta, kind="cosine", **more):
        return safe_rate(make_head(8, 5, kind, zeta), DHOLoss(0.5), 2, CfgNode({**SGD, **more}))

    assert rate(0.01) == pytest.approx(3.8e-4) and rate(0.07) > SGD.LR
    assert rate(0.01, MOMENTUM=0.0) == pytest.approx(2e-4) and rate(0.01, "scaled") == pytest.approx(1.9e-4)
    assert rate(0.01, "linear") == rate(0.01, NAME="adam") == float("inf")
    assert safe_rate(make_head(8, 5), DHOLoss(1.0), 2, SGD) == float("inf")


@pytest.fixture(scope="module")
def sharp(tmp_path_factory):
    """Random CLIPs with the logits of published ones: cosines times 100."""
    folder = tmp_path_factory.mktemp("sharp")
    return write_clip(folder / "student", 32, 32, 1, zeta=0.01), write_clip(folder / "teacher", 48, 40, 2, zeta=0.01)


class Sharp(EngineStep):
    pass


def rates(train_args, sharp, out, *opts):
    if "SharpDHO" not in rates.__dict__:
        rates.SharpDHO = with_dho(Sharp)
    models = ("MODEL.BACKBONE.NAME", sharp[0], "TRAINER.DHO.TEACHER.NAME", sharp[1])
    fixed = ("OPTIM.NAME", "sgd", "OPTIM.LR", "0.002", "OPTIM.MAX_EPOCH", "3", "OPTIM.WARMUP_EPOCH", "-1")
    trainer = build(train_args("SharpDHO", *models, *fixed, *opts, output=out))
    (batch,) = first_batches(trainer, 1)
    found = [trainer._optims[name].param_groups[0]["lr"] for name in ("prompted", "kd_head")]
    summary, gradients = take_step(trainer, batch, 0, 2)
    assert gradients["kd_head/weight"].abs().max() > 0
    return found


def test_the_default_in_a_host_is_safe_and_a_given_rate_is_taken(train_args, sharp, tmp_path, capsys):
    host, head = rates(train_args, sharp, tmp_path / "default")
    assert host == 0.002 and head == pytest.approx(3.8e-4)
    assert "The KD head learns at 0.00038: OPTIM.LR 0.002 can overshoot" in capsys.readouterr().out
    assert rates(train_args, sharp, tmp_path / "given", "TRAINER.DHO.HEAD_LR", "0.01") == [0.002, 0.01]
    assert rates(train_args, sharp, tmp_path / "soft", "TRAINER.DHO.ZETA", "0.07") == [0.002, 0.002]
    assert "The KD head learns at" not in capsys.readouterr().out


def test_a_rising_loss_is_said_once(capsys):
    watch = RisingLoss()
    for losses in ((4.0, 2.0), (3.0, 3.0), (4.0, 4.9), (9.0, 9.0), (10.0,)):
        for loss in losses:
            watch.add(loss)
        watch.end_epoch(0.002)
        if losses == (4.0, 4.9):
            assert capsys.readouterr().out == ""  # 4.45 < 1.5 * 3
    said = capsys.readouterr().out
    assert said.count("Warning: the KD loss rose from 3 to 9") == 1 and "below 0.002" in said
    watch.end_epoch(0.002)
