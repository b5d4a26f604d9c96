"""A step of trainers that know nothing of DHO, with the pathway plugged in, against one written by hand."""

import json

import pytest
import torch

import by_hand
import methods_by_hand as hand
from dho_prompt import with_dho
from dho_prompt.hosts.adapters import Adapter
from methods_by_hand import NAMES, Objective
from stand_in_hosts import HOSTS, EngineStep, ScaledStep, TowerStep, TupleStep
from steps import HEAD_LR, SETTINGS, check_steps
from tests_support import CLASSES, MEAN, STD
from trainer_contract import build, first_batches, state_of, take_step, weights_of

TRAINERS = {
    host: with_dho(host, Adapter(state=("average", "count")) if host is TupleStep else None, f"{host.__name__}ByHand")
    for host in HOSTS
}
HEADS = {
    "cosine": {},
    "cosine-kaiming-zeta": {"HEAD_INIT": "kaiming", "ZETA": 0.02},
    "linear-unscaled": {"HEAD": "linear", "SCALE_BY_TEMPERATURE": False},
}


@pytest.fixture
def trainer_of(train_args, clip_folders):
    def make(host, dho, **more):
        options = {**SETTINGS, "MODEL.BACKBONE.NAME": clip_folders[0], "TRAINER.DHO.TEACHER.NAME": clip_folders[1]}
        options.update({f"TRAINER.DHO.{key}": value for key, value in dho.items()}, **more)
        return build(train_args(TRAINERS[host].__name__, *(word for pair in options.items() for word in pair)))

    return make


def host_logits(clip, weights, features):
    """The prediction of all stand-ins, and the text features in it."""
    texts = by_hand.unit(by_hand.template_texts(clip, NAMES, ["a photo of a {}."]) + weights["prompted/offset"])
    return 10 * by_hand.unit(features) @ texts.t(), texts


def host_loss(host, clip, weights, batch):
    """The loss that each stand-in computes by itself."""
    logits, texts = host_logits(clip, weights, features_of(host, clip, weights, batch["img"]))
    loss = by_hand.cross_entropy(logits, batch["label"])
    if host is TupleStep:
        loss = loss + 3 * texts.abs().mean() + 0.01 * logits.square().mean()
    return loss


def features_of(host, clip, weights, images):
    if host is not TowerStep:
        return by_hand.image_features(clip, images)
    features = by_hand.image_features(clip, images, (), weights["prompted/image_encoder.visual.proj"])
    return 1.5 * features + weights["prompted/shift"]


def terms_with(host, clips, objective):
    """What a step logs: the host's own loss, and the two KD terms; ``total`` is what it follows."""

    def terms_of(weights, batch):
        logged = {"loss": host_loss(host, clips[0], weights, batch)}
        for key in ("", "_u"):
            if f"img{key}" in batch and f"img_teacher{key}" in batch:
                teacher = hand.zero_shot_logits(clips[1], batch[f"img_teacher{key}"], objective.zeta)
                student = hand.kd_logits(objective, weights, features_of(host, clips[0], weights, batch[f"img{key}"]))
                kd = by_hand.kl(teacher, student, objective.eta, objective.squared)
                logged[f"loss_kd{key or '_x'}"] = kd
            elif objective.lam < 1:
                logged[f"loss_kd{key or '_x'}"] = 0.0
        kd = sum(value for name, value in logged.items() if name != "loss")
        return {**logged, "total": objective.lam * logged["loss"] + (1 - objective.lam) * kd}

    return terms_of


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.__name__)
def test_a_step(trainer_of, clips, host, head):
    dho = HEADS[head]
    zeta = dho.get("ZETA") or clips[1].zeta
    objective = Objective(0.2, 3.0, zeta, dho.get("SCALE_BY_TEMPERATURE", True), dho.get("HEAD", "cosine"))
    trainer = trainer_of(host, dho)
    check_steps(trainer, terms_with(host, clips, objective), HEAD_LR)
    if objective.head == "cosine":
        assert state_of(trainer, "kd_head")["zeta"] == pytest.approx(zeta)


@pytest.mark.parametrize("dho", [{"LAMBDA": 0.0}, {"UNLABELED": "none"}], ids=str)
@pytest.mark.parametrize("host", [EngineStep, TowerStep], ids=lambda host: host.__name__)
def test_the_limits(trainer_of, clips, host, dho):
    """Lambda 1 is the host bit for bit, which is tested elsewhere."""
    objective = Objective(dho.get("LAMBDA", 0.2), 3.0, clips[1].zeta)
    check_steps(trainer_of(host, dho), terms_with(host, clips, objective), HEAD_LR)


def test_the_head_starts_from_the_students_text_features(trainer_of, clips):
    """A linear head from the features as they are, a cosine head from those of length 1."""
    unit, raw = (by_hand.template_texts(clips[0], NAMES, hand.TEMPLATES, as_given=raw) for raw in (False, True))
    starts = {
        "{}": ({}, unit),
        "linear": ({"HEAD": "linear"}, raw),
        "unit": ({"HEAD": "linear", "HEAD_INIT": "language_unit"}, unit),
        "kaiming": ({"HEAD_INIT": "kaiming"}, None),
    }
    for dho, texts in starts.values():
        weight = state_of(trainer_of(EngineStep, dho), "kd_head")["weight"].double()
        for kind in (unit, raw):
            assert ((weight - kind).abs().max() < 3e-6) == (kind is texts)


@pytest.mark.parametrize("host", [EngineStep, TowerStep], ids=lambda host: host.__name__)
def test_the_mix_of_the_hosts_prediction_and_the_heads(trainer_of, clips, data_root, tmp_path, host):
    """Eq. 11 with alpha .3 and beta .7, from the run's own tensors and the image files."""
    trainer = trainer_of(host, {}, **{"OPTIM.LR": 0.3, "OPTIM.MAX_EPOCH": 1, "INPUT.INTERPOLATION": "bicubic"})
    trainer.train()
    report, weights = json.loads((tmp_path / "run" / "results.json").read_text()), weights_of(trainer)
    files = sorted((data_root / "imagenet" / "images" / "val").rglob("*.JPEG"))
    labels = [list(CLASSES).index(file.parent.name) for file in files]
    images = torch.stack([by_hand.view(file, clips[0].size, MEAN, STD) for file in files])
    features = features_of(host, clips[0], weights, images)
    ce = host_logits(clips[0], weights, features)[0]
    kd = hand.kd_logits(Objective(0.2, 3.0, clips[1].zeta), weights, features)
    rows = {"blend": by_hand.mix(ce, kd, 0.3, 0.7), "ce": by_hand.softmax(ce), "kd": by_hand.softmax(kd)}
    for head, row in rows.items():
        assert report["accuracy"]["test"][head] == pytest.approx(by_hand.percent_right(row, labels))
        assert report["ece"]["test"][head] == pytest.approx(by_hand.calibration_error(row, labels), abs=1e-3)
    for alpha, beta in ((0.7, 0.7), (0.5, 0.7), (0.3, 1.0)):
        other = by_hand.calibration_error(by_hand.mix(ce, kd, alpha, beta), labels)
        assert abs(other - report["ece"]["test"]["blend"]) > 0.01


class Twice(EngineStep):
    """Shows its tower the batch and its mirror image in one call."""

    def parse_batch_train(self, batch):
        images, labels = super().parse_batch_train(batch)
        return torch.cat([images, images.flip(3)]), labels.repeat(2)


def test_a_tower_that_sees_other_images_than_the_batch_is_refused(trainer_of):
    TRAINERS[Twice] = with_dho(Twice)
    trainer = trainer_of(Twice, {})
    (batch,) = first_batches(trainer, 1)
    with pytest.raises(ValueError, match="first called with 8 images in a step on 4 labelled ones"):
        take_step(trainer, batch, 0, 9)


def test_the_loss_scale_goes_on_where_it_was(trainer_of):
    trainer = trainer_of(ScaledStep, {}, **{"OPTIM.MAX_EPOCH": 1})
    start = trainer.scaler.get_scale()
    trainer.train()
    again = trainer_of(ScaledStep, {}, **{"OPTIM.MAX_EPOCH": 1})
    again.before_train()
    assert again.scaler.get_scale() == trainer.scaler.get_scale() < start
