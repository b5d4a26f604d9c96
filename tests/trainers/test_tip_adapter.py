"""What Tip-Adapter's trainer does around its cache: a step, the search, classes, broken images, whom it teaches."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dho_prompt.clip.loading import load_clip
from dho_prompt.config import plain
from dho_prompt.data.batches.batch import Batch
from dho_prompt.data.datasets.coop import ImageNet
from dho_prompt.engine import DATASET_REGISTRY, load_checkpoint, register_if_absent
from dho_prompt.files import write_json
from dho_prompt.methods.tip_adapter import STARTS, starts
from dho_prompt.teachers.tip_adapter import TipAdapterTeacher
from dho_prompt.training.trained_teacher import load_run
from tests_support import write_imagenet
from trainer_contract import build, first_batches, take_step

FIXED = ("OPTIM.NAME", "adamw", "OPTIM.WARMUP_EPOCH", -1, "TRAINER.TIP_ADAPTER.PASSES", 2, "OPTIM.MAX_EPOCH", 2)
LATER = ("TRAINER.TIP_ADAPTER.ALPHA", 1.3, "TRAINER.TIP_ADAPTER.BETA", 2.0)


class HalfValidates(ImageNet):
    def __init__(self, cfg):
        super().__init__(cfg)
        self._val, self._test = self._test[::2], self._test[1::2]


class HalfValidatesLabelsTurned(HalfValidates):
    def __init__(self, cfg):
        super().__init__(cfg)
        for item in self._test:
            item.label = (item.label + 2) % 5


for _dataset in (HalfValidates, HalfValidatesLabelsTurned):
    register_if_absent(DATASET_REGISTRY, _dataset)


@pytest.mark.parametrize("eps", [1e-4, 1e-8])
def test_a_step_is_adamw_with_its_eps(train_args, eps):
    trainer = build(train_args("TipAdapterF", *FIXED, *LATER, "TRAINER.TIP_ADAPTER.EPS", eps))
    (batch,) = first_batches(trainer, 1)
    cache = trainer.model.cache
    start = cache.keys.detach().double().requires_grad_()
    with torch.no_grad():
        z = trainer.model.encode_image(batch["img"]).double()
    z, text, labels = z / z.norm(dim=1, keepdim=True), cache.text.double(), batch["label"]
    hot = torch.eye(5, dtype=torch.float64)[[item.label for item in trainer.dm.dataset.train_x]]
    logits = z @ text.T / trainer.model.student.zeta + 1.3 * torch.exp(-2 * (1 - z @ start.T)) @ hot
    loss = -(logits[range(len(labels)), labels] - logits.logsumexp(1)).mean()
    (gradient,) = torch.autograd.grad(loss, start)
    summary, gradients = take_step(trainer, batch, 0, 2)
    assert summary["loss"] == pytest.approx(loss.item(), rel=1e-4)
    (found,) = gradients.values()
    assert (found - gradient).norm() <= 1e-3 * gradient.norm()
    # the first step of AdamW: both moments, unbiased, are the gradient itself
    decay, rate = trainer.cfg.OPTIM.WEIGHT_DECAY, trainer.cfg.OPTIM.LR
    wanted = start.detach() * (1 - rate * decay) - rate * found / (found.abs() + eps)
    torch.testing.assert_close(cache.keys.detach().double(), wanted, rtol=1e-5, atol=1e-6)


def test_labels_of_test_images_change_no_alpha_and_no_beta(train_args, tmp_path):
    found = []
    for name in ("HalfValidates", "HalfValidatesLabelsTurned"):
        trainer = build(train_args("TipAdapterF", *FIXED, "DATASET.NAME", name, output=tmp_path / name))
        trainer.train()
        found.append(json.loads((tmp_path / name / "results.json").read_text()))
        content = load_checkpoint(str(tmp_path / name / "tip_adapter.pt"))
        chosen = {"alpha": content["best_alpha"], "beta": content["best_beta"]}
        assert "searched on 10 validation images" in found[-1]["cache"].pop("chosen") and found[-1]["cache"] == chosen
    assert found[0]["cache"] == found[1]["cache"] and found[0]["accuracy"]["test"] != found[1]["accuracy"]["test"]


def test_the_optimiser_of_a_resumed_run_holds_the_keys(train_args):
    build(train_args("TipAdapterF", *FIXED)).train()
    resumed = build(train_args("TipAdapterF", *FIXED))
    resumed.resume_model_if_exist(resumed.output_dir)
    (group,) = resumed._optims["adapter"].param_groups
    assert group["params"][0] is resumed.model.cache.keys and group["eps"] == 1e-4


@pytest.mark.parametrize("shots", [1, 2])
def test_some_of_the_classes_are_tested_with_all_keys(train_args, tmp_path, shots):
    """With one shot there are as many keys as classes, and still they are no rows of classes."""
    whole = build(train_args("TipAdapterF", *FIXED, *LATER, "DATASET.NUM_SHOTS", shots))
    whole.train()
    base = ("DATASET.NUM_SHOTS", shots, "DATASET.SUBSAMPLE_CLASSES", "base")
    part = build(train_args("TipAdapterF", *FIXED, *LATER, *base, output=tmp_path / "part"))
    part.load_model(str(tmp_path / "run"), 2)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(part.model(images).logits, whole.model(images).logits[:, :3])


def test_an_unreadable_image_has_no_key_of_another_class(train_args, tmp_path):
    root = write_imagenet(tmp_path / "data")
    arguments = train_args("TipAdapterF", *FIXED, "DATALOADER.MAX_UNREADABLE", 5)
    arguments[arguments.index("--root") + 1] = str(root)
    trainer = build(arguments)
    broken = Path(trainer.dm.dataset.train_x[1].impath)
    broken.write_bytes(b"no image")
    with pytest.raises(OSError, match=broken.name):
        trainer.before_train()


def test_an_average_of_weights_begins_with_the_filled_cache(train_args):
    trainer = build(train_args("TipAdapterF", *FIXED, "OPTIM.EMA", 0.9))
    trainer.before_train()
    assert trainer.average.average["adapter"]["keys"].norm(dim=1).tolist() == pytest.approx([1] * 10, abs=0.2)


def test_a_cache_among_several_teachers(train_args, tmp_path, student_clip):
    """On the CLIP of its own run, whatever TRAINER.DHO.TEACHER.NAME is."""
    cached = build(train_args("TipAdapterF", *FIXED, *LATER))
    cached.train()
    key = "TRAINER.DHO.TEACHER."
    words = (f"{key}ALSO", f"('{tmp_path / 'run'}',)", f"{key}SHARES", "(1.0, 3.0)", f"{key}AVERAGE", "logits")
    trainer = build(train_args("LinearProbeDHO", *words, output=tmp_path / "student"))
    (batch,) = first_batches(trainer, 1)
    batch = Batch(batch, trainer.crop, trainer.device)
    first, second = trainer.teacher.teachers
    with torch.no_grad():
        own = cached.model(batch.images()).logits
    torch.testing.assert_close(second(batch), own, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(trainer.teacher(batch), 0.25 * first(batch) + 0.75 * own, rtol=1e-4, atol=1e-4)


def test_a_run_that_kept_its_best_epoch_teaches_with_that(train_args, tmp_path):
    options = ("DATASET.NAME", "HalfValidates", "TEST.FINAL_MODEL", "best_val", "OPTIM.MAX_EPOCH", 1)
    trainer = build(train_args("LinearProbeDHO", *options))
    trainer.train()
    path = tmp_path / "run"
    for name in trainer.get_model_names():  # the last epoch's are others
        with torch.no_grad():
            for weight in trainer._models[name].parameters():
                weight.add_(1.0)
    best = load_run(str(path), trainer.classnames, torch.device("cpu"))
    trainer.save_model(0, str(path))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    again = load_run(str(path), trainer.classnames, torch.device("cpu"))
    assert again.logits(images).equal(best.logits(images))
    config = plain(trainer.cfg)
    config["TEST"]["FINAL_MODEL"] = "last_step"
    (path / "config.json").unlink()
    write_json(path / "config.json", config)
    last = load_run(str(path), trainer.classnames, torch.device("cpu"))
    assert not last.logits(images).equal(best.logits(images))


def test_a_trained_run_sees_images_as_in_its_training(train_args, tmp_path, capsys):
    """Its INPUT node, also where the network itself would want another normalisation."""
    mean, std = (0.3, 0.4, 0.5), (0.2, 0.3, 0.25)
    options = ("INPUT.PIXEL_MEAN", mean, "INPUT.PIXEL_STD", std, "OPTIM.MAX_EPOCH", 1)
    trainer = build(train_args("LinearProbeDHO", *options))
    trainer.train()
    teacher = load_run(str(tmp_path / "run"), trainer.classnames, torch.device("cpu"))
    assert [(view.size, view.mean, view.std) for view in teacher.views] == [(32, mean, std)]
    assert "is not finished" not in capsys.readouterr().out
    (tmp_path / "run" / "results.json").unlink()
    load_run(str(tmp_path / "run"), trainer.classnames, torch.device("cpu"))
    assert "is not finished" in capsys.readouterr().out


def test_runs_without_a_test_or_without_the_file(train_args, tmp_path):
    """The cache is searched and written down all the same; an evaluation without the file has the starts."""
    options = (*FIXED, "DATASET.NAME", "HalfValidates", "TEST.NO_TEST", True)
    build(train_args("TipAdapterF", *options)).train()
    result = json.loads((tmp_path / "run" / "results.json").read_text())
    content = load_checkpoint(str(tmp_path / "run" / "tip_adapter.pt"))
    assert "searched on 10 validation images" in result["cache"]["chosen"]
    assert (result["cache"]["alpha"], result["cache"]["beta"]) == (content["best_alpha"], content["best_beta"])
    (tmp_path / "run" / "tip_adapter.pt").unlink()
    again = build(train_args("TipAdapterF", *FIXED, "DATASET.NAME", "HalfValidates", output=tmp_path / "again"))
    again.load_model(str(tmp_path / "run"), 2)
    again.test()
    result = json.loads((tmp_path / "again" / "evaluation.json").read_text())
    assert (result["cache"]["alpha"], result["cache"]["beta"]) == (1.17, 1.0)


@pytest.mark.parametrize(
    ("saved", "given", "same"),
    [
        ("RN50", "open_clip:RN50-quickgelu:openai", True),
        ("/there/models/clip", "here/clip/", True),
        ("RN50", "open_clip:RN50:yfcc15m", False),
        ("/there/models/clip", "/there/models/other", False),
    ],
)
def test_one_clip_has_several_names(clip_folders, saved, given, same):
    clip = replace(load_clip(clip_folders[1]), name=given)
    content = {"adapter_weight": torch.eye(48)[:5], "cache_values": torch.eye(5)[:, :3], "best_alpha": 1.0}
    content.update(clip_weights=torch.ones(48, 3), best_beta=1.0, clip=saved)
    if same:
        TipAdapterTeacher(clip, ["a", "b", "c"], content, "x.pt")
    else:
        with pytest.raises(ValueError, match="another CLIP"):
            TipAdapterTeacher(clip, ["a", "b", "c"], content, "x.pt")


@pytest.mark.parametrize(("name", "trained"), [("TipAdapterF", True), ("TipAdapter", False)])
def test_keys_have_a_gradient_only_where_they_are_trained(train_args, name, trained):
    assert build(train_args(name, *FIXED)).model.cache.keys.requires_grad is trained


def test_published_starts_and_scales_of_every_data_set():
    """By the order of Tip-Adapter's configurations: alpha, then the scales of beta and of alpha."""
    published = {
        "ImageNet": (1.17, 7, 3),
        "OxfordPets": (1.17, 7, 3),
        "Food101": (1.17, 10, 10),
        "SUN397": (1.17, 12, 10),
        "Caltech101": (3, 12, 5),
        "UCF101": (3, 7, 3),
        "StanfordCars": (3, 20, 10),
        "DescribableTextures": (2, 13, 13),
        "EuroSAT": (2, 12, 10),
        "FGVCAircraft": (5, 30, 30),
        "OxfordFlowers": (10, 50, 50),
    }
    assert {name: starts(name) for name in STARTS} == {name: (a, c, b) for name, (a, b, c) in published.items()}
    assert set(STARTS) <= {name for name in DATASET_REGISTRY.registered_names()}


def test_a_trained_run_teaches_with_the_mix_that_it_chose(train_args, tmp_path):
    trainer = build(train_args("LinearProbeDHO", "OPTIM.MAX_EPOCH", 1))
    trainer.train()
    (tmp_path / "run" / "mix.json").unlink()
    write_json(tmp_path / "run" / "mix.json", {"alpha": 0.2, "beta": 0.6, "chosen": "by hand"})
    teacher = load_run(str(tmp_path / "run"), trainer.classnames, torch.device("cpu"))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        heads = {head: logits.double() for head, logits in trainer.predict(images).items()}
    wanted = 0.2 * heads["ce"].softmax(1) + 0.8 * (heads["kd"] / 0.6).softmax(1)
    torch.testing.assert_close(teacher.logits(images).double().softmax(1), wanted, rtol=1e-5, atol=1e-6)
