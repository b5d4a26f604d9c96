"""VPT against a plain restatement, its checkpoints, and whole small runs with and without DHO."""

import json
import sys

import pytest
import torch

from dho_prompt.clip.loading import load_clip
from dho_prompt.heads import student_head
from dho_prompt.losses import DHOLoss
from dho_prompt.methods.vpt import VisualPrompts, VPTMethod
from dho_prompt.students.clip import CLIPStudent
from dho_prompt.train import main

NAMES = ["tench", "great_white_shark", "sunglasses"]
KEYS = ["image_encoder.VPT", "image_encoder.transformer.resblocks.1.VPT_shallow"]
SETTINGS = ("TRAINER.VPT.PREC", "fp32", "TRAINER.VPT.PROMPT_DEPTH_VISION", "2", "DATALOADER.TRAIN_X.BATCH_SIZE", "4")


@pytest.fixture
def clip(student_clip):
    return load_clip(student_clip)


@pytest.fixture(autouse=True)
def console():
    """The log file's stand-in for stdout ends with each test."""
    before = sys.stdout
    yield
    if sys.stdout is not before:
        sys.stdout.close()
    sys.stdout = before


def method_of(clip, kind="linear", depth=2):
    torch.manual_seed(3)
    return VPTMethod(
        CLIPStudent(clip), student_head(CLIPStudent(clip), NAMES, ["a photo of a {}."], kind), n_ctx=3, depth=depth
    )


def restated_features(clip, prompts, images):
    """The published order by the tower's own blocks in float64: patches, then prompts, replaced before a block."""
    tower = clip.model.visual.double()
    x = tower.conv1(images.double()).flatten(2).transpose(1, 2)
    first = tower.class_embedding.expand(len(x), 1, -1)
    x = torch.cat([first, x], dim=1) + tower.positional_embedding
    batch = lambda tokens: tokens.double().expand(len(x), -1, -1)  # noqa: E731
    x = tower.ln_pre(torch.cat([x, batch(prompts[0])], dim=1))
    for index, block in enumerate(tower.transformer.resblocks):
        if 0 < index < len(prompts):
            x = torch.cat([x[:, : -len(prompts[index])], batch(prompts[index])], dim=1)
        x = block(x)
    return tower.ln_post(x[:, 0]) @ tower.proj


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("depth", [1, 2])
def test_logits_loss_and_gradients_are_the_published_ones(student_clip, kind, depth):
    clip, plain_clip = load_clip(student_clip), load_clip(student_clip)
    method = method_of(clip, kind, depth)
    kd_head = student_head(CLIPStudent(clip), NAMES, ["art of the {}."])
    images, labels = torch.randn(5, 3, 32, 32), torch.tensor([0, 2, 1])
    teacher = torch.randn(5, 3)
    output = method(images, 3)
    assert output.features.shape == (5, 32) and output.logits.shape == (3, 3) and output.extra == {}
    kd = kd_head(output.features)
    loss = DHOLoss(lam=0.3, temperature=2.0)(output.logits, labels, kd[:3], teacher[:3], kd[3:], teacher[3:]).total
    actual = torch.autograd.grad(loss, list(method.prompt_learner.parameters()) + [method.head.weight])

    def head(layer, z):
        weight = layer.weight.double()
        if hasattr(layer, "bias"):
            return z @ weight.t() + layer.bias
        normed = weight / weight.norm(dim=1, keepdim=True)
        return clip.logit_scale * (z / z.norm(dim=1, keepdim=True)) @ normed.t()

    z = restated_features(plain_clip, list(method.prompt_learner.parameters()), images)
    ce_logits, kd_logits = head(method.head, z), head(kd_head, z)
    torch.testing.assert_close(output.logits.double(), ce_logits[:3], rtol=1e-5, atol=1e-5)
    log_student, log_teacher = torch.log_softmax(kd_logits / 2, 1), torch.log_softmax(teacher.double() / 2, 1)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(1) * 2**2
    ce = -torch.log_softmax(ce_logits[:3], 1)[range(3), labels].mean()
    expected = 0.3 * ce + 0.7 * (divergence[:3].mean() + divergence[3:].mean())
    assert abs(loss.item() - expected.item()) < 1e-5 * abs(expected.item())
    wanted = torch.autograd.grad(expected, list(method.prompt_learner.parameters()) + [method.head.weight])
    for ours, theirs in zip(actual, wanted):
        assert (ours - theirs).norm() < 1e-5 * theirs.norm() and theirs.norm() > 0


def test_what_is_trained_and_under_which_names(clip):
    method = method_of(clip)
    assert list(method.trainable()) == ["prompt_learner", "ce_head"]
    assert list(method.prompt_learner.state_dict()) == KEYS
    assert {tuple(prompts.shape) for prompts in method.prompt_learner()} == {(3, 32)}
    fixed = VPTMethod(CLIPStudent(clip), student_head(CLIPStudent(clip), NAMES, ["a {}."]).requires_grad_(False), 3)
    assert list(fixed.trainable()) == ["prompt_learner"]
    with pytest.raises(ValueError, match="number of visual prompt tokens is 0"):
        VPTMethod(CLIPStudent(clip), fixed.head, 0)


def test_prompts_start_from_noise_of_std_002():
    torch.manual_seed(0)
    first, second = VisualPrompts(40, 2, 500)()
    assert abs(first.std() - 0.02) < 5e-4 and abs(first.mean()) < 5e-4 and not torch.equal(first, second)


def test_a_whole_model_checkpoint_of_maple_gives_its_prompts(clip):
    target = VisualPrompts(3, 2, 32)
    prompts = {key: torch.randn(3, 32).half() for key in KEYS}
    frozen = {
        "image_encoder.class_embedding": torch.zeros(32),
        "image_encoder.transformer.resblocks.0.attn.in_proj_weight": torch.zeros(96, 32),
        "text_encoder.positional_embedding": torch.zeros(77, 32),
        "logit_scale": torch.zeros(()),
    }
    target.load_state_dict({**frozen, **prompts})
    assert all(torch.equal(ours, prompts[key].float()) for ours, key in zip(target(), KEYS))
    deeper = {"image_encoder.transformer.resblocks.2.VPT_shallow": torch.zeros(3, 32)}
    of_text = {"text_encoder.transformer.resblocks.1.VPT_shallow": torch.zeros(3, 32)}
    for other in (deeper, of_text, {"prompt_learner.ctx": torch.zeros(3, 32)}):
        with pytest.raises(RuntimeError, match="Unexpected key"):
            target.load_state_dict({**frozen, **prompts, **other})
    with pytest.raises(RuntimeError, match="Missing key"):
        target.load_state_dict(frozen)


def test_a_fixed_text_head_is_the_zero_shot_classifier(clip, train_args, tmp_path):
    """Its prompts fit other classes; those with a trained head do not."""
    main(train_args("VPT", *SETTINGS, "TRAINER.VPT.HEAD", "text", "DATASET.SUBSAMPLE_CLASSES", "base"))
    assert not (tmp_path / "run" / "ce_head").exists()
    evaluate = ["--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "3"]
    main(evaluate + train_args("VPT", *SETTINGS, "TRAINER.VPT.HEAD", "text", output=tmp_path / "all"))
    message = fails(evaluate + train_args("VPT", *SETTINGS, output=tmp_path / "other"))
    assert "prompt_learner" in message or "ce_head" in message


def fails(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, str)
    return caught.value.code


def states(folder, epoch=3, models=("prompt_learner", "ce_head")):
    for model in models:
        checkpoint = torch.load(folder / model / f"model.pth.tar-{epoch}", weights_only=True)
        yield from checkpoint["state_dict"].values()
        for slot in checkpoint["optimizer"]["state"].values():
            yield from (value for value in slot.values() if torch.is_tensor(value))


def same(first, second, **which):
    pairs = list(zip(states(first, **which), states(second, **which)))
    return len(pairs) >= 4 and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("count", ["train_x", "train_u"])
def test_with_lambda_one_and_alpha_one_dho_is_plain_vpt(train_args, tmp_path, count):
    """After every epoch, bit for bit, and with as many steps where unlabelled batches count (Sec. D.2)."""
    options = (*SETTINGS, "TRAIN.COUNT_ITER", count, "TRAIN.CHECKPOINT_FREQ", "1")
    off = ("TRAINER.DHO.LAMBDA", "1", "TRAINER.DHO.ALPHA", "1", "TRAINER.DHO.UNLABELED", "none")
    main(train_args("VPT", *options, output=tmp_path / "plain"))
    main(train_args("VPTDHO", *options, *off, output=tmp_path / "dho"))
    assert all(same(tmp_path / "plain", tmp_path / "dho", epoch=epoch) for epoch in (1, 2, 3))
    steps = {"train_x": 2, "train_u": 10}[count]  # 10 labelled images, 40 in all, 4 a batch
    for name in ("plain", "dho"):
        assert f"batch [{steps}/{steps}]" in (tmp_path / name / "log.txt").read_text()
    plain, dho = (json.loads((tmp_path / name / "results.json").read_text())["accuracy"] for name in ("plain", "dho"))
    assert plain["test"]["ce"] == dho["test"]["ce"] == dho["test"]["blend"]


def test_the_pool_changes_nothing_with_lambda_one_but_rounding(train_args, tmp_path):
    options = (*SETTINGS, "TRAIN.COUNT_ITER", "train_u")
    main(train_args("VPT", *options, output=tmp_path / "plain"))
    main(train_args("VPTDHO", *options, "TRAINER.DHO.LAMBDA", "1", output=tmp_path / "dho"))
    for plain, dho in zip(states(tmp_path / "plain"), states(tmp_path / "dho")):
        torch.testing.assert_close(plain, dho, rtol=1e-4, atol=1e-6)


def test_the_losses_fall_and_both_paths_reach_the_prompts(train_args, tmp_path):
    options = (*SETTINGS, "OPTIM.NAME", "adamw", "OPTIM.MAX_EPOCH", "6", "OPTIM.SCHEDULE_BY", "iteration")
    main(train_args("VPTDHO", *options, "TRAINER.VPT.HEAD", "cosine"))
    lines = [line for line in (tmp_path / "run" / "log.txt").read_text().splitlines() if line.startswith("epoch")]
    read = lambda line, name: float(line.split(f" {name} ")[1].split("(")[1].split(")")[0])  # noqa: E731
    last_of = lambda epoch: [line for line in lines if line.startswith(f"epoch [{epoch}/")][-1]  # noqa: E731
    for name in ("loss_ce", "loss_kd_x", "loss_kd_u"):
        assert read(last_of(6), name) < 0.9 * read(last_of(1), name)


def test_a_resumed_run_ends_with_the_same_bits(train_args, tmp_path):
    options = (*SETTINGS, "TRAIN.CHECKPOINT_FREQ", "1", "OPTIM.NAME", "adamw")
    main(train_args("VPTDHO", *options, output=tmp_path / "whole"))
    main(train_args("VPTDHO", *options, output=tmp_path / "torn"))
    (tmp_path / "torn" / "results.json").unlink()
    for model in ("prompt_learner", "ce_head", "kd_head"):
        for epoch in (2, 3):
            (tmp_path / "torn" / model / f"model.pth.tar-{epoch}").unlink()
    main(train_args("VPTDHO", *options, output=tmp_path / "torn"))
    assert "will resume training" in (tmp_path / "torn").joinpath("log.txt").read_text() or any(
        "will resume training" in path.read_text() for path in (tmp_path / "torn").glob("log.txt-*")
    )
    assert same(tmp_path / "whole", tmp_path / "torn", models=("prompt_learner", "ce_head", "kd_head"))


@pytest.mark.parametrize("precision", ["amp", "bf16"])
def test_lower_precisions_keep_prompts_and_head_in_float32(train_args, tmp_path, precision):
    options = ("OPTIM.MAX_EPOCH", "1", "OPTIM.WARMUP_EPOCH", "-1", "TRAINER.VPT.PREC", precision)
    main(train_args("VPTDHO", *SETTINGS[2:], *options))
    for value in states(tmp_path / "run", epoch=1):
        assert value.dtype == torch.float32 and torch.isfinite(value).all()


def test_wrong_input_gives_one_clear_message(train_args, tmp_path):
    for options, parts in (
        (("TRAINER.VPT.PROMPT_DEPTH_VISION", "9"), ["depth of the visual prompts is 9", "2 blocks"]),
        (("TRAINER.VPT.N_CTX_VISION", "0"), ["TRAINER.VPT.N_CTX_VISION is 0", "a whole number from 1"]),
        (("TRAINER.VPT.HEAD", "texts"), ["TRAINER.VPT.HEAD is 'texts'", "linear, cosine, text"]),
    ):
        message = fails(train_args("VPTDHO", *options, "TRAINER.VPT.PREC", "fp32"))
        assert all(part in message for part in parts)


def test_checkpoints_of_another_method_or_of_other_classes_are_refused(train_args, tmp_path):
    main(train_args("VPT", *SETTINGS, "DATASET.SUBSAMPLE_CLASSES", "base"))
    evaluate = ["--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "3"]
    assert "trained on 3 classes" in fails(evaluate + train_args("VPT", *SETTINGS, output=tmp_path / "all"))
    main(train_args("CoOp", output=tmp_path / "coop"))
    evaluate[2] = str(tmp_path / "coop")
    message = fails(evaluate + train_args("VPT", *SETTINGS, "TRAINER.VPT.HEAD", "text", output=tmp_path / "of_coop"))
    assert "image_encoder.VPT" in message and "another method" in message
