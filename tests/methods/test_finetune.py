"""Finetuning: what is trained, batch statistics, which options are refused."""

import pytest
import torch
from torch import nn

from dho_prompt.data.batches.views import View
from dho_prompt.heads import LinearHead
from dho_prompt.methods.finetune import FinetuneMethod
from dho_prompt.nonlinear_head import NonLinearHead
from dho_prompt.students.networks import NetworkStudent
from trainer_contract import build, first_batches, take_step, weights_of


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5))

    def forward(self, images):
        return self.last(self.first(images)).mean((2, 3))


def method_of(**options):
    torch.manual_seed(1)
    student = NetworkStudent(Small(), View(8, (0.5,), (0.5,)), 5)
    method = FinetuneMethod(student, LinearHead(5, 3), **options)
    for module in method.trainable().values():
        module.train()
    return method


IMAGES = (
    torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    * torch.tensor([1, 1, 1, 4.0, 4.0])[:, None, None, None]
)


def statistics(method):
    norm = method.student.backbone.first[1]
    return norm.running_mean.clone(), int(norm.num_batches_tracked)


def test_one_pass_or_two():
    """One: common statistics, updated once; two: each part its own, updated twice, the unlabelled last."""
    one, two = method_of(passes="one"), method_of(passes="two")
    together = one.student.backbone.first[0](IMAGES).mean((0, 2, 3))
    parts = [two.student.backbone.first[0](part).mean((0, 2, 3)) for part in (IMAGES[:3], IMAGES[3:])]
    outputs = [method(IMAGES, 3, all_logits=True) for method in (one, two)]
    torch.testing.assert_close(statistics(one)[0], 0.1 * together.detach())
    torch.testing.assert_close(statistics(two)[0], (0.09 * parts[0] + 0.1 * parts[1]).detach())
    assert (statistics(one)[1], statistics(two)[1]) == (1, 2)
    torch.testing.assert_close(outputs[1].features[:3], method_of().student(IMAGES[:3]))
    torch.testing.assert_close(outputs[1].features[3:], method_of().student(IMAGES[3:]))
    torch.testing.assert_close(outputs[0].features, method_of().student(IMAGES))
    for output in outputs:
        assert output.logits.shape == (3, 3) and output.unlabelled_logits.shape == (2, 3)
    assert (outputs[0].logits - outputs[1].logits).abs().max() > 1e-3
    torch.testing.assert_close(two.logits(outputs[1].features[3:]), outputs[1].unlabelled_logits)


def test_the_two_are_one_without_batch_statistics():
    method = method_of(passes="two")
    assert method.two_passes
    student = NetworkStudent(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), View(8, (0.5,), (0.5,)), 5)
    assert not FinetuneMethod(student, LinearHead(5, 3), passes="two").two_passes


def test_parts_that_are_not_trained_stay_as_they_are():
    method = method_of(modules=("last",))
    before = {key: value.clone() for key, value in method.student.backbone.state_dict().items()}
    optimizer = torch.optim.SGD([w for m in method.trainable().values() for w in m.parameters()], lr=0.1)
    for _ in range(2):
        for module in method.trainable().values():
            module.train()  # as a trainer does before every epoch
        optimizer.zero_grad()
        method(IMAGES, 3).logits.logsumexp(1).sum().backward()
        optimizer.step()
    after = method.student.backbone.state_dict()
    same = {key for key in before if before[key].equal(after[key])}
    assert {key for key in before if key.startswith("first")} <= same
    assert {"last.0.weight", "last.1.running_mean", "last.1.num_batches_tracked"}.isdisjoint(same)
    with pytest.raises(ValueError, match="names 'layer4', which the network has not; its parts are first, last"):
        method_of(modules=("layer4",))


def test_a_non_linear_head():
    """Linear, LayerNorm, GELU, Dropout, Linear; as wide as the features unless told."""
    head = NonLinearHead(6, 3, hidden=4, dropout=0.5)
    features = torch.randn(7, 6)
    first, norm, last = head.layers[0], head.layers[1], head.layers[4]
    x = features.double() @ first.weight.double().T + first.bias.double()
    x = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    x = x * norm.weight.double() + norm.bias.double()
    x = x * 0.5 * (1 + torch.erf(x / 2**0.5))
    wanted = x @ last.weight.double().T + last.bias.double()
    torch.testing.assert_close(head.eval()(features).double(), wanted, rtol=1e-5, atol=1e-6)
    assert not torch.equal(head.train()(features), head(features))
    assert first.out_features == 4 and NonLinearHead(6, 3).layers[0].out_features == 6
    assert head(features.half()).dtype == torch.float32


NETWORK = {
    "MODEL.BACKBONE.NAME": "resnet18",
    "TRAINER.FINETUNE.HEAD_INIT": "kaiming",
    "TRAINER.DHO.HEAD_INIT": "kaiming",
}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"MODEL.BACKBONE.NAME": "timm:resnet_18"}, ValueError, "timm has no network 'resnet_18'.*nearest"),
        ({"MODEL.BACKBONE.NAME": "resnet18"}, ValueError, "FINETUNE.HEAD_INIT is language, but resnet18 has no text"),
        ({**NETWORK, "TRAINER.DHO.HEAD_INIT": "language"}, ValueError, "TRAINER.DHO.HEAD_INIT is language"),
        ({**NETWORK, "MODEL.BACKBONE.WEIGHTS": "/none.pth"}, FileNotFoundError, "none.pth .MODEL.BACKBONE.WEIGHTS"),
        ({**NETWORK, "TRAINER.FINETUNE.CHECKPOINT_ACTIVATIONS": True}, ValueError, "keeps batch statistics"),
        ({**NETWORK, "TRAINER.FINETUNE.MODULES": "('layer9',)"}, ValueError, "layer9.*its parts are conv1, bn1"),
        ({"TRAINER.FINETUNE.DROP_PATH": 0.1}, ValueError, "DROP_PATH is 0.1, but .* is a CLIP"),
        ({"TRAINER.FINETUNE.PREC": "fp16"}, ValueError, "FINETUNE.PREC is 'fp16'; allowed are fp32, amp"),
        ({"TRAINER.DHO.OBJECTIVE": "kdd"}, ValueError, "OBJECTIVE is 'kdd'; allowed are dho, ce"),
    ],
)
def test_what_cannot_be_trained_is_refused(train_args, options, error, message):
    with pytest.raises(error, match=message):
        build(train_args("FinetuneDHO", *(word for pair in options.items() for word in pair)))


@pytest.mark.parametrize("objective", ["kd_feature", "ce_kd_feature"])
def test_a_teacher_without_features_cannot_give_them(train_args, tmp_path, objective):
    torch.save({"state_dict": {"ctx": torch.zeros(2, 32)}, "epoch": 1}, tmp_path / "model.pth.tar-1")
    options = {"TRAINER.DHO.OBJECTIVE": objective, "TRAINER.DHO.TEACHER.CHECKPOINT": tmp_path / "model.pth.tar-1"}
    trainer = build(train_args("FinetuneDHO", *(word for pair in options.items() for word in pair)))
    with pytest.raises(ValueError, match="zero-shot CLIP"):
        (batch,) = first_batches(trainer, 1)
        take_step(trainer, batch, 0, 5)


def test_activations_that_are_computed_again_change_nothing(train_args, tmp_path):
    results = []
    for checkpoint in (False, True):
        options = {"TRAINER.FINETUNE.CHECKPOINT_ACTIVATIONS": checkpoint, "DATALOADER.TRAIN_X.BATCH_SIZE": 4}
        words = [word for pair in options.items() for word in pair]
        trainer = build(train_args("FinetuneDHO", *words, output=tmp_path / str(checkpoint)))
        (batch,) = first_batches(trainer, 1)
        results.append((*take_step(trainer, batch, 0, 5), weights_of(trainer)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    for key, gradient in results[0][1].items():
        assert (results[1][1][key] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-12, key


def test_ce_takes_the_same_labelled_batches_and_steps_and_loads_no_teacher(train_args, tmp_path):
    seen = []
    for name, objective in (("Finetune", "dho"), ("FinetuneDHO", "ce"), ("FinetuneDHO", "dho")):
        options = {"TRAINER.DHO.OBJECTIVE": objective, "DATALOADER.TRAIN_X.BATCH_SIZE": 4}
        words = [word for pair in options.items() for word in pair]
        trainer = build(train_args(name, *words, output=tmp_path / f"{name}{objective}"))
        batches = first_batches(trainer, 2)
        seen.append((len(trainer.train_loader_x), [batch["impath"] for batch in batches]))
        assert (trainer.teacher is None) == (objective == "ce" or name == "Finetune")
        assert ("img_u" in batches[0]) == (trainer.teacher is not None)
    assert seen[0] == seen[1] == seen[2]
