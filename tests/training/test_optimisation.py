"""How steps of our trainers are taken: in parts, clipped, without decay of biases, averaged."""

import json

import pytest
import torch

from dho_prompt.config import differences
from dho_prompt.training.optimisers import spare_biases
from trainer_contract import build, first_batches, take_step, weights_of

SETTINGS = {
    "DATALOADER.TRAIN_X.BATCH_SIZE": 4, "DATALOADER.TRAIN_U.SAME_AS_X": False, "DATALOADER.TRAIN_U.BATCH_SIZE": 6,
    "OPTIM.NAME": "adamw", "OPTIM.LR": 0.01, "OPTIM.WEIGHT_DECAY": 0.1, "OPTIM.MAX_EPOCH": 2, "OPTIM.WARMUP_EPOCH": -1,
    "TRAINER.DHO.LAMBDA": 0.2, "TRAINER.DHO.TEMPERATURE": 3.0, "INPUT.TRANSFORMS": "('random_resized_crop',)",
}  # fmt: skip


@pytest.fixture
def trainer_of(train_args):
    def make(output=None, name="FinetuneDHO", **options):
        found = {**SETTINGS, **{key.replace("__", "."): value for key, value in options.items()}}
        return build(train_args(name, *(word for pair in found.items() for word in pair), output=output))

    return make


def one_step(trainer):
    (batch,) = first_batches(trainer, 1)
    logged, gradients = take_step(trainer, batch, 0, 5)
    return logged, gradients, weights_of(trainer)


def close(first, second, tolerance):
    assert first.keys() == second.keys()
    for key in first:
        assert (first[key] - second[key]).norm() <= tolerance * second[key].norm() + 1e-9, key


@pytest.mark.parametrize("objective", ["dho", "ce_kd", "kd_feature", "ce_kd_feature", "sskd", "dhkd"])
def test_parts_give_the_batch_s_gradient(trainer_of, tmp_path, objective):
    options = {"TRAINER__DHO__OBJECTIVE": objective, "OPTIM__NAME": "sgd", "OPTIM__LR": 0.5}
    whole = one_step(trainer_of(tmp_path / "whole", **options))
    parts = one_step(trainer_of(tmp_path / "parts", OPTIM__ACCUMULATE=2, **options))
    assert parts[0] == pytest.approx(whole[0], rel=2e-5, abs=1e-5)
    close(parts[1], whole[1], 2e-5)
    close(parts[2], whole[2], 2e-5)


def test_parts_must_be_equal(trainer_of):
    trainer = trainer_of(OPTIM__ACCUMULATE=3)
    (batch,) = first_batches(trainer, 1)
    with pytest.raises(ValueError, match="has 4 labelled and 6 unlabelled .* it may be 1, 2 with"):
        take_step(trainer, batch, 0, 5)


def test_the_gradient_is_clipped_over_all_that_is_trained(trainer_of, tmp_path):
    _, free, _ = one_step(trainer_of(tmp_path / "free"))
    norm = torch.stack([value.norm() for value in free.values()]).norm()
    _, clipped, _ = one_step(trainer_of(tmp_path / "clipped", OPTIM__CLIP_NORM=float(norm) / 4))
    close(clipped, {key: value / 4 for key, value in free.items()}, 1e-4)
    _, wide, _ = one_step(trainer_of(tmp_path / "wide", OPTIM__CLIP_NORM=float(norm) * 4))
    close(wide, free, 1e-9)


@pytest.mark.skipif(not hasattr(torch.amp, "GradScaler"), reason="torch < 2.3 scales on CUDA alone")
@pytest.mark.parametrize("options", [{"TRAINER__DHO__LAMBDA": 1.0}, {"TRAINER__DHO__OBJECTIVE": "kd_feature"}], ids=str)
def test_scaled_gradients_where_a_part_has_none(trainer_of, tmp_path, options):
    """As of autocast on a GPU: the KD head with lambda 1 and the CE head of an objective without labels stand still."""
    after = []
    for scaled in (False, True):
        trainer = trainer_of(tmp_path / str(scaled), OPTIM__CLIP_NORM=0.1, OPTIM__NAME="sgd", **options)
        trainer.scaler = torch.amp.GradScaler("cpu", init_scale=64.0) if scaled else None
        start = weights_of(trainer)
        (batch,) = first_batches(trainer, 1)
        trainer.batch_idx, trainer.num_batches = 0, 5
        trainer.forward_backward(batch)
        after.append(weights_of(trainer))
    still = {key.partition("/")[0] for key in start if after[0][key].equal(start[key])}
    assert ("kd_head" if "TRAINER__DHO__LAMBDA" in options else "ce_head") in still
    close(after[1], after[0], 1e-6)


def test_biases_and_norms_are_spared_from_decay(trainer_of, tmp_path):
    before = weights_of(trainer_of(tmp_path / "a"))
    options = {"OPTIM__WEIGHT_DECAY": 0.5}
    _, _, decayed = one_step(trainer_of(tmp_path / "all", **options))
    trainer = trainer_of(tmp_path / "spared", OPTIM__DECAY_ALL=False, **options)
    _, _, spared = one_step(trainer)
    for key, value in before.items():
        # AdamW: what decays loses LR * decay of itself before the step
        wanted = 0.01 * 0.5 * value if value.dim() <= 1 else 0 * value
        assert (spared[key] - decayed[key] - wanted).abs().max() < 1e-6, key
    assert any(value.dim() <= 1 and value.abs().max() > 0.5 for value in before.values())


def test_groups_without_decay():
    matrix, bias = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    for weights, decays in (([matrix, bias], [0.3, 0.0]), ([matrix], [0.3]), ([bias], [0.0])):
        optimizer = torch.optim.SGD(weights, lr=1, weight_decay=0.3)
        spare_biases(optimizer)
        assert [group["weight_decay"] for group in optimizer.param_groups] == decays
        assert sum(len(group["params"]) for group in optimizer.param_groups) == len(weights)


def test_the_moving_average_remains(trainer_of, tmp_path):
    """By hand: the average of the weights after each step, with the start in it, stands in the last checkpoint."""
    trainer = trainer_of(tmp_path / "run", OPTIM__EMA=0.7, OPTIM__MAX_EPOCH=1)
    average, seen = weights_of(trainer), []

    def add(*_):
        seen.append(weights_of(trainer))

    trainer._optims["kd_head"].register_step_post_hook(add)  # the last of the three to step
    assert trainer.get_model_names()[-1] == "kd_head"
    trainer.train()
    for weights in seen:
        average = {key: 0.7 * average[key] + 0.3 * weights[key] for key in average}
    assert len(seen) > 3
    close(weights_of(trainer), average, 1e-5)
    with pytest.raises(AssertionError):
        close(weights_of(trainer), seen[-1], 1e-3)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["accuracy"]["test"]
    with pytest.raises(ValueError, match="OPTIM.EMA averages"):
        trainer_of(tmp_path / "x", OPTIM__EMA=0.7, TEST__FINAL_MODEL="best_val")


@pytest.mark.parametrize(
    "options",
    [
        {"OPTIM__EMA": 0.7, "OPTIM__DECAY_ALL": False},
        {
            "MODEL__BACKBONE__NAME": "resnet18", "TRAINER__FINETUNE__HEAD_INIT": "kaiming",
            "TRAINER__DHO__HEAD_INIT": "kaiming", "TRAINER__DHO__HEAD": "nonlinear",
        },
    ],
    ids=["average", "batch statistics, dropout"],
)  # fmt: skip
def test_an_interrupted_run_ends_as_an_uninterrupted_one(trainer_of, tmp_path, options):
    class Stop(Exception):
        pass

    whole = trainer_of(tmp_path / "whole", **options)
    whole.train()
    killed = trainer_of(tmp_path / "killed", **options)
    step, count = killed.forward_backward, len(killed.train_loader_x)
    killed.forward_backward = lambda batch: step(batch) if killed.epoch == 0 or killed.batch_idx == 0 else stop()

    def stop():
        raise Stop

    with pytest.raises(Stop):
        killed.train()
    assert count > 1
    resumed = trainer_of(tmp_path / "killed", **options)
    resumed.train()
    for name in whole.get_model_names():
        first, second = (trainer._models[name].state_dict() for trainer in (whole, resumed))
        assert first.keys() == second.keys() and all(first[key].equal(second[key]) for key in first), name
    records = [json.loads((tmp_path / run / "results.json").read_text()) for run in ("whole", "killed")]
    assert differences(records[0]["accuracy"], records[1]["accuracy"]) == []
