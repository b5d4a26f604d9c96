"""Small runs of PromptSRC with and without DHO through the command line."""

import json
import sys

import pytest
import torch

from dho_prompt.clip.loading import cpu_runs_float16, load_clip
from dho_prompt.engine import load_checkpoint
from dho_prompt.methods.averaging import gaussian_weights
from dho_prompt.train import main

FOLDER = "VLPromptLearner"
SMALL = (
    "TRAINER.PROMPTSRC.PREC", "fp32", "TRAINER.PROMPTSRC.N_CTX_VISION", "2", "TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION",
    "2", "TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", "2", "TRAINER.PROMPTSRC.GPA_MEAN", "2",
    "TRAINER.PROMPTSRC.TEMPLATES", "('a photo of a {}.', 'art of the {}.')",
)  # fmt: skip


@pytest.fixture
def arguments(train_args):
    return lambda trainer, *options, **more: train_args(trainer, *SMALL, *options, **more)


@pytest.fixture(autouse=True)
def console():
    """The log file's stand-in for stdout ends with each test."""
    before = sys.stdout
    yield
    if sys.stdout is not before:
        sys.stdout.close()
    sys.stdout = before


def fails(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, str)
    return caught.value.code


def prompts(folder, epoch=3):
    return load_checkpoint(str(folder / FOLDER / f"model.pth.tar-{epoch}"))["state_dict"]


def assert_equal(first, second):
    assert first.keys() == second.keys() and first
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


def test_a_run_leaves_the_prompts_and_logs_the_terms(arguments, tmp_path):
    main(arguments("PromptSRCDHO"))
    run = tmp_path / "run"
    assert set(prompts(run)) == {
        "prompt_learner.ctx", "text_encoder.transformer.resblocks.1.VPT_shallow", "image_encoder.VPT",
        "image_encoder.transformer.resblocks.1.VPT_shallow",
    }  # fmt: skip
    log = (run / "log.txt").read_text()
    for name in ("loss_ce", "loss_kd_u", "loss_scl_text", "loss_scl_image", "loss_scl_logits"):
        assert f" {name} " in log
    accuracy = json.loads((run / "results.json").read_text())["accuracy"]["test"]
    assert set(accuracy) == {"blend", "ce", "kd", "images"}
    flags = ["--eval-only", "--model-dir", str(run), "--load-epoch", "3"]
    main(flags + arguments("PromptSRCDHO", output=tmp_path / "evaluated"))
    assert f"* accuracy: {accuracy['blend']:.1f}%" in (tmp_path / "evaluated" / "log.txt").read_text()


def test_with_lambda_one_and_alpha_one_dho_is_plain_promptsrc_step_by_step(arguments, tmp_path):
    options = ("DATALOADER.TRAIN_X.BATCH_SIZE", "4", "TRAIN.COUNT_ITER", "train_x", "TRAIN.CHECKPOINT_FREQ", "1")
    main(arguments("PromptSRC", *options, output=tmp_path / "plain"))
    off = ("TRAINER.DHO.LAMBDA", "1", "TRAINER.DHO.ALPHA", "1", "TRAINER.DHO.UNLABELED", "none")
    main(arguments("PromptSRCDHO", *options, *off, output=tmp_path / "dho"))
    for epoch in (1, 2, 3):
        assert_equal(prompts(tmp_path / "plain", epoch), prompts(tmp_path / "dho", epoch))
    plain, dho = (
        json.loads((tmp_path / name / "results.json").read_text())["accuracy"]["test"] for name in ("plain", "dho")
    )
    assert plain["ce"] == dho["ce"] == dho["blend"]
    losses = []
    for name in ("plain", "dho"):
        lines = [line for line in (tmp_path / name / "log.txt").read_text().splitlines() if line.startswith("epoch")]
        losses.append([line.split(" loss ")[1].split(" (")[0] for line in lines])
    assert losses[0] == losses[1] and len(losses[0]) == 6


def test_the_last_epoch_saves_and_tests_the_average(arguments, tmp_path):
    """The last epoch weighs next to nothing here, so the average is known from the files of the others."""
    options = ("TRAINER.PROMPTSRC.GPA_MEAN", "1.2", "TRAINER.PROMPTSRC.GPA_STD", "0.3", "TRAIN.CHECKPOINT_FREQ", "1")
    main(arguments("PromptSRC", *options))
    weights = gaussian_weights(3, 1.2, 0.3).tolist()
    assert weights[1] > 0.01 and weights[2] < 1e-6
    saved = [prompts(tmp_path / "run", epoch) for epoch in (1, 2, 3)]
    for key, value in saved[2].items():
        torch.testing.assert_close(value, weights[0] * saved[0][key] + weights[1] * saved[1][key], rtol=0, atol=1e-6)
        assert not torch.equal(saved[0][key], saved[1][key])


@pytest.mark.parametrize("trainer", ["PromptSRC", "PromptSRCDHO"])
def test_stopped_after_each_epoch_it_ends_with_the_same_average(arguments, tmp_path, monkeypatch, trainer):
    from dho_prompt.trainers.promptsrc_dho import PromptSRC

    options = ("DATALOADER.TRAIN_X.BATCH_SIZE", "4")
    main(arguments(trainer, *options, output=tmp_path / "whole"))
    run_epoch = PromptSRC.run_epoch

    def stop(self):
        if self.epoch > self.start_epoch:
            raise OSError("stopped")
        run_epoch(self)

    with monkeypatch.context() as patch:
        patch.setattr(PromptSRC, "run_epoch", stop)
        for _ in range(2):
            assert "stopped" in fails(arguments(trainer, *options, output=tmp_path / "parts"))
    main(arguments(trainer, *options, output=tmp_path / "parts"))
    assert "Previous epoch: 2" in "".join(path.read_text() for path in (tmp_path / "parts").glob("log.txt*"))
    assert_equal(prompts(tmp_path / "whole"), prompts(tmp_path / "parts"))
    whole, parts = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "parts"))
    assert whole["accuracy"] == parts["accuracy"]


def test_going_on_without_the_average_or_with_another_is_refused(arguments, tmp_path):
    main(arguments("PromptSRC", output=tmp_path / "short", seed=2))
    more = ("OPTIM.MAX_EPOCH", "4")
    resume = ["--resume", str(tmp_path / "short")]
    assert "MAX_EPOCH 3, this run with MAX_EPOCH 4" in fails(resume + arguments("PromptSRC", *more))
    path = tmp_path / "short" / FOLDER / "model.pth.tar-3"
    checkpoint = load_checkpoint(str(path))
    del checkpoint["trainer"]  # as the published code writes it
    torch.save(checkpoint, path)
    message = fails(resume + arguments("PromptSRC", *more, output=tmp_path / "other"))
    assert "after 3 epochs does not hold the average" in message


def test_the_loss_falls(arguments, tmp_path):
    options = ("OPTIM.MAX_EPOCH", "20", "OPTIM.LR", "0.05", "TRAINER.PROMPTSRC.TEXT_LOSS_WEIGHT", "2.5")
    main(arguments("PromptSRCDHO", *options))
    lines = [line for line in (tmp_path / "run" / "log.txt").read_text().splitlines() if line.startswith("epoch")]
    read = lambda line, name: float(line.split(f" {name} ")[1].split()[0])  # noqa: E731
    assert read(lines[-1], "loss_ce") < 0.9 * read(lines[1], "loss_ce")
    assert read(lines[-1], "loss_kd_u") < 0.5 * read(lines[1], "loss_kd_u")


@pytest.mark.parametrize(
    "precision",
    [pytest.param("fp16", marks=pytest.mark.skipif(not cpu_runs_float16(), reason="torch too old")), "amp", "bf16"],
)
def test_precisions_run_and_keep_the_prompts_in_float32(arguments, tmp_path, precision):
    main(arguments("PromptSRCDHO", "TRAINER.PROMPTSRC.PREC", precision))
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in prompts(tmp_path / "run").values())


def test_a_published_checkpoint_is_evaluated(arguments, student_clip, tmp_path):
    main(arguments("PromptSRC"))
    printed = json.loads((tmp_path / "run" / "results.json").read_text())["accuracy"]["test"]["ce"]
    path = tmp_path / "published" / FOLDER / "model.pth.tar-3"
    path.parent.mkdir(parents=True)
    tower = load_clip(student_clip).model.visual.state_dict()
    whole = {f"image_encoder.{key}": value for key, value in tower.items()}
    whole.update(prompts(tmp_path / "run"), **{"prompt_learner.token_prefix": torch.zeros(7, 1, 32)})
    torch.save({"state_dict": whole, "epoch": 3}, path)
    flags = ["--eval-only", "--model-dir", str(tmp_path / "published"), "--load-epoch", "3"]
    main(flags + arguments("PromptSRC", output=tmp_path / "evaluated"))
    assert f"* accuracy: {printed:.1f}%" in (tmp_path / "evaluated" / "log.txt").read_text()


@pytest.mark.parametrize(
    "options, parts",
    [
        (("TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", "3"), ["text prompts is 3", "has 2 blocks"]),
        (("TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", "9"), ["visual prompts is 9", "has 2 blocks"]),
        (("TRAINER.PROMPTSRC.N_CTX_TEXT", "0"), ["N_CTX_TEXT is 0", "a whole number from 1"]),
        (("TRAINER.PROMPTSRC.GPA_STD", "0"), ["GPA_STD is 0", "at least 0.001"]),
        (("TRAINER.PROMPTSRC.PREC", "half"), ["TRAINER.PROMPTSRC.PREC", "fp32, fp16, amp, bf16"]),
        (("TRAINER.PROMPTSRC.TEMPLATES", "('no place',)"), ["no place", "{}"]),
        (("TRAINER.PROMPTSRC.N_CTX_TEXT", "2.5"), ["N_CTX_TEXT", "takes a int"]),
    ],
)
def test_wrong_input_gives_one_clear_message(arguments, options, parts):
    message = fails(arguments("PromptSRC", *options))
    for part in parts:
        assert part in message


def test_a_checkpoint_of_another_method_is_refused(arguments, train_args, tmp_path):
    main(train_args("CoOp", "OPTIM.MAX_EPOCH", "1"))
    path = tmp_path / "run" / "prompt_learner" / "model.pth.tar-1"
    message = fails(arguments("PromptSRC", "MODEL.INIT_WEIGHTS", path, output=tmp_path / "other"))
    assert str(path) in message and "another method" in message
    flags = ["--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "1"]
    message = fails(flags + arguments("PromptSRC", output=tmp_path / "evaluated"))
    assert "no folder of that model, only prompt_learner" in message or "prompt_learner" in message
