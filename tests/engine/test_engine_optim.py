"""The optimisers are torch's own with the settings of the OPTIM node."""

import inspect

import pytest
import torch

from dho_prompt import engine
from dho_prompt.config import extend_cfg

SETTINGS = {
    "LR": 0.03, "WEIGHT_DECAY": 0.2, "MOMENTUM": 0.7, "SGD_DAMPNING": 1, "RMSPROP_ALPHA": 0.6, "ADAM_BETA1": 0.5,
    "ADAM_BETA2": 0.8,
}  # fmt: skip
COMMON = {"lr": 0.03, "weight_decay": 0.2}
BETAS = {**COMMON, "betas": (0.5, 0.8)}
OPTIMISERS = {
    "adam": lambda weights: torch.optim.Adam(weights, **BETAS),
    "amsgrad": lambda weights: torch.optim.Adam(weights, amsgrad=True, **BETAS),
    "adamw": lambda weights: torch.optim.AdamW(weights, **BETAS),
    "radam": lambda weights: torch.optim.RAdam(weights, **BETAS),
    "sgd": lambda weights: torch.optim.SGD(weights, momentum=0.7, dampening=1, **COMMON),
    "rmsprop": lambda weights: torch.optim.RMSprop(weights, momentum=0.7, alpha=0.6, **COMMON),
}


def path_of(build):
    """Where six steps lead, with a gradient that falls and rises."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = build([weight])
    for step in range(6):
        optimizer.zero_grad()
        (weight.square() * torch.tensor([3.0, 0.1]) ** (step - 2)).sum().backward()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_setting_reaches_the_optimiser(name):
    cfg = engine.get_cfg_default().OPTIM
    cfg.merge_from_list(["NAME", name, *(word for pair in SETTINGS.items() for word in pair)])
    assert torch.equal(path_of(lambda weights: engine.build_optimizer(weights, cfg)), path_of(OPTIMISERS[name]))
    others = [path_of(build) for other, build in OPTIMISERS.items() if other != name]
    assert not any(torch.equal(path_of(OPTIMISERS[name]), other) for other in others)


def test_nesterov():
    cfg = engine.get_cfg_default().OPTIM
    cfg.merge_from_list(["NAME", "sgd", "LR", 0.03, "WEIGHT_DECAY", 0.2, "MOMENTUM", 0.7, "SGD_NESTEROV", True])
    wanted = path_of(lambda weights: torch.optim.SGD(weights, momentum=0.7, nesterov=True, **COMMON))
    assert torch.equal(path_of(lambda weights: engine.build_optimizer(weights, cfg)), wanted)


@pytest.mark.parametrize("name, stepsize", [("single_step", (2,)), ("multi_step", (2, 4))])
def test_gamma(name, stepsize):
    cfg = engine.get_cfg_default().OPTIM
    cfg.merge_from_list(["LR", 0.8, "LR_SCHEDULER", name, "STEPSIZE", stepsize, "GAMMA", 0.5, "MAX_EPOCH", 6])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.LR)
    schedule, rates = engine.build_lr_scheduler(optimizer, cfg), []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.8, 0.8, 0.4, 0.4, 0.2, 0.2])


@pytest.mark.skipif("fused" not in inspect.signature(torch.optim.SGD).parameters, reason="an older torch")
@pytest.mark.parametrize("name, exact", [("sgd", True), ("adam", False), ("amsgrad", False), ("adamw", False)])
def test_a_fused_optimiser_leads_to_the_same_place(name, exact):
    cfg = extend_cfg(engine.get_cfg_default()).OPTIM
    cfg.merge_from_list(["NAME", name, "FUSED", True, *(word for pair in SETTINGS.items() for word in pair)])
    found = path_of(lambda weights: engine.build_optimizer(weights, cfg))
    wanted = path_of(OPTIMISERS[name])
    assert torch.equal(found, wanted) or not exact
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert engine.build_optimizer([torch.nn.Parameter(torch.ones(1))], cfg).param_groups[0]["fused"]


def test_what_cannot_be_fused_is_refused():
    cfg = extend_cfg(engine.get_cfg_default()).OPTIM
    cfg.merge_from_list(["NAME", "radam", "FUSED", True])
    with pytest.raises(ValueError, match="OPTIM.FUSED is True, which radam cannot be; it is for sgd, adam"):
        engine.build_optimizer([torch.nn.Parameter(torch.ones(1))], cfg)
