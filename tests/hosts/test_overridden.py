"""Hosts with methods of their own where Dassl has some: found to pass through DHO, served by an adapter, or refused."""

import json

import pytest
import torch
from torch.nn import functional as F

from dho_prompt.hosts.adapters import Adapter
from dho_prompt.hosts.injection import add_loss
from dho_prompt.hosts.overridden import missing
from dho_prompt.hosts.with_dho import with_dho
from stand_in_hosts import EngineStep, HostBase, TowerStep
from trainer_contract import build, first_batches, take_step

SHORT = ("OPTIM.MAX_EPOCH", "1", "TRAIN.COUNT_ITER", "train_x", "DATALOADER.TRAIN_X.BATCH_SIZE", "4")


class OwnTest(EngineStep):
    """PromptKD's way: the test calls the model itself, which scores its output as it likes."""

    def model_inference(self, images):
        return self.model(images), "which is no tensor"

    @torch.no_grad()
    def test(self, split=None):
        self.set_model_mode("eval")
        self.evaluator.reset()
        for batch in self.test_loader:
            images, labels = self.parse_batch_test(batch)
            self.evaluator.process(3 * self.model(images), labels)
        return next(iter(self.evaluator.evaluate().values()))


class OwnTestAdapter(Adapter):
    def logits(self, trainer, images):
        return 3 * trainer.model(images)


def test_a_test_that_leaves_dho_out_is_refused_before_anything_is_built():
    with pytest.raises(ValueError, match=r"OwnTest has a test\(\) of its own, .*self.model_inference.*logits\(trainer"):
        with_dho(OwnTest)


def test_with_an_adapter_that_predicts_it_is_evaluated_as_the_host_is(train_args, tmp_path):
    plugged = with_dho(OwnTest, OwnTestAdapter(), "OwnTestServed")
    off = ("TRAINER.DHO.LAMBDA", "1.0", "TRAINER.DHO.ALPHA", "1.0")
    trainer = build(train_args("OwnTestServed", *SHORT, *off, output=tmp_path / "off"))
    trainer.train()
    results = json.loads((tmp_path / "off" / "results.json").read_text())
    assert results["accuracy"]["test"]["blend"] == pytest.approx(OwnTest.test(trainer))
    trainer = build(train_args("OwnTestServed", *SHORT, output=tmp_path / "on"))
    trainer.train()
    assert trainer._models["kd_head"] is not None and plugged.test is not OwnTest.test
    images = next(iter(trainer.test_loader))["img"].to(trainer.device)
    trainer.set_model_mode("eval")
    with torch.no_grad():
        logits = trainer.predict(images)
        torch.testing.assert_close(next(iter(logits.values())), 3 * trainer.model(images))
    assert len(logits) == 2
    results = json.loads((tmp_path / "on" / "results.json").read_text())
    assert set(results["accuracy"]["test"]) >= {"blend", "kd"}


class Through(EngineStep):
    """Its own test and epoch do pass through, by way of further methods and of super()."""

    def test(self, split=None):
        return self.looked_at(split)

    def looked_at(self, split):
        self.set_model_mode("eval")
        self.evaluator.reset()
        for batch in self.test_loader:
            images, labels = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(images), labels)
        return next(iter(self.evaluator.evaluate().values()))

    def run_epoch(self):
        self.set_model_mode("train")
        self.num_batches = len(self.train_loader_x)
        for self.batch_idx, batch in enumerate(self.train_loader_x):  # noqa: B020  as Dassl's
            self.forward_backward(batch)

    def after_train(self):
        super().after_train()


def test_methods_that_pass_through_are_taken(train_args, tmp_path):
    with_dho(Through)
    assert missing(Through, "test", ("model_inference", "nothing")) == ["nothing"]
    assert missing(Through, "after_train", ("test",)) == []
    build(train_args("ThroughDHO", *SHORT, output=tmp_path / "run")).train()
    assert 0 <= json.loads((tmp_path / "run" / "results.json").read_text())["accuracy"]["test"]["blend"] <= 100


class OwnEpoch(EngineStep):
    def run_epoch(self):
        for batch in self.train_loader_x:
            self.model_backward_and_update(F.cross_entropy(self.model(batch["img"]), batch["label"]))


class OwnTrain(EngineStep):
    def train(self):
        for self.epoch in range(self.max_epoch):  # noqa: B020  as Dassl's
            self.run_epoch()


class OwnSetUp(EngineStep):
    def before_train(self):
        self.start_epoch = 0


class OwnEnd(EngineStep):
    def after_train(self):
        print("done")


class OwnFiles(EngineStep):
    def save_model(self, epoch, directory, **more):
        torch.save(self.model.state_dict(), directory)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (
            OwnEpoch,
            r"OwnEpoch has a run_epoch\(\) of its own, .*forward_backward, self.batch_idx, self.num_batches",
        ),
        (OwnTrain, r"OwnTrain has a train\(\) of its own, .*self.before_train.*super\(\).train\(\)"),
        (OwnSetUp, r"OwnSetUp has a before_train\(\) .*resume_model_if_exist: a killed run would start again"),
        (OwnEnd, r"OwnEnd has a after_train\(\) .*self.test: the trained model would not be tested"),
        (OwnFiles, r"OwnFiles has a save_model\(\) of its own: .*would pass it over"),
    ],
)
def test_methods_that_pass_dho_by_are_refused(host, message):
    with pytest.raises(ValueError, match=message):
        with_dho(host)


class Skips(EngineStep):
    """Names test() and does not always come to it."""

    def after_train(self):
        if self.epoch < 0:
            self.test()


def test_no_result_is_written_without_an_evaluated_image(train_args, tmp_path):
    with_dho(Skips)
    trainer = build(train_args("SkipsDHO", *SHORT, output=tmp_path / "run"))
    with pytest.raises(ValueError, match=r"nothing was evaluated on test .*after_train\(\) must call self.test\(\)"):
        trainer.train()
    assert not (tmp_path / "run" / "results.json").exists()


# Two backward passes


class TwoPasses(HostBase):
    """ProGrad's way: the gradient of one loss is looked at, that of another is taken."""

    def forward_backward(self, batch):
        images, labels = self.parse_batch_train(batch)
        logits = self.model(images)
        self.model_zero_grad()
        logits.square().mean().backward(retain_graph=True)
        self.looked_at = self.model.offset.grad.clone()
        self.model_zero_grad()
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        self.taken = self.model.offset.grad.clone()
        self.model_update()
        self.end_of_epoch()
        return {"loss": loss.item()}


class TwoPassesInTheTower(TowerStep):
    returns = "logits"
    forward_backward = TwoPasses.forward_backward


def test_a_second_backward_pass_adds_no_second_kd_gradient(train_args, tmp_path):
    class Once(EngineStep):
        pass

    heads = []
    for host in (TwoPasses, Once):
        with_dho(host)
        lam = ("TRAINER.DHO.LAMBDA", "0.2")
        trainer = build(train_args(f"{host.__name__}DHO", *SHORT, *lam, output=tmp_path / host.__name__))
        (batch,) = first_batches(trainer, 1)
        heads.append(take_step(trainer, batch, 0, 2)[1]["kd_head/weight"])
    assert heads[0].abs().max() > 0
    torch.testing.assert_close(heads[0], heads[1], rtol=1e-5, atol=1e-7)


def test_two_passes_through_a_trained_tower_are_refused(train_args):
    with_dho(TwoPassesInTheTower)
    trainer = build(train_args("TwoPassesInTheTowerDHO", *SHORT))
    (batch,) = first_batches(trainer, 1)
    with pytest.raises(ValueError, match="back-propagates through its model's output more than once"):
        take_step(trainer, batch, 0, 2)


def test_the_second_loss_is_differentiated_once():
    weight, own = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    output = add_loss(weight * 3, own * 7, 0.3, 0.7, shared=False)
    output.backward(retain_graph=True)
    (output * 2).backward()
    torch.testing.assert_close(weight.grad, torch.tensor(0.3 * 9))
    torch.testing.assert_close(own.grad, torch.tensor(0.7 * 7))
