"""Whole small runs through the command line: what they write, what they refuse, and that DHO can be switched off."""

import json
import sys

import pytest
import torch
from PIL import Image

from dho_prompt.clip.loading import cpu_runs_float16
from dho_prompt.data.datasets import ImageNet
from dho_prompt.engine import DATASET_REGISTRY, register_if_absent
from dho_prompt.files import read_json
from dho_prompt.inference import ALPHAS, BETAS
from dho_prompt.train import main


class WithValidation(ImageNet):
    def __init__(self, cfg):
        super().__init__(cfg)
        self._val, self._test = self._test[::2], self._test[1::2]


class WithoutValidation(ImageNet):
    def __init__(self, cfg):
        super().__init__(cfg)
        self._val = None


for _dataset in (WithValidation, WithoutValidation):
    register_if_absent(DATASET_REGISTRY, _dataset)


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
    assert isinstance(caught.value.code, str)  # a message: the exit status is 1
    return caught.value.code


def weights(folder, model="prompt_learner", epoch=3):
    return torch.load(folder / model / f"model.pth.tar-{epoch}", weights_only=True)["state_dict"]


def test_a_run_leaves_what_dassl_leaves_and_a_result_file(train_args, tmp_path, capsys):
    main(train_args("CoOpDHO"))
    run = tmp_path / "run"
    log = (run / "log.txt").read_text()
    assert {path.name for path in run.iterdir()} == {
        "log.txt", "tensorboard", "prompt_learner", "kd_head", "config.json", "split.json", "mix.json", "results.json",
    }  # fmt: skip
    for model in ("prompt_learner", "kd_head"):
        assert {path.name for path in (run / model).iterdir()} == {"model.pth.tar-3", "checkpoint"}
    assert {"ctx", "token_prefix", "token_suffix"} == set(weights(run))
    result = json.loads((run / "results.json").read_text())
    heads = result["accuracy"]["test"]
    assert set(heads) == {"blend", "ce", "kd", "images"} and heads["images"] == 20
    printed = log.split("* accuracy: ")[1].split("%")[0]
    assert printed == f"{heads['blend']:.1f}" and log.index("Finish training") < log.index("=> result")
    assert result["split"]["labelled"] == 10 and result["split"]["unlabelled"] == 40
    reason = "fixed: the validation set is the test set, so nothing is searched on it"
    assert result["mix"] == {"alpha": 0.5, "beta": 1.0, "chosen": reason}
    assert result["seed"] == 1 and result["versions"]["torch"] and result["engine"].startswith(("embedded", "dassl"))
    assert "epoch [3/3] batch [1/1]" in log and " lr " in log and " eta " in log
    assert abs(result["teacher"]["zeta"] - 0.07) < 1e-6  # open_clip's initial logit scale
    assert torch.load(run / "kd_head" / "model.pth.tar-3", weights_only=True)["state_dict"]["zeta"] == pytest.approx(
        0.07
    )


def test_a_finished_run_is_not_repeated_and_another_configuration_is_refused(train_args, tmp_path, capsys):
    main(train_args("CoOp"))
    before = (tmp_path / "run" / "results.json").read_bytes()
    main(train_args("CoOp"))
    assert "finished" in capsys.readouterr().out
    message = fails(train_args("CoOp", "OPTIM.LR", "0.5"))
    assert "run of another configuration" in message and "OPTIM.LR: 0.01 -> 0.5" in message
    assert (tmp_path / "run" / "results.json").read_bytes() == before
    assert "BACKBONE.WEIGHTS" in fails(train_args("CoOp", "MODEL.BACKBONE.WEIGHTS", "other.pt"))
    main(train_args("CoOp", "TRAIN.PRINT_FREQ", "7"))  # not part of what a run computes


def test_results_of_another_form_are_made_anew_by_the_same_command(train_args, tmp_path, capsys):
    main(train_args("CoOpDHO", "TRAINER.DHO.SEARCH", "True"))
    path = tmp_path / "run" / "results.json"
    wanted = read_json(path)
    for damaged in ("{}", "[1]", path.read_text().replace('"seed": 1', '"seed": 3')):
        path.write_text(damaged)
        capsys.readouterr()
        main(train_args("CoOpDHO", "TRAINER.DHO.SEARCH", "True"))
        said = capsys.readouterr().out
        assert "results.json" in said and "counts as interrupted" in said and "epoch [" not in said
        found = read_json(path)
        assert {**found, "seconds": 0} == {**wanted, "seconds": 0}
    (tmp_path / "run" / "mix.json").write_text("[0.5]")
    flags = ["--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "3"]
    message = fails(flags + train_args("CoOpDHO", "TRAINER.DHO.SEARCH", "True", output=tmp_path / "evaluated"))
    assert "mix.json is not of the form" in message and "run the training command again" in message


def test_a_damaged_checkpoint_is_passed_over_and_named(train_args, tmp_path, capsys):
    main(train_args("CoOp", "TRAIN.CHECKPOINT_FREQ", "1"))
    whole = weights(tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    path = tmp_path / "run" / "prompt_learner" / "model.pth.tar-3"
    content = bytearray(path.read_bytes())
    content[content.index(whole["ctx"].numpy().tobytes()) + 1] ^= 4  # one bit of one weight
    path.write_bytes(content)
    flags = ["--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "3"]
    message = fails(flags + train_args("CoOp", output=tmp_path / "evaluated"))
    assert "model.pth.tar-3 is damaged" in message and "use another epoch's" in message
    capsys.readouterr()
    main(train_args("CoOp", "TRAIN.CHECKPOINT_FREQ", "1"))
    assert "Passing over model.pth.tar-3" in capsys.readouterr().out
    assert torch.equal(weights(tmp_path / "run")["ctx"], whole["ctx"])


def test_configurations_are_read_and_not_run(train_args, tmp_path):
    marker, config = tmp_path / "marker", tmp_path / "config.py"
    config.write_text(f"open({str(marker)!r}, 'w').close()\ncfg = {{'SEED': 1}}\n")
    for flag in ("--config-file", "--dataset-config-file"):
        message = fails([flag, str(config), *train_args("CoOp")])
        assert "config.py has another ending than .yaml or .yml" in message and not marker.exists()
    config = config.with_suffix(".yaml")
    config.write_text("SEED: 1\nSEED: 2\n")
    assert "line 2: SEED is set twice" in fails(["--config-file", str(config), *train_args("CoOp")])
    assert "OPTIM.LR in the command line is inf" in fails(train_args("CoOp", "OPTIM.LR", "1e999"))
    assert not (tmp_path / "run").exists()


def test_evaluation_only_gives_the_same_accuracy_without_the_teacher(train_args, tmp_path, capsys):
    main(train_args("CoOpDHO"))
    accuracy = json.loads((tmp_path / "run" / "results.json").read_text())["accuracy"]["test"]["blend"]
    capsys.readouterr()
    flags = ["--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "3"]
    main(flags + train_args("CoOpDHO", "TRAINER.DHO.TEACHER.NAME", "/absent", output=tmp_path / "evaluated"))
    assert f"* accuracy: {accuracy:.1f}%" in capsys.readouterr().out
    flags[-1] = "2"
    assert "model.pth.tar-3" in fails(flags + train_args("CoOpDHO", output=tmp_path / "other"))


def test_weights_of_other_classes_or_settings_are_refused(train_args, tmp_path):
    half = ("DATASET.SUBSAMPLE_CLASSES", "base")
    main(train_args("CoOpDHO", *half))
    flags = ["--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "3"]
    message = fails(flags + train_args("CoOpDHO", output=tmp_path / "all"))
    assert "trained on 3 classes (n01440764 (tench)" in message and "2 of the 5 classes" in message
    message = fails(flags + train_args("CoOpDHO", *half, "TRAINER.COOP.N_CTX", "3", output=tmp_path / "longer"))
    assert "size mismatch" in message and "N_CTX" in message
    # a generic context means the same for every class list
    main(flags + train_args("CoOp", output=tmp_path / "host"))
    message = fails(flags + train_args("CoOp", "TRAINER.COOP.CSC", "True", output=tmp_path / "csc"))
    assert "trained on 3 classes" in message


def test_a_coop_checkpoint_starts_the_context(train_args, tmp_path):
    main(train_args("CoOp", "OPTIM.MAX_EPOCH", "1"))
    path = tmp_path / "run" / "prompt_learner" / "model.pth.tar-1"
    options = ("MODEL.INIT_WEIGHTS", path, "OPTIM.LR", "1e-30", "OPTIM.WARMUP_CONS_LR", "1e-30")
    main(train_args("CoOpDHO", *options, output=tmp_path / "next"))
    assert torch.equal(weights(tmp_path / "next")["ctx"], weights(tmp_path / "run", epoch=1)["ctx"])
    message = fails(train_args("CoOp", *options[:2], "TRAINER.COOP.N_CTX", "5", output=tmp_path / "other"))
    assert str(path) in message and "does not fit" in message
    path.write_bytes(path.read_bytes()[:100])
    assert "damaged" in fails(train_args("CoOp", *options[:2], output=tmp_path / "damaged"))


def test_seed_zero_counts_and_seeds_differ(train_args, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        main(train_args("CoOp", output=tmp_path / name, seed=seed))
    a, b, c = (weights(tmp_path / name)["ctx"] for name in "abc")
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert json.loads((tmp_path / "a" / "results.json").read_text())["seed"] == 0


def test_with_lambda_one_and_alpha_one_dho_is_plain_coop(train_args, tmp_path):
    """The same images in the same order and crops; no gradient of the KD side reaches the context."""
    options = ("DATALOADER.TRAIN_X.BATCH_SIZE", "4", "TRAIN.COUNT_ITER", "train_x")
    main(train_args("CoOp", *options, output=tmp_path / "plain"))
    main(train_args("CoOpDHO", *options, "TRAINER.DHO.LAMBDA", "1", "TRAINER.DHO.ALPHA", "1", output=tmp_path / "dho"))
    assert torch.equal(weights(tmp_path / "plain")["ctx"], weights(tmp_path / "dho")["ctx"])
    plain, dho = (
        json.loads((tmp_path / name / "results.json").read_text())["accuracy"]["test"] for name in ("plain", "dho")
    )
    assert plain["ce"] == dho["ce"] == dho["blend"]


def test_the_kd_head_learns_from_unlabelled_images(train_args, tmp_path):
    for which in ("all", "exclude_labeled", "none"):
        main(train_args("CoOpDHO", "TRAINER.DHO.UNLABELED", which, output=tmp_path / which))
    used = {which: json.loads((tmp_path / which / "results.json").read_text())["split"]["unlabelled"] for which in
            ("all", "exclude_labeled", "none")}  # fmt: skip
    assert used == {"all": 40, "exclude_labeled": 30, "none": 0}
    heads = [weights(tmp_path / which, "kd_head")["weight"] for which in used]
    assert not torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_the_loss_falls_and_the_kd_head_approaches_the_teacher(train_args, tmp_path):
    main(train_args("CoOpDHO", "OPTIM.MAX_EPOCH", "25", "OPTIM.LR", "0.05"))
    lines = [line for line in (tmp_path / "run" / "log.txt").read_text().splitlines() if line.startswith("epoch")]
    read = lambda line, name: float(line.split(f" {name} ")[1].split()[0])  # noqa: E731
    assert read(lines[-1], "loss_ce") < 0.9 * read(lines[1], "loss_ce")
    assert read(lines[-1], "loss_kd_u") < 0.5 * read(lines[1], "loss_kd_u")


@pytest.mark.parametrize(
    "precision",
    [pytest.param("fp16", marks=pytest.mark.skipif(not cpu_runs_float16(), reason="torch too old")), "amp", "bf16"],
)
def test_precisions_run_and_keep_the_context_in_float32(train_args, tmp_path, precision):
    main(train_args("CoOpDHO", "TRAINER.COOP.PREC", precision))
    assert weights(tmp_path / "run")["ctx"].dtype == torch.float32
    assert torch.isfinite(weights(tmp_path / "run", "kd_head")["weight"]).all()


def test_a_precision_that_this_torch_cannot_run_is_refused(train_args, monkeypatch):
    monkeypatch.setattr("dho_prompt.clip.loading.cpu_runs_float16", lambda: False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "fp16 does not run on the CPU" in fails(train_args("CoOp", "TRAINER.COOP.PREC", "fp16"))


@pytest.mark.parametrize(
    "options",
    [
        ("TRAINER.COOP.CSC", "True"),
        ("TRAINER.COOP.CLASS_TOKEN_POSITION", "middle"),
        ("TRAINER.COOP.CLASS_TOKEN_POSITION", "front"),
        ("TRAINER.COOP.CTX_INIT", "a photo of a"),
        ("TRAINER.DHO.HEAD", "linear", "TRAINER.DHO.HEAD_INIT", "kaiming"),
        ("DATASET.SUBSAMPLE_CLASSES", "base"),
    ],
)
def test_options_of_coop_and_of_the_head(train_args, tmp_path, options):
    main(train_args("CoOpDHO", "OPTIM.MAX_EPOCH", "1", *options))
    shape = tuple(weights(tmp_path / "run", epoch=1)["ctx"].shape)
    expected = {"TRAINER.COOP.CSC": (5, 2, 32), "TRAINER.COOP.CTX_INIT": (4, 32)}.get(options[0], (2, 32))
    assert shape == expected
    assert weights(tmp_path / "run", "kd_head", 1)["weight"].shape[0] == (3 if options[-1] == "base" else 5)


# What is refused


def test_search_and_best_val_never_see_the_test_set(train_args, tmp_path, capsys):
    main(train_args("CoOpDHO", "TRAINER.DHO.SEARCH", "True"))  # ImageNet offers its test images as validation set
    mix = json.loads((tmp_path / "run" / "mix.json").read_text())
    assert (mix["alpha"], mix["beta"]) == (0.5, 1.0) and "validation set is the test set" in mix["chosen"]
    message = fails(train_args("CoOp", "TEST.FINAL_MODEL", "best_val", output=tmp_path / "other"))
    assert "chosen on the test set" in message and "last_step" in message


def test_the_mix_is_searched_on_the_validation_set_of_the_deployed_model(train_args, tmp_path):
    options = ("DATASET.NAME", "WithValidation", "TRAINER.DHO.SEARCH_BY", "accuracy", "TEST.FINAL_MODEL", "best_val")
    main(train_args("CoOpDHO", *options))
    mix = json.loads((tmp_path / "run" / "mix.json").read_text())
    assert mix["alpha"] in ALPHAS and mix["beta"] in BETAS and "searched on 10 validation images" in mix["chosen"]
    log = (tmp_path / "run" / "log.txt").read_text()
    deployed, chosen = log.index("Deploy the model with the best val"), log.index(f"alpha {mix['alpha']}")
    assert deployed < chosen < log.rindex("=> result")
    found = float(mix["chosen"].split(": ")[1].rstrip("%"))
    validated = [float(part.split("%")[0]) for part in log.split("* accuracy: ")[1:-1]]
    assert found >= max(validated) - 0.05  # the grid holds the fixed mix that chose the checkpoint

    flags = ["--eval-only", "--model-dir", str(tmp_path / "run")]
    main(flags + train_args("CoOpDHO", *options, output=tmp_path / "evaluated"))
    evaluated = (tmp_path / "evaluated" / "log.txt").read_text()
    assert f"alpha {mix['alpha']} and beta {mix['beta']}" in evaluated
    assert evaluated.split("* accuracy: ")[1][:4] == log.split("* accuracy: ")[-1][:4]


def test_search_without_a_validation_set_is_refused_before_training(train_args):
    message = fails(train_args("CoOpDHO", "DATASET.NAME", "WithoutValidation", "TRAINER.DHO.SEARCH", "True"))
    assert "needs a validation set" in message and "TRAINER.DHO.ALPHA 0.5" in message


@pytest.mark.parametrize(
    "trainer, options, parts",
    [
        ("CoOpDHO", ("TRAINER.DHO.ALHPA", "1"), ["TRAINER.DHO.ALHPA", "TRAINER.DHO.ALPHA"]),
        ("CoOpDHOO", (), ["CoOpDHOO", "CoOpDHO"]),
        ("CoOp", ("DATASET.NAME", "ImageNett"), ["ImageNett", "ImageNet"]),
        ("CoOp", ("MODEL.BACKBONE.NAME", "ViT-B/61"), ["ViT-B/61", "ViT-B/16"]),
        ("CoOp", ("TRAINER.COOP.PREC", "fp8"), ["fp8", "fp32, fp16, amp, bf16"]),
        ("CoOp", ("TRAINER.COOP.N_CTX", "70"), ["N_CTX 70", "77", "largest N_CTX that fits"]),
        ("CoOp", ("INPUT.SIZE", "(64, 64)"), ["INPUT.SIZE is (64, 64)", "(32, 32)"]),
        ("CoOp", ("DATALOADER.TRAIN_X.BATCH_SIZE", "11"), ["BATCH_SIZE is 11", "10 labelled images"]),
        ("CoOpDHO", ("TRAINER.DHO.ALPHA", "1.5"), ["TRAINER.DHO.ALPHA is 1.5", "at least 0 and at most 1"]),
        ("CoOpDHO", ("TRAINER.DHO.TEACHER.NAME", "/absent/teacher"), ["/absent/teacher", "TRAINER.DHO.TEACHER.NAME"]),
        ("CoOpDHO", ("TRAINER.DHO.TEACHER.WEIGHTS", "no.pt"), ["no.pt", "TRAINER.DHO.TEACHER.WEIGHTS"]),
        ("CoOp", ("MODEL.BACKBONE.WEIGHTS", "no.pt"), ["no.pt", "MODEL.BACKBONE.WEIGHTS"]),
        ("CoOpDHO", ("TRAINER.DHO.UNLABELED", "some"), ["TRAINER.DHO.UNLABELED", "exclude_labeled"]),
        (
            "CoOpDHO",
            ("TRAINER.DHO.UNLABELED", "exclude_labeled", "DATASET.NUM_SHOTS", "8"),
            ["every training image is labelled"],
        ),
        ("CoOp", ("TEST.SHIFTED_SETS", "('ImageNetX',)"), ["ImageNetX"]),
    ],
)
def test_wrong_input_gives_one_clear_message(train_args, trainer, options, parts):
    message = fails(train_args(trainer, *options))
    for part in parts:
        assert part in message


def test_a_loss_that_is_not_finite_stops_the_run_and_loses_nothing(train_args, tmp_path):
    options = ("OPTIM.LR", "1e30", "OPTIM.WARMUP_CONS_LR", "0.001", "OPTIM.MAX_EPOCH", "9")
    message = fails(train_args("CoOpDHO", *options))
    assert "epoch" in message and "OPTIM.LR" in message
    saved = sorted(path.name for path in (tmp_path / "run" / "prompt_learner").glob("model.pth.tar-*"))
    assert saved and torch.isfinite(weights(tmp_path / "run", epoch=int(saved[0][-1]))["ctx"]).all()
    assert not (tmp_path / "run" / "results.json").exists()


def test_damaged_data_are_named(train_args, tmp_path):
    from tests_support import write_imagenet

    root = write_imagenet(tmp_path / "data")
    arguments = ["--root", str(root)] + train_args(
        *("CoOp", "DATASET.NUM_SHOTS", "-1", "DATALOADER.TRAIN_X.BATCH_SIZE", "5", "DATALOADER.MAX_UNREADABLE", "0")
    )[2:]
    images = root / "imagenet" / "images"

    damaged = images / "train" / "n01440764" / "0.JPEG"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    assert str(damaged) in fails(arguments)
    damaged.write_text("no image")
    assert str(damaged) in fails(arguments)
    damaged.write_bytes(whole)

    (images / "train" / "n02007558").rename(tmp_path / "away")
    message = fails(arguments)
    assert "4 of the 5 classes" in message and "n02007558" in message
    (tmp_path / "away").rename(images / "train" / "n99999999")
    assert "n02007558" in fails(arguments)
    (images / "train" / "n99999999").rename(images / "train" / "n02007558")

    names = root / "imagenet" / "classnames.txt"
    text = names.read_text()
    names.write_text("\n".join(text.splitlines()[:4]) + "\n")
    message = fails(arguments)
    assert "n04356056" in message and "classnames.txt does not name" in message
    names.unlink()
    assert "classnames.txt is missing" in fails(arguments)
    assert "is missing" in fails(["--root", str(tmp_path / "nowhere")] + arguments[2:])
    assert "--root" in fails(["--root", ""] + arguments[2:])


def test_an_image_of_the_pool_that_cannot_be_read_is_named(train_args, tmp_path):
    from tests_support import write_imagenet

    root = write_imagenet(tmp_path / "data")
    opts = ("DATASET.NUM_SHOTS", "1", "TRAIN.COUNT_ITER", "train_u", "DATALOADER.MAX_UNREADABLE", "6")
    arguments = ["--root", str(root)] + train_args("CoOpDHO", *opts)[2:]
    for path in (root / "imagenet" / "images" / "train" / "n04147183").iterdir():
        Image.new("L", (4, 4)).save(path, format="PNG")
        path.write_bytes(path.read_bytes()[:40])
    message = fails(arguments)
    assert "n04147183" in message and "MAX_UNREADABLE 6" in message
