"""Hosts that replace or move their model after build_model, and hosts that pass twice over their weights in a step."""

import copy
import itertools

import pytest
import torch
from torch import nn

from dho_prompt.hosts.adapters import Adapter
from dho_prompt.hosts.with_dho import with_dho
from stand_in_hosts import EngineStep, LossStep, Tower, TowerStep
from steps import SETTINGS
from trainer_contract import build, first_batches, take_step

PLUGGED = {}


@pytest.fixture
def trainer_of(train_args, student_clip, teacher_clip, tmp_path):
    count = itertools.count()

    def make(host, adapter=None, **more):
        name = f"{host.__name__}{'' if adapter is None else 'Adapted'}Moved"
        if name not in PLUGGED:
            PLUGGED[name] = with_dho(host, adapter, name=name)
        models = {"MODEL.BACKBONE.NAME": student_clip, "TRAINER.DHO.TEACHER.NAME": teacher_clip}
        options = {**SETTINGS, **models, **more}
        words = (word for pair in options.items() for word in pair)
        return build(train_args(name, *words, output=tmp_path / str(next(count))))

    return make


def gradients(trainer, batch):
    return take_step(trainer, batch, 0, 9)[1]


# The model


class Wraps(EngineStep):
    """Puts another module in the place of its tower when training begins, over the same weights."""

    def before_train(self):
        super().before_train()
        self.model.image_encoder = Tower(self.model.image_encoder.visual)


def test_a_tower_that_is_wrapped_later_is_followed(trainer_of):
    plain, wrapped = trainer_of(EngineStep), trainer_of(Wraps)
    (batch,) = first_batches(plain, 1)
    first_batches(wrapped, 1)
    wanted, found = gradients(plain, batch), gradients(wrapped, batch)
    assert wanted.keys() == found.keys() and len(found) == 2
    assert all(torch.equal(wanted[key], found[key]) and found[key].abs().max() > 0 for key in found)
    images = batch["img"]
    for trainer in (plain, wrapped):
        trainer.set_model_mode("eval")
    assert torch.equal(plain.predict(images)["kd"], wrapped.predict(images)["kd"])


class Copies(EngineStep):
    def before_train(self):
        super().before_train()
        self.model = copy.deepcopy(self.model)


class Parallel(EngineStep):
    def before_train(self):
        super().before_train()
        self.model = nn.DataParallel(self.model)
        self.model.image_encoder = self.model.module.image_encoder


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (Copies, r"Copies trains another Prompted than the one that it registered .*self\.model before register_model"),
        (Parallel, "Parallel put its model in DataParallel"),
    ],
)
def test_a_model_that_is_replaced_later_is_refused(trainer_of, host, message):
    trainer = trainer_of(host)
    (batch,) = first_batches(trainer, 1)
    with pytest.raises(ValueError, match=message):
        take_step(trainer, batch, 0, 9)


def test_a_model_on_another_device_is_refused_with_both_named(trainer_of):
    trainer = trainer_of(LossStep)
    (batch,) = first_batches(trainer, 1)
    trainer.objective.head.to("meta")  # a device that every machine has
    with pytest.raises(ValueError, match="LossStep moved its model to cpu after build_model, .* are on meta"):
        take_step(trainer, batch, 0, 9)


# Passes


class Passes(TowerStep):
    """Calls its model twice; what is done in between differs."""

    def between(self):
        pass

    def forward_backward(self, batch):
        images, labels = self.parse_batch_train(batch)
        self.optim.zero_grad()
        first = self.host_loss(self.model(images, labels), labels)
        first.backward()
        self.between()
        loss = self.host_loss(self.model(images.flip(3), labels), labels)
        loss.backward()
        self.optim.step()
        return {"loss": loss.item(), "first": first.item()}


def weights(trainer):
    return [weight for group in trainer.optim.param_groups for weight in group["params"]]


class Sharpness(Passes):
    """SAM: up along the gradient, anew from there."""

    @torch.no_grad()
    def between(self):
        for weight in weights(self):
            weight.add_(0.05 * weight.grad / weight.grad.norm())
        self.optim.zero_grad()


class Unseen(Sharpness):
    """The same through .data, which torch does not count as a change, and gradients filled with zeros."""

    def between(self):
        for weight in weights(self):
            weight.data += 0.05 * weight.grad / weight.grad.norm()
        self.optim.zero_grad(set_to_none=False)


class TwoSteps(Passes):
    def between(self):
        self.optim.step()


@pytest.mark.parametrize(
    ("host", "how"), [(Sharpness, "changes its weights"), (Unseen, "clears its gradients"), (TwoSteps, "changes its")]
)
def test_a_second_pass_that_would_lose_the_kd_loss_is_refused(trainer_of, host, how):
    trainer = trainer_of(host)
    (batch,) = first_batches(trainer, 1)
    with pytest.raises(ValueError, match=f"{host.__name__} calls its model twice in a step and {how}.* as SAM does"):
        take_step(trainer, batch, 0, 9)


def test_gradients_that_add_up_over_two_passes_are_joined_once(trainer_of):
    """lambda (first + second) + (1 - lambda) KD, lambda .2."""
    plain, twice, off = trainer_of(TowerStep), trainer_of(Passes), trainer_of(Passes, **{"TRAINER.DHO.LAMBDA": 1.0})
    (batch,) = first_batches(plain, 1)
    for trainer in (twice, off):
        first_batches(trainer, 1)
    once, both = gradients(plain, batch), gradients(twice, batch)
    second = {"img": batch["img"].flip(3), "label": batch["label"]}
    lone = trainer_of(TowerStep, **{"TRAINER.DHO.LAMBDA": 1.0})
    first_batches(lone, 1)
    extra = gradients(lone, second)
    for key in extra:
        wanted = once[key] + 0.2 * extra[key]
        assert (both[key] - wanted).abs().max() <= 2e-5 * wanted.abs().max() and extra[key].abs().max() > 0
    assert torch.equal(once["kd_head/weight"], both["kd_head/weight"])


class TextSharpness(Sharpness):
    vision = False


def test_sam_fits_where_the_kd_loss_trains_the_head_alone(trainer_of):
    trainer, plain = trainer_of(TextSharpness), trainer_of(LossStep)
    (batch,) = first_batches(trainer, 1)
    first_batches(plain, 1)
    found, wanted = gradients(trainer, batch), gradients(plain, batch)
    assert torch.equal(found["kd_head/weight"], wanted["kd_head/weight"])
    assert found["prompted/offset"].abs().max() > 0


def test_an_adapter_of_ones_own_is_followed_too(trainer_of):
    class Net(LossStep):
        def before_train(self):
            super().before_train()
            self.model.towers = nn.ModuleList([self.model.image_encoder])

    class Towers(Adapter):
        def image_encoder(self, trainer):
            return getattr(trainer.model, "towers", [trainer.model.image_encoder])[0]

    trainer = trainer_of(Net, Towers())
    (batch,) = first_batches(trainer, 1)
    assert take_step(trainer, batch, 0, 9)[0]["loss_kd_u"] > 0
