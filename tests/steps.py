"""Checking a trainer's steps against ones written by hand, where no setting stands at a value that hides another.

eta 3, lambda .2, alpha .3, beta .7, a learning rate of its own for the KD head, batches of two sizes; the models are
those of the fixture ``clips``.
"""

import math

import pytest
import torch

import by_hand
import methods_by_hand as hand
from trainer_contract import first_batches, rates_of, take_step, weights_of

LR, HEAD_LR, MOMENTUM, DECAY, EPOCHS = 0.01, 0.03, 0.8, 0.004, 3
BATCH, BATCH_U, STEPS = 4, 6, 2
ROUNDING = 2e-5  # float32 against float64, relative
SETTINGS = {
    "DATALOADER.TRAIN_X.BATCH_SIZE": BATCH, "DATALOADER.TRAIN_U.SAME_AS_X": False,
    "DATALOADER.TRAIN_U.BATCH_SIZE": BATCH_U, "TRAIN.COUNT_ITER": "train_u", "DATASET.NUM_SHOTS": 1, "OPTIM.LR": LR,
    "OPTIM.MOMENTUM": MOMENTUM, "OPTIM.WEIGHT_DECAY": DECAY, "OPTIM.WARMUP_EPOCH": -1, "OPTIM.MAX_EPOCH": EPOCHS,
    "TRAINER.DHO.TEACHER.TEMPLATES": tuple(hand.TEMPLATES), "TRAINER.DHO.LAMBDA": 0.2, "TRAINER.DHO.TEMPERATURE": 3.0,
    "TRAINER.DHO.ALPHA": 0.3, "TRAINER.DHO.BETA": 0.7, "TRAINER.DHO.HEAD_LR": HEAD_LR,
}  # fmt: skip


def check_steps(trainer, terms_of, head_rate=LR):
    """Two steps, an epoch: what is logged, every gradient, every tensor afterwards, and the rates of the next epoch.

    ``terms_of(weights, batch)``: what the step logs, by hand. Its ``loss`` is differentiated or, if there is one, its
    ``total``, which is not logged.
    """
    optimiser = by_hand.SGD(MOMENTUM, DECAY)
    rates = {name: head_rate if name == "kd_head" else LR for name in trainer.get_model_names()}
    for index, batch in enumerate(first_batches(trainer, STEPS)):
        assert rates_of(trainer) == pytest.approx(rates)
        assert len(set(batch["label"].tolist())) == BATCH  # so that a label or a row in another's place shows
        before = {key: value.requires_grad_() for key, value in weights_of(trainer).items()}
        wanted = terms_of(before, batch)
        total = wanted.pop("total", wanted["loss"])
        gradients = torch.autograd.grad(total, list(before.values()), allow_unused=True)

        logged, actual = take_step(trainer, batch, index, STEPS)
        values = {name: torch.as_tensor(value).item() for name, value in wanted.items()}
        assert logged == pytest.approx(values, rel=ROUNDING, abs=1e-6)
        after = weights_of(trainer)
        assert actual.keys() == after.keys() == before.keys()
        for (key, value), gradient in zip(before.items(), gradients):
            gradient = torch.zeros_like(value) if gradient is None else gradient
            assert (actual[key] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-9, key
            moved = optimiser.step(key, value.detach(), gradient, rates[key.partition("/")[0]])
            change = (moved - value.detach()).norm()
            assert (after[key] - moved).norm() <= 2e-4 * change + 1e-7 * (1 + value.detach().norm()), key
    share = (1 + math.cos(math.pi / EPOCHS)) / 2
    assert rates_of(trainer) == pytest.approx({name: rate * share for name, rate in rates.items()})
