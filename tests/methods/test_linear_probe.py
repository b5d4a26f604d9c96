"""Linear probing and zero-shot CLIP against plain restatements, and as runs."""

import json

import pytest
import torch

from dho_prompt import train
from dho_prompt.clip.loading import load_clip
from dho_prompt.engine import load_checkpoint
from dho_prompt.heads import student_head
from dho_prompt.methods.linear_probe import LinearProbeMethod
from dho_prompt.methods.zeroshot import ZeroShotMethod
from dho_prompt.students.clip import CLIPStudent

NAMES = ["tench", "goldfish", "great_white_shark"]
TEMPLATES = ["a photo of a {}.", "art of the {}."]


def text_features(clip, unit=True):
    """Template ensemble in float64: normalise, average, normalise; or the plain average."""
    columns = []
    for name in NAMES:
        features = clip.model.encode_text(
            clip.tokenizer([t.format(name.replace("_", " ")) for t in TEMPLATES])
        ).double()
        columns.append((features / features.norm(dim=1, keepdim=True) if unit else features).mean(0))
    return torch.stack([column / column.norm() if unit else column for column in columns])


@pytest.mark.parametrize("kind, start", [("linear", "language"), ("linear", "language_unit"), ("cosine", "language")])
def test_logits_loss_and_gradient_are_the_formulas(student_clip, kind, start):
    clip = load_clip(student_clip)
    torch.manual_seed(0)
    method = LinearProbeMethod(CLIPStudent(clip), student_head(CLIPStudent(clip), NAMES, TEMPLATES, kind, start))
    images, labels = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2, 2, 1, 0])
    z = clip.model.encode_image(images).double()
    weight = text_features(clip, (kind, start) != ("linear", "language")).requires_grad_()
    if kind == "linear":
        wanted = z @ weight.t()
    else:
        rows = weight / weight.norm(dim=1, keepdim=True)
        wanted = clip.logit_scale * (z / z.norm(dim=1, keepdim=True)) @ rows.t()
    output = method(images)
    torch.testing.assert_close(output.logits.double(), wanted.detach(), rtol=1e-5, atol=1e-5)
    assert output.extra == {} and not output.features.requires_grad
    torch.nn.functional.cross_entropy(output.logits, labels).backward()
    log_p = wanted - wanted.logsumexp(1, keepdim=True)
    (-log_p[torch.arange(6), labels]).mean().backward()
    torch.testing.assert_close(method.head.weight.grad.double(), weight.grad, rtol=1e-4, atol=1e-6)


def test_a_cosine_head_starts_as_the_zero_shot_classifier(student_clip):
    clip = load_clip(student_clip)
    probe = LinearProbeMethod(CLIPStudent(clip), student_head(CLIPStudent(clip), NAMES, TEMPLATES, "cosine"))
    images = torch.randn(4, 3, 32, 32)
    zero_shot = ZeroShotMethod(CLIPStudent(clip), NAMES, TEMPLATES)
    torch.testing.assert_close(probe(images).logits, zero_shot(images).logits, rtol=1e-5, atol=1e-5)
    assert zero_shot.trainable() == {}


def test_low_precision_autocast_leaves_the_logits_in_float32(student_clip):
    clip = load_clip(student_clip)
    probe = LinearProbeMethod(CLIPStudent(clip), student_head(CLIPStudent(clip), NAMES, TEMPLATES, "linear"))
    with torch.autocast("cpu", torch.bfloat16):
        assert probe(torch.randn(2, 3, 32, 32)).logits.dtype == torch.float32


def test_switched_off_it_is_plain_linear_probing(train_args, tmp_path):
    off = ("TRAINER.DHO.LAMBDA", "1", "TRAINER.DHO.ALPHA", "1", "TRAINER.LINEAR_PROBE.HEAD", "cosine")
    train.run(train_args("LinearProbe", *off, "TRAIN.COUNT_ITER", "train_x", output=tmp_path / "plain"))
    train.run(train_args("LinearProbeDHO", *off, "TRAIN.COUNT_ITER", "train_x", output=tmp_path / "dho"))
    folders = [tmp_path / run for run in ("plain", "dho")]
    runs = [load_checkpoint(str(folder / "ce_head" / "model.pth.tar-3")) for folder in folders]
    for first, second in zip(*(run["state_dict"].values() for run in runs)):
        assert torch.equal(first, second)
    accuracies = [
        json.loads((tmp_path / run / "results.json").read_text())["accuracy"]["test"] for run in ("plain", "dho")
    ]
    assert accuracies[0]["ce"] == accuracies[1]["ce"] == accuracies[1]["blend"]


def test_zero_shot_evaluates_without_training(train_args, tmp_path, capsys):
    train.run(train_args("ZeroshotCLIP", "TRAINER.ZEROSHOT.TEMPLATES", "('a photo of a {}.',)"))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["epochs"] == 0 and results["accuracy"]["test"]["images"] == 20
    assert "epoch [" not in capsys.readouterr().out


def test_schedule_by_iteration_changes_the_rate_within_an_epoch_and_is_saved(train_args, tmp_path, capsys):
    schedule = ("OPTIM.SCHEDULE_BY", "iteration", "OPTIM.WARMUP_STEPS", "2", "DATALOADER.TRAIN_X.BATCH_SIZE", "5")
    train.run(train_args("LinearProbeDHO", *schedule))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch [")]
    rates = [float(line.split(" lr ")[1].split()[0]) for line in lines]
    # the log gives the rate of the next iteration
    assert rates[:2] == [0.01, 0.01] and rates[2:] == sorted(rates[2:], reverse=True) and len(set(rates[2:])) > 3
    saved = load_checkpoint(str(tmp_path / "run" / "ce_head" / "model.pth.tar-3"))["scheduler"]
    assert saved["last_epoch"] == len(rates)
    with pytest.raises(ValueError, match=r"OPTIM.WARMUP_STEPS is 5000, but the run has \d+ iterations"):
        train.run(train_args("LinearProbe", *schedule[:2], "OPTIM.WARMUP_STEPS", "5000", output=tmp_path / "other"))
