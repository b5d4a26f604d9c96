"""Tip-Adapter against its formula in float64, its file, and what teaches: caches, trained runs, averages."""

import json

import pytest
import torch

import by_hand
from dho_prompt.clip.loading import load_clip
from dho_prompt.engine import load_checkpoint
from dho_prompt.methods.tip_adapter import STARTS, Cache, as_published, starts
from dho_prompt.teachers.average import AverageTeacher
from dho_prompt.teachers.tip_adapter import TipAdapterTeacher, is_tip_adapter, read_tip_adapter
from dho_prompt.training.trained_teacher import is_own_run, load_run
from trainer_contract import build, first_batches

LABELS = torch.tensor([0, 2, 1, 2, 0])
UNIT = torch.nn.functional.normalize


def noise(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def cache():
    found = Cache(UNIT(noise(3, 6, seed=1), dim=1), LABELS, zeta=0.04, alpha=1.7, beta=2.3)
    found.fill(noise(5, 6, seed=2))
    return found


def formula(z, keys, text, alpha=1.7, beta=2.3, zeta=0.04):
    z = z / z.norm(dim=1, keepdim=True)
    hot = torch.zeros(5, 3, dtype=torch.float64)
    hot[torch.arange(5), LABELS] = 1
    return z @ text.T / zeta + alpha * torch.exp(-beta + beta * (z @ keys.T)) @ hot


def test_logits_and_gradient_of_the_keys(cache):
    z, keys = noise(4, 6, seed=3), cache.keys.detach().double().requires_grad_()
    assert cache.keys.norm(dim=1).tolist() == pytest.approx([1] * 5)
    wanted = formula(z.double(), keys, cache.text.double())
    torch.testing.assert_close(cache(z).double(), wanted, rtol=1e-5, atol=1e-5)
    weights = noise(4, 3, seed=4)
    (gradient,) = torch.autograd.grad((wanted * weights).sum(), keys)
    (cache(z) * weights).sum().backward()
    assert (cache.keys.grad - gradient).norm() <= 1e-5 * gradient.norm()


def test_the_search_takes_the_best_of_the_grid_and_leaves_a_tie_where_it_was(cache):
    z, labels = noise(60, 6, seed=5), torch.arange(60) % 3
    before = (cache(z).argmax(1) == labels).float().mean().item()
    found = cache.search(z, labels, 3.0, 7.0)
    assert found >= before and found == pytest.approx((cache(z).argmax(1) == labels).float().mean().item())
    every = [
        (formula(z.double(), cache.keys.detach().double(), cache.text.double(), a, b).argmax(1) == labels)
        .float()
        .mean()
        for a in torch.linspace(0.1, 2.855, 20)
        for b in torch.linspace(0.1, 6.9655, 200)
    ]
    assert found >= max(every) - 1e-6
    assert 0.1 <= cache.alpha <= 3 and 0.1 <= cache.beta <= 7
    start = cache.alpha.item(), cache.beta.item()
    zero_shot = cache.text[:1].repeat(4, 1)  # right whatever the mix
    cache.search(zero_shot, torch.zeros(4, dtype=torch.long), 3.0, 7.0)
    assert (cache.alpha.item(), cache.beta.item()) == pytest.approx(start)


def test_starts_are_the_published_ones():
    assert starts("ImageNet") == (1.17, 3.0, 7.0) and starts("OxfordFlowers")[0] == 10 and len(STARTS) == 11
    assert starts("Mine") == (1.17, 10.0, 12.0)


@pytest.mark.parametrize("turn", ["as_published", "turned"])
def test_the_file_teaches_what_the_cache_says(cache, clip_folders, turn):
    """In either orientation, and zeta rescales the zero-shot part alone."""
    clip = load_clip(clip_folders[1])
    cache = Cache(UNIT(noise(3, 48, seed=1), dim=1), LABELS, 1 / clip.logit_scale, alpha=1.7, beta=2.3)
    cache.fill(noise(5, 48, seed=2))
    content = as_published(cache, ["a", "b", "c"])
    assert content["adapter_weight"].shape == (5, 48) and content["cache_keys"].shape == (48, 5)
    assert content["cache_values"].shape == (5, 3) and content["clip_weights"].shape == (48, 3)
    if turn == "turned":
        content.update({key: content[key].t() for key in ("cache_values", "clip_weights")})
    images = noise(2, 3, 40, 40, seed=6)
    teacher = TipAdapterTeacher(clip, ["a", "b", "c"], content, "x")
    wanted = cache(clip.encode_image(images))
    torch.testing.assert_close(teacher.logits(images), wanted)
    scaled = TipAdapterTeacher(clip, ["a", "b", "c"], content, "x", zeta=0.02).logits(images)
    zero_shot = cache.parts(clip.encode_image(images))[0]
    torch.testing.assert_close(scaled - wanted, zero_shot * (cache.zeta.item() / 0.02 - 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapter_weight": torch.zeros(5, 47)}, "cache of 47 features .* gives 48: it is of another CLIP"),
        ({"clip": "ViT-B/16"}, "of ViT-B/16, .* it is of another CLIP"),
        ({"clip_weights": torch.zeros(48, 4)}, r"clip_weights is \(48, 4\), but this data set needs \(3, 48\)"),
        ({"cache_values": torch.zeros(6, 3)}, "cache_values is .*the cache is of other classes"),
        ({"classnames": ["a", "c", "b"]}, "made for other class names, or the same in another order"),
    ],
)
def test_other_caches_are_refused(clip_folders, change, message):
    cache = Cache(UNIT(noise(3, 48, seed=1), dim=1), LABELS, 0.05, 1.7, 2.3)
    content = {**as_published(cache, ["a", "b", "c"]), **change}
    with pytest.raises(ValueError, match=f"x.pt.*{message}"):
        TipAdapterTeacher(load_clip(clip_folders[1]), ["a", "b", "c"], content, "x.pt")


def test_files_of_another_form(cache, tmp_path):
    torch.save({"state_dict": {"ctx": torch.zeros(2, 3)}}, tmp_path / "coop.pth")
    assert not is_tip_adapter(str(tmp_path / "coop.pth")) and not is_tip_adapter(str(tmp_path / "none.pth"))
    with pytest.raises(ValueError, match="no few-shot teacher of Tip-Adapter: adapter_weight"):
        read_tip_adapter(str(tmp_path / "coop.pth"))
    content = {**as_published(cache, ["a", "b", "c"]), "best_alpha": torch.tensor(1.5)}
    del content["classnames"]
    torch.save(content, tmp_path / "theirs.pt")
    assert is_tip_adapter(str(tmp_path / "theirs.pt"))
    assert read_tip_adapter(str(tmp_path / "theirs.pt"))["best_alpha"] == 1.5


def options(**changed):
    found = {"OPTIM.NAME": "adamw", "OPTIM.MAX_EPOCH": 2, "OPTIM.WARMUP_EPOCH": -1, "TRAINER.TIP_ADAPTER.PASSES": 2}
    found.update({"TRAINER.TIP_ADAPTER.ALPHA": 1.3, "TRAINER.TIP_ADAPTER.BETA": 2.0}, **changed)
    return [word for pair in found.items() for word in pair]


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", ["TipAdapterF", "TipAdapter"])
def test_a_run_its_evaluation_and_its_teaching(train_args, tmp_path, teacher_clip, student_clip, name):
    trainer = build(train_args(name, *options()))
    trainer.train()
    result = read(tmp_path / "run" / "results.json")
    # ImageNet offers its test images for validation: nothing is searched
    assert result["cache"] == {"alpha": 1.3, "beta": 2.0, "chosen": "fixed"}
    assert result["epochs"] == (2 if name == "TipAdapterF" else 0)
    moved = trainer.model.cache.keys.detach() - UNIT(trainer.model.cache.keys.detach(), dim=1)
    assert (moved.abs().max() > 1e-3) == (name == "TipAdapterF")
    again = build(train_args(name, *options(), output=tmp_path / "again"))
    again.load_model(str(tmp_path / "run"), 2)
    again.test()
    assert read(tmp_path / "again" / "evaluation.json")["accuracy"]["test"] == result["accuracy"]["test"]

    key = "TRAINER.DHO.TEACHER."
    words = (f"{key}CHECKPOINT", tmp_path / "run", f"{key}NAME", student_clip)
    student = build(train_args("LinearProbeDHO", *words, output=tmp_path / "student"))
    (batch,) = first_batches(student, 1)
    teacher = student.teacher
    assert isinstance(teacher, TipAdapterTeacher)
    with torch.no_grad():
        wanted = trainer.model(batch["img"]).logits
    torch.testing.assert_close(teacher.logits(batch["img"]), wanted, rtol=1e-4, atol=1e-4)


def test_keys_are_means_over_augmented_passes(train_args, tmp_path):
    """With the whole of each image as its only crop, every pass is the same: the features themselves."""
    words = options(**{"INPUT.TRANSFORMS": "('normalize',)"})
    trainer = build(train_args("TipAdapterF", *words))
    trainer.before_train()
    images = torch.stack([trainer.crop(_open(item.impath))["img"] for item in trainer.dm.dataset.train_x])
    images = trainer.crop.finished(images, trainer.crop.views["img"])
    with torch.no_grad():
        features = UNIT(trainer.model.encode_image(images), dim=1)
    torch.testing.assert_close(trainer.model.cache.keys.detach(), features, rtol=1e-5, atol=1e-6)
    labels = [item.label for item in trainer.dm.dataset.train_x]
    assert trainer.model.cache.values.argmax(0).tolist() == labels


def _open(path):
    from dho_prompt.engine import read_image

    return read_image(path)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("LinearProbeDHO", ("TRAINER.DHO.ALPHA", 0.3, "TRAINER.DHO.BETA", 0.7)),
        ("VPT", ("TRAINER.VPT.PREC", "fp32")),
        ("FinetuneDHO", ("TRAINER.DHO.OBJECTIVE", "sskd")),
        ("FinetuneDHO", ("TRAINER.DHO.OBJECTIVE", "kd_feature")),
    ],
)
def test_a_trained_run_teaches_what_it_predicts(train_args, tmp_path, data_root, name, options):
    trainer = build(train_args(name, "OPTIM.MAX_EPOCH", 1, *options))
    trainer.train()
    assert is_own_run(str(tmp_path / "run"))
    teacher = load_run(str(tmp_path / "run"), trainer.classnames, torch.device("cpu"))
    images = noise(6, 3, 32, 32, seed=1)
    trainer.set_model_mode("eval")
    with torch.no_grad():
        prediction = trainer.objective.predict(trainer.predict(images))
    wanted = next(iter(prediction.probabilities.values()))
    torch.testing.assert_close(teacher.logits(images).softmax(1), wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="was trained on 5 classes|another order|not among"):
        load_run(str(tmp_path / "run"), trainer.classnames[::-1], torch.device("cpu"))
    words = ("TRAINER.DHO.TEACHER.CHECKPOINT", tmp_path / "run", "TRAINER.DHO.TEACHER.NAME", "ViT-B/16")
    student = build(train_args("LinearProbeDHO", *words, output=tmp_path / "student"))
    first_batches(student, 1)  # whose weights TEACHER.NAME names is not asked
    assert type(student.teacher).__name__ == "TrainedTeacher"


def test_each_seed_may_have_a_teacher_of_its_own(train_args, tmp_path):
    """``{seed}`` in the path; the configuration is that of all seeds."""
    for seed in (1, 2):
        build(train_args("TipAdapter", *options(), seed=seed, output=tmp_path / f"tip{seed}")).train()
    keys = []
    for seed in (1, 2):
        words = ("TRAINER.DHO.TEACHER.CHECKPOINT", tmp_path / "tip{seed}", "TRAINER.DHO.TEACHER.NAME")
        clip = json.loads((tmp_path / "tip1" / "config.json").read_text())["MODEL"]["BACKBONE"]["NAME"]
        student = build(train_args("LinearProbeDHO", *words, clip, seed=seed, output=tmp_path / f"student{seed}"))
        student.before_train()
        keys.append(student.teacher.keys)
        assert student.cfg.TRAINER.DHO.TEACHER.CHECKPOINT.endswith("tip{seed}")
    assert not keys[0].equal(keys[1])


class Says:
    """A teacher that says the same of every batch."""

    def __new__(cls, logits, view=1):
        from dho_prompt.teachers.base import Teacher

        teacher = Teacher()
        teacher.views, teacher.zeta = (view,), 0.1 * view
        teacher.forward = lambda batch: logits
        return teacher


def test_averages_by_hand():
    first, second = noise(4, 3, seed=1) * 3, noise(4, 3, seed=2) * 3
    teachers = [Says(first, 1), Says(second, 2)]
    mixed = AverageTeacher(teachers, (3.0, 1.0))(None)
    wanted = 0.75 * first.double().softmax(1) + 0.25 * second.double().softmax(1)
    torch.testing.assert_close(mixed.double().softmax(1), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(AverageTeacher(teachers, kind="logits")(None), (first + second) / 2)
    both = AverageTeacher(teachers)
    assert both.views == (1, 2) and both.zeta == pytest.approx(0.1)
    for shares, kind, message in (
        ((1.0,), "logits", "2 teachers"),
        ((1.0, 0.0), "logits", "positive"),
        ((), "x", "'x'"),
    ):
        with pytest.raises(ValueError, match=message):
            AverageTeacher(teachers, shares, kind)


def test_an_average_in_a_run(train_args, tmp_path, student_clip, teacher_clip, clips):
    key = "TRAINER.DHO.TEACHER."
    words = (f"{key}ALSO", f"('{student_clip}',)", f"{key}SHARES", "(1.0, 3.0)", f"{key}AVERAGE", "logits")
    trainer = build(train_args("CoOpDHO", *words))
    (batch,) = first_batches(trainer, 1)
    from dho_prompt.data.batches.batch import Batch

    logits = trainer.teacher(Batch(batch, trainer.crop, trainer.device))
    parts = []
    for folder, images in ((teacher_clip, "img_teacher"), (student_clip, "img")):
        clip = by_hand.read_clip(folder)
        texts = by_hand.template_texts(clip, trainer.classnames, ["a photo of a {}."])
        seen = torch.cat([batch[images], batch[f"{images}_u"]]).double()
        parts.append(by_hand.cosine(by_hand.image_features(clip, seen), texts, clip.zeta))
    wanted = 0.25 * parts[0] + 0.75 * parts[1]
    torch.testing.assert_close(logits.double(), wanted, rtol=1e-4, atol=1e-4)
    for wrong in ((f"{key}ALSO", "('ViT-B/17',)"), (f"{key}SHARES", "(1.0, 2.0)")):
        from dho_prompt.train import main

        with pytest.raises(SystemExit) as caught:
            main(train_args("CoOpDHO", *wrong, output=tmp_path / "x"))
        assert "ViT-B/17" in str(caught.value.code) or "SHARES has 2 numbers for 1 teachers" in str(caught.value.code)


def test_a_cache_is_resumed_as_it_was(train_args, tmp_path):
    whole = build(train_args("TipAdapterF", *options(), output=tmp_path / "whole"))
    whole.train()
    killed = build(train_args("TipAdapterF", *options(), output=tmp_path / "killed"))
    step = killed.forward_backward

    def stops(batch):
        if killed.epoch == 1:
            raise KeyboardInterrupt
        return step(batch)

    killed.forward_backward = stops
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    resumed = build(train_args("TipAdapterF", *options(), output=tmp_path / "killed"))
    resumed.train()
    states = [load_checkpoint(str(tmp_path / run / "tip_adapter.pt")) for run in ("whole", "killed")]
    assert all(states[0][key].equal(states[1][key]) for key in ("adapter_weight", "cache_values", "clip_weights"))
