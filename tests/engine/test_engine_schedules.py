"""Learning rates against the formulas of Dassl's documentation, restated here."""

import math

import pytest
import torch

from dho_prompt import engine

BASE = 0.002


def rates(epochs, **optim):
    cfg = engine.get_cfg_default().OPTIM
    cfg.merge_from_list([entry for pair in {"LR": BASE, "MAX_EPOCH": epochs, **optim}.items() for entry in pair])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.LR)
    schedule = engine.build_lr_scheduler(optimizer, cfg)
    seen = []
    for _ in range(epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        assert schedule.get_last_lr() == [seen[-1]]
        optimizer.step()
        schedule.step()
    return seen


def cosine(epoch, epochs):
    return BASE * (1 + math.cos(math.pi * epoch / epochs)) / 2


def test_cosine():
    assert rates(5, LR_SCHEDULER="cosine") == pytest.approx([cosine(epoch, 5) for epoch in range(5)], rel=1e-12)


def test_constant_warmup_then_cosine_from_its_start():
    expected = [1e-5, 1e-5] + [cosine(epoch, 6) for epoch in range(4)]
    seen = rates(6, LR_SCHEDULER="cosine", WARMUP_EPOCH=2, WARMUP_TYPE="constant", WARMUP_CONS_LR=1e-5)
    assert seen == pytest.approx(expected, rel=1e-12)


def test_linear_warmup_starts_at_its_minimum():
    expected = [1e-5, BASE / 4, BASE / 2, BASE * 3 / 4] + [cosine(epoch, 8) for epoch in range(4)]
    seen = rates(8, LR_SCHEDULER="cosine", WARMUP_EPOCH=4, WARMUP_TYPE="linear", WARMUP_MIN_LR=1e-5)
    assert seen == pytest.approx(expected, rel=1e-12)


def test_without_recount_the_schedule_goes_on_from_the_warmup_scaled_to_the_base_rate():
    seen = rates(6, LR_SCHEDULER="cosine", WARMUP_EPOCH=2, WARMUP_TYPE="constant", WARMUP_RECOUNT=False)
    expected = [1e-5, 1e-5] + [BASE * cosine(epoch, 6) / cosine(2, 6) for epoch in range(2, 6)]
    assert seen == pytest.approx(expected, rel=1e-12)


def test_multi_step():
    seen = rates(6, LR_SCHEDULER="multi_step", STEPSIZE=(2, 5), GAMMA=0.1)
    assert seen == pytest.approx([0.002, 0.002, 0.0002, 0.0002, 0.0002, 0.00002], rel=1e-12)


def test_multi_step_counts_after_the_warmup():
    seen = rates(6, LR_SCHEDULER="multi_step", STEPSIZE=(2,), GAMMA=0.5, WARMUP_EPOCH=1, WARMUP_TYPE="constant")
    assert seen == pytest.approx([1e-5, 0.002, 0.002, 0.001, 0.001, 0.001], rel=1e-12)


def test_single_step_and_its_default_of_the_whole_run():
    assert rates(4, STEPSIZE=(2,)) == pytest.approx([0.002, 0.002, 0.0002, 0.0002], rel=1e-12)
    assert rates(4) == [0.002] * 4
    assert rates(5, STEPSIZE=(2,), GAMMA=0.5) == pytest.approx([0.002, 0.002, 0.001, 0.001, 0.0005], rel=1e-12)


def test_each_group_has_its_own_base_rate():
    cfg = engine.get_cfg_default().OPTIM
    cfg.merge_from_list(["LR_SCHEDULER", "cosine", "WARMUP_EPOCH", 2])
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.01, 0.1)]
    optimizer = torch.optim.SGD(groups)
    schedule = engine.build_lr_scheduler(optimizer, cfg)
    optimizer.step()
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.01 / 2, 0.1 / 2])


def test_state_is_plain_and_resumes(tmp_path):
    cfg = engine.get_cfg_default().OPTIM
    cfg.merge_from_list(["LR_SCHEDULER", "cosine", "WARMUP_EPOCH", 1])

    def build():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.LR)
        return optimizer, engine.build_lr_scheduler(optimizer, cfg)

    optimizer, schedule = build()
    for _ in range(3):
        optimizer.step()
        schedule.step()
    torch.save(schedule.state_dict(), tmp_path / "state")
    other_optimizer, other = build()
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    for _ in range(4):
        assert other_optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
        for each, step in ((optimizer, schedule), (other_optimizer, other)):
            each.step()
            step.step()


def test_a_state_as_it_lies_in_checkpoints_gives_the_rates_of_its_epoch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    cfg = engine.get_cfg_default().OPTIM
    cfg.merge_from_list(["LR_SCHEDULER", "cosine", "MAX_EPOCH", 6, "WARMUP_EPOCH", 2])
    schedule = engine.build_lr_scheduler(optimizer, cfg)
    state = {"last_epoch": 3, "_step_count": 4, "base_lrs": [BASE], "_last_lr": [0.0]}
    schedule.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == BASE * ((1 + math.cos(math.pi * 1 / 6)) / 2)
    assert schedule.state_dict() == {**state, "_last_lr": [optimizer.param_groups[0]["lr"]]}
    with pytest.raises(ValueError, match="2 learning rates but the optimiser has 1 groups"):
        schedule.load_state_dict({**state, "base_lrs": [BASE, BASE]})


@pytest.mark.parametrize("key, value", [("LR_SCHEDULER", "cosin"), ("NAME", "sdg"), ("WARMUP_TYPE", "lineal")])
def test_unknown_names_name_the_nearest(key, value):
    cfg = engine.get_cfg_default().OPTIM
    cfg.merge_from_list([key, value, "WARMUP_EPOCH", 1])
    nearest = {"LR_SCHEDULER": "cosine", "NAME": "sgd", "WARMUP_TYPE": "linear"}[key]
    parameter = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match=f"Did you mean '{nearest}'"):
        engine.build_lr_scheduler(engine.build_optimizer([parameter], cfg), cfg)


def test_staged_rates_are_refused():
    cfg = engine.get_cfg_default().OPTIM
    cfg.merge_from_list(["STAGED_LR", True, "NEW_LAYERS", ("b",)])
    with pytest.raises(ValueError, match="OPTIM.STAGED_LR is True.*set it to False"):
        engine.build_optimizer(torch.nn.ModuleDict({"a": torch.nn.Linear(1, 1), "b": torch.nn.Linear(1, 1)}), cfg)


@pytest.mark.parametrize(
    "name, kind, options",
    [
        ("adam", "Adam", {"betas": (0.8, 0.95), "amsgrad": False}),
        ("amsgrad", "Adam", {"betas": (0.8, 0.95), "amsgrad": True}),
        ("adamw", "AdamW", {"betas": (0.8, 0.95)}),
        ("radam", "RAdam", {"betas": (0.8, 0.95)}),
        ("sgd", "SGD", {"momentum": 0.7, "dampening": 1, "nesterov": False}),
        ("rmsprop", "RMSprop", {"momentum": 0.7, "alpha": 0.6}),
    ],
)
def test_every_optimiser_has_its_settings_and_lowers_a_square(name, kind, options):
    cfg = engine.get_cfg_default().OPTIM
    cfg.merge_from_list(["NAME", name, "LR", 0.01, "WEIGHT_DECAY", 0.03, "MOMENTUM", 0.7, "SGD_DAMPNING", 1])
    cfg.merge_from_list(["ADAM_BETA1", 0.8, "ADAM_BETA2", 0.95, "RMSPROP_ALPHA", 0.6])
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = engine.build_optimizer([parameter], cfg)
    assert type(optimizer) is getattr(torch.optim, kind)
    options = {**options, "lr": 0.01, "weight_decay": 0.03}
    assert {key: optimizer.defaults[key] for key in options} == options
    for _ in range(20):
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()
    assert parameter.item() < 1
