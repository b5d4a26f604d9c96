"""A step of each trainer of ours against one written by hand."""

import math

import pytest
import torch

import by_hand
import methods_by_hand as hand
from methods_by_hand import VPT, CoOp, LinearProbe, Objective, PromptSRC
from steps import EPOCHS, HEAD_LR, LR, ROUNDING, SETTINGS, check_steps
from trainer_contract import build, first_batches, rates_during, state_of, take_step, weights_of

METHODS = {
    "CoOp": CoOp(),
    "CoOp-CSC": CoOp(class_specific=True, position="front"),
    "CoOp-middle": CoOp(position="middle"),
    "PromptSRC": PromptSRC(),
    "VPT-linear": VPT("linear"),
    "VPT-cosine": VPT("cosine", "kaiming"),
    "VPT-text": VPT("text"),
    "LinearProbe-linear": LinearProbe("linear", "kaiming"),
    "LinearProbe-cosine": LinearProbe("cosine"),
}
HEADS = {  # keys of TRAINER.DHO
    "cosine-language": {},
    "cosine-kaiming-zeta": {"HEAD_INIT": "kaiming", "ZETA": 0.02},
    "linear-language-unscaled": {"HEAD": "linear", "SCALE_BY_TEMPERATURE": False},
    "linear-kaiming-zeta": {"HEAD": "linear", "HEAD_INIT": "kaiming", "ZETA": 0.02},
}


@pytest.fixture
def trainer_of(train_args, clip_folders):
    """``trainer_of(method, dho)``: a trainer; ``dho`` holds keys of TRAINER.DHO, or is None for the method alone."""

    def make(method, dho, **more):
        options = {**SETTINGS, "MODEL.BACKBONE.NAME": clip_folders[0], "TRAINER.DHO.TEACHER.NAME": clip_folders[1]}
        options.update({f"TRAINER.{key}": value for key, value in method.options.items()})
        options.update({f"TRAINER.DHO.{key}": value for key, value in (dho or {}).items()}, **more)
        name = method.name if dho is None else f"{method.name}DHO"
        return build(train_args(name, *(word for pair in options.items() for word in pair)))

    return make


def objective_of(dho, teacher):
    return Objective(
        dho.get("LAMBDA", 0.2),
        3.0,
        dho.get("ZETA") or teacher.zeta,
        dho.get("SCALE_BY_TEMPERATURE", True),
        dho.get("HEAD", "cosine"),
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_step_without_dho(trainer_of, clips, name):
    method = METHODS[name]
    check_steps(trainer_of(method, None), lambda *step: hand.plain_terms(method, clips[0], *step))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", METHODS)
def test_a_step_with_dho(trainer_of, clips, name, head):
    method, objective = METHODS[name], objective_of(HEADS[head], clips[1])
    teach = lambda images: hand.zero_shot_logits(clips[1], images, objective.zeta)  # noqa: E731
    terms_of = lambda *step: hand.dho_terms(method, clips[0], *step, objective, teach)  # noqa: E731
    check_steps(trainer_of(method, HEADS[head]), terms_of, HEAD_LR)


@pytest.mark.parametrize("name", METHODS)
def test_lambda_1_is_the_method_alone(trainer_of, tmp_path, name):
    """Step by step and to the bit; the KD head stays as it is, and no teacher is loaded."""
    seen = []
    for dho in (None, {"LAMBDA": 1.0}):
        trainer = trainer_of(METHODS[name], dho, OUTPUT_DIR=tmp_path / str(len(seen)))
        batches = first_batches(trainer, 2)
        start = weights_of(trainer)
        logged = [take_step(trainer, batch, index, 2)[0] for index, batch in enumerate(batches)]
        after = weights_of(trainer)
        assert all(after[key].equal(start[key]) == key.startswith("kd_head/") for key in after)
        assert trainer.teacher is None and not any(key.startswith("img_") for key in batches[0])
        seen.append((logged, {key: value for key, value in after.items() if not key.startswith("kd_head/")}))
    assert seen[0][0] == seen[1][0] and seen[0][1].keys() == seen[1][1].keys()
    assert all(seen[0][1][key].equal(value) for key, value in seen[1][1].items())


@pytest.mark.parametrize("dho", [{"LAMBDA": 0.0}, {"UNLABELED": "none"}], ids=str)
@pytest.mark.parametrize("name", ["CoOp", "VPT-linear", "LinearProbe-cosine"])
def test_the_limits(trainer_of, clips, name, dho):
    """Lambda 0 leaves cross-entropy out; without a pool the labelled images alone are distilled."""
    method, objective = METHODS[name], objective_of(dho, clips[1])

    def terms_of(weights, batch):
        assert ("img_u" in batch) == (dho == {"LAMBDA": 0.0})
        teach = lambda images: hand.zero_shot_logits(clips[1], images, objective.zeta)  # noqa: E731
        return hand.dho_terms(method, clips[0], weights, batch, objective, teach)

    check_steps(trainer_of(method, dho), terms_of, HEAD_LR)


@pytest.mark.parametrize("zeta", [0.0, 0.02])
def test_a_teacher_with_trained_prompts(trainer_of, clips, tmp_path, zeta):
    context = torch.randn(2, 32, generator=torch.Generator().manual_seed(5))
    torch.save({"state_dict": {"ctx": context}, "epoch": 1}, tmp_path / "model.pth.tar-1")
    dho = {"TEACHER.CHECKPOINT": tmp_path / "model.pth.tar-1", "ZETA": zeta}
    method, objective = METHODS["CoOp"], objective_of(dho, clips[1])
    texts = by_hand.prompted_texts(clips[1], hand.NAMES, "X X", context.double())

    def teach(images):
        return by_hand.cosine(by_hand.image_features(clips[1], images), texts, objective.zeta)

    terms_of = lambda *step: hand.dho_terms(method, clips[0], *step, objective, teach)  # noqa: E731
    check_steps(trainer_of(method, dho), terms_of, HEAD_LR)


def test_rates_that_follow_the_iterations(trainer_of):
    """Two of linear warm-up, then half a cosine over the rest of all epochs (Table 11)."""
    iterations = {"OPTIM.SCHEDULE_BY": "iteration", "OPTIM.WARMUP_STEPS": 2, "OPTIM.LR_SCHEDULER": "cosine"}
    trainer = trainer_of(METHODS["LinearProbe-linear"], {}, **iterations)
    steps, rates = EPOCHS * len(trainer.train_loader_x), rates_during(trainer)
    trainer.train()
    shares = [0.5, 1.0, *((1 + math.cos(math.pi * step / (steps - 2))) / 2 for step in range(steps - 2))]
    assert steps == 18 and rates["ce_head"] == pytest.approx([LR * share for share in shares])
    assert rates["kd_head"] == pytest.approx([HEAD_LR * share for share in shares])


def test_no_setting_hides_another(trainer_of, clips):
    """What the steps above are computed with: whatever is taken wrongly changes the loss by far more than rounding."""
    method, right = METHODS["CoOp"], objective_of({}, clips[1])
    trainer = trainer_of(method, {})
    (batch,) = first_batches(trainer, 1)
    weights = weights_of(trainer)

    def loss(objective=right, clip=clips[0], **changed):
        teach = lambda images: hand.zero_shot_logits(clips[1], images, objective.zeta)  # noqa: E731
        return hand.dho_terms(method, clip, weights, {**batch, **changed}, objective, teach)["loss"].item()

    settings = [{"eta": 2.0}, {"lam": 0.5}, {"lam": 0.8}, {"zeta": clips[0].zeta}, {"squared": False}]
    wrong = [loss(right._replace(**change)) for change in settings]
    # rows in the places of others
    wrong += [loss(**{key: batch[key].roll(1, 0)}) for key in ("label", "img", "img_teacher", "img_u", "img_teacher_u")]
    assert all(abs(value - loss()) > 10 * ROUNDING * loss() for value in wrong)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", METHODS)
def test_heads_start_where_they_are_told(trainer_of, clips, name, head):
    """From the text features of the student, not the teacher, or from Kaiming's bounds; zeta is each head's own."""
    method, dho = METHODS[name], HEADS[head]
    trainer = trainer_of(method, dho)
    starts = {"kd_head": dho.get("HEAD_INIT", "language")}
    if "ce_head" in trainer.get_model_names():
        starts["ce_head"] = method.start
    for model, start in starts.items():
        weight, linear = state_of(trainer, model)["weight"].double(), "bias" in state_of(trainer, model)
        texts = by_hand.template_texts(clips[0], hand.NAMES, hand.TEMPLATES, as_given=linear)
        bound = texts.shape[1] ** -0.5
        if start == "language":
            assert (weight - texts).abs().max() < 3e-6 and not state_of(trainer, model).get("bias", texts * 0).any()
        else:
            assert weight.abs().max() <= bound and abs(weight.std() / bound - 3**-0.5) < 0.05

    cosine = "zeta" in state_of(trainer, "kd_head")
    if cosine:
        assert state_of(trainer, "kd_head")["zeta"] == pytest.approx(dho.get("ZETA") or clips[0].zeta)
    trainer.before_train()  # the teacher's own temperature is not known before
    if cosine:
        assert state_of(trainer, "kd_head")["zeta"] == pytest.approx(dho.get("ZETA") or clips[1].zeta)
    if "ce_head" in starts and "zeta" in state_of(trainer, "ce_head"):
        assert state_of(trainer, "ce_head")["zeta"] == pytest.approx(clips[0].zeta)
