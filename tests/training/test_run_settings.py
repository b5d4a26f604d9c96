"""What a run refuses or says before it loads anything: names, flags, settings that it passes over, missing labels."""

import sys

import pytest

from dho_prompt.config import extend_cfg, merge_opts
from dho_prompt.engine import TRAINER_REGISTRY, DatasetBase, get_cfg_default
from dho_prompt.evaluate import main as evaluate
from dho_prompt.hosts.with_dho import with_dho
from dho_prompt.train import main, parser, register, setup_cfg
from dho_prompt.training.unused import unused_settings
from stand_in_hosts import HOSTS

PLUGGED = with_dho(HOSTS[0], name="HostOfSettingsDHO")


@pytest.fixture(autouse=True)
def console():
    """The log file's stand-in for stdout ends with each test."""
    before = sys.stdout
    yield
    if sys.stdout is not before:
        sys.stdout.close()
    sys.stdout = before


def fails(arguments, command=main):
    with pytest.raises(SystemExit) as caught:
        command(arguments)
    assert isinstance(caught.value.code, str)
    return caught.value.code


@pytest.fixture
def no_data(monkeypatch):
    """Reading a data set or building a model is an error of the test."""

    def read(*_):
        raise AssertionError("data were read")

    for name in ("training.run.Run.build_data_loader", "training.run.Run.build_model"):
        monkeypatch.setattr(f"dho_prompt.{name}", read)


# Names first


@pytest.mark.parametrize(
    "trainer, options, parts",
    [
        ("CoOpDHOO", (), ["unknown trainer 'CoOpDHOO'", "CoOpDHO", "TRAINER.NAME"]),
        ("CoOp", ("DATASET.NAME", "ImageNett"), ["'ImageNett'", "Did you mean 'ImageNet'", "DATASET.NAME"]),
        ("CoOp", ("DATASET.NAME", "os.path:join"), ["os.path:join is <function join"]),
        ("CoOp", ("DATASET.NAME", "subprocess:Popen"), ["and no data set"]),
        ("CoOp", ("TEST.SHIFTED_SETS", "('ImageNet', 'os:system')"), ["and no data set"]),
        ("CoOp", ("TEST.SHIFTED_SETS", "('Digitz',)"), ["'Digitz'", "'Digits'", "TEST.SHIFTED_SETS"]),
        ("CoOp", ("TEST.EVALUATOR", "Classificator"), ["'Classificator'", "Classification", "TEST.EVALUATOR"]),
        ("CoOp", ("MODEL.BACKBONE.NAME", "ViT-B/61"), ["ViT-B/16", "MODEL.BACKBONE.NAME"]),
        ("CoOp", ("MODEL.BACKBONE.NAME", ""), ["MODEL.BACKBONE.NAME is empty"]),
        ("CoOp", ("MODEL.BACKBONE.NAME", "open_clip:ViT-B-16"), ["names no weights"]),
        ("CoOp", ("MODEL.BACKBONE.WEIGHTS", "no.pt"), ["no.pt", "MODEL.BACKBONE.WEIGHTS"]),
        ("CoOp", ("MODEL.INIT_WEIGHTS", "no.pt"), ["no.pt", "MODEL.INIT_WEIGHTS"]),
        ("CoOpDHO", ("TRAINER.DHO.TEACHER.NAME", "ViT-L/15"), ["ViT-L/14", "TRAINER.DHO.TEACHER.NAME"]),
        ("CoOpDHO", ("TRAINER.DHO.TEACHER.WEIGHTS", "no.pt"), ["no.pt", "TRAINER.DHO.TEACHER.WEIGHTS"]),
        ("CoOpDHO", ("TRAINER.DHO.TEACHER.CHECKPOINT", "no.pt"), ["no.pt", "TRAINER.DHO.TEACHER.CHECKPOINT"]),
        ("CoOp", ("DATASET.NUM_SHOTS", "0"), ["NUM_SHOTS is 0", "-1 (all images)"]),
        ("CoOp", ("TORCH_THREADS", "-1"), ["TORCH_THREADS is -1"]),
        ("VPT", ("TRAINER.VPT.N_CTX_VISION", "1000000000"), ["N_CTX_VISION is 1000000000", "from 1 to 512"]),
    ],
)
def test_names_are_looked_up_before_data_and_models_are_loaded(train_args, no_data, trainer, options, parts):
    message = fails(train_args(trainer, *options))
    for part in parts:
        assert part in message


def test_a_plain_trainer_and_an_evaluation_do_without_the_teacher(train_args, tmp_path):
    absent = ("TRAINER.DHO.TEACHER.NAME", "/absent", "OPTIM.MAX_EPOCH", "1")
    main(train_args("CoOp", *absent))
    assert "/absent" in fails(train_args("CoOpDHO", *absent, output=tmp_path / "dho"))
    main(train_args("CoOpDHO", "OPTIM.MAX_EPOCH", "1", output=tmp_path / "dho"))
    flags = ["--eval-only", "--model-dir", str(tmp_path / "dho"), "--load-epoch", "1"]
    main(flags + train_args("CoOpDHO", *absent, output=tmp_path / "evaluated"))
    evaluate([str(tmp_path / "dho"), *absent[:2]])
    assert "MOMENTUM is 1.0" in fails([str(tmp_path / "dho"), "OPTIM.MOMENTUM", "1"], evaluate)


class Mine(DatasetBase):
    """Found by its module's name; never built here."""


def test_a_class_of_ones_own_is_taken(train_args, monkeypatch):
    monkeypatch.setattr("dho_prompt.train.build_trainer", lambda cfg: sys.exit(f"trainer of {cfg.DATASET.NAME}"))
    name = f"{Mine.__module__}:Mine"
    assert fails(train_args("CoOp", "DATASET.NAME", name)) == f"trainer of {name}"


# Flags


def test_flags_that_would_be_passed_over_are_refused(train_args, no_data, tmp_path):
    run = ["--model-dir", str(tmp_path)]
    assert f"--model-dir {tmp_path} says" in fails([*run, *train_args("CoOp")])
    assert "needs --eval-only;" in fails([*run, "--load-epoch", "3", *train_args("CoOp")])
    run[1] += "/absent"
    assert f"{run[1]} of --model-dir does not exist" in fails(["--eval-only", *run, *train_args("CoOp")])
    assert "--load-epoch 3" in fails(["--load-epoch", "3", *train_args("CoOp")])
    assert "untrained CoOpDHO" in fails(["--eval-only", *train_args("CoOpDHO")])
    assert "unknown trainer 'CoOpp'" in fails(["--eval-only", *train_args("CoOpp")])
    zeroshot = train_args("ZeroshotCLIP")
    assert "needs --eval-only --model-dir" in fails(["--eval-only", "--load-epoch", "0", *zeroshot])


def test_what_trains_nothing_is_evaluated_as_it_is(train_args, capsys):
    main(["--eval-only", *train_args("ZeroshotCLIP")])
    assert "* accuracy: " in capsys.readouterr().out


# Settings that a run does not use


def unused(trainer, *opts):
    register()
    cfg = extend_cfg(get_cfg_default())
    merge_opts(cfg, ["TRAINER.NAME", trainer, "DATASET.NAME", "Digits", *opts])
    return unused_settings(cfg, TRAINER_REGISTRY.get(trainer))


@pytest.mark.parametrize(
    "trainer, opts, expected",
    [
        ("CoOp", ("TRAINER.COOP.N_CTX", "4", "TRAINER.VPT.N_CTX_VISION", "3"), ["TRAINER.VPT.N_CTX_VISION"]),
        ("CoOp", ("TRAINER.DHO.ALPHA", "0.3"), ["TRAINER.DHO.ALPHA"]),
        ("CoOpDHO", ("TRAINER.DHO.ALPHA", "0.3", "TRAINER.DHO.TEACHER.PREC", "fp32"), []),
        ("CoOp", ("TRAINER.DHO.TEACHER.TEMPLATES", "('{}',)"), ["TRAINER.DHO.TEACHER.TEMPLATES"]),
        ("LinearProbe", ("TRAINER.DHO.TEACHER.TEMPLATES", "('{}',)"), []),
        (
            "CoOp",
            ("TRAINER.FIXMATCH.WEIGHT_U", "2", "MODEL.HEAD.NAME", "mlp"),
            ["MODEL.HEAD.NAME", "TRAINER.FIXMATCH.W"],
        ),
        ("CoOp", ("OPTIM.MOMENTUM", "0.5", "OPTIM.ADAM_BETA1", "0.5"), ["OPTIM.MOMENTUM"]),
        ("CoOp", ("OPTIM.NAME", "sgd", "OPTIM.MOMENTUM", "0.5", "OPTIM.ADAM_BETA1", "0.5"), ["OPTIM.ADAM_BETA1"]),
        ("CoOp", ("OPTIM.WARMUP_STEPS", "5"), ["OPTIM.WARMUP_STEPS"]),
        ("CoOp", ("OPTIM.SCHEDULE_BY", "iteration", "OPTIM.WARMUP_STEPS", "5", "OPTIM.GAMMA", "0.5"), ["OPTIM.GAMMA"]),
        ("CoOp", ("OPTIM.WARMUP_CONS_LR", "1e-3"), ["OPTIM.WARMUP_CONS_LR"]),
        ("CoOp", ("OPTIM.WARMUP_EPOCH", "1", "OPTIM.WARMUP_TYPE", "constant", "OPTIM.WARMUP_CONS_LR", "1e-3"), []),
        ("CoOp", ("DATALOADER.TRAIN_U.BATCH_SIZE", "8"), ["DATALOADER.TRAIN_U.BATCH_SIZE"]),
        ("CoOpDHO", ("DATALOADER.TRAIN_U.BATCH_SIZE", "8", "DATALOADER.TRAIN_U.SAME_AS_X", "False"), []),
        ("CoOp", ("DATASET.FOLDER", "here", "DATASET.NUM_SHOTS", "4"), ["DATASET.FOLDER"]),
        ("CoOp", ("DATASET.FOLDER", "here", "DATASET.NAME", "ImageFolder"), []),
        ("CoOp", ("INPUT.TRANSFORMS", "('normalize',)", "INPUT.RRCROP_SCALE", "(0.5, 1)"), ["INPUT.RRCROP_SCALE"]),
        ("ZeroshotCLIP", ("OPTIM.LR", "0.1", "TRAINER.ZEROSHOT.ENSEMBLE", "True"), ["OPTIM.LR"]),
    ],
)
def test_settings_that_no_part_of_a_run_reads_are_found(trainer, opts, expected):
    found = unused(trainer, *opts)
    assert len(found) == len(expected) and all(key.startswith(part) for key, part in zip(found, expected))


def test_they_are_named_once_in_the_log(train_args, tmp_path, capsys):
    main(train_args("CoOp", "TRAINER.VPT.N_CTX_VISION", "3", "OPTIM.MAX_EPOCH", "1"))
    assert capsys.readouterr().out.count("TRAINER.VPT.N_CTX_VISION") == 1
    (line,) = (line for line in (tmp_path / "run" / "log.txt").read_text().splitlines() if "N_CTX_VISION" in line)
    assert line.startswith("Set but not used by this run: ") and "TRAINER.COOP" not in line and "INPUT" not in line


# Labels


def notes(capsys):
    printed = capsys.readouterr().out.splitlines()
    return [line for line in printed if line.startswith("Note: ") and "checksum" not in line]


def test_small_classes_are_named_and_give_all_they_have(train_args, capsys):
    main(train_args("CoOp", "DATASET.NUM_SHOTS", "9", "OPTIM.MAX_EPOCH", "1", "TEST.SHIFTED_SETS", "('ImageNet',)"))
    (note,) = notes(capsys)
    assert "5 classes have fewer than 9 images and give all they have: tench (8), goldfish (8)" in note


def test_labels_of_one_class_are_refused_and_classes_without_any_are_named(train_args, tmp_path, capsys):
    path = tmp_path / "list.txt"
    path.write_text("n01443537/0.JPEG\nn01443537/1.JPEG\n")
    opts = ("DATASET.NUM_SHOTS", "-1", "OPTIM.MAX_EPOCH", "1", "DATASET.LABELED_LIST", path)
    message = fails(train_args("CoOpDHO", *opts))
    assert "one class alone, goldfish" in message and "the other 4 classes have none (tench, flamingo," in message
    assert str(path) in message and not (tmp_path / "run" / "config.json").exists()
    main(["--eval-only", *train_args("ZeroshotCLIP", *opts, output=tmp_path / "zeroshot")])  # learns from no label

    path.write_text("n01443537/0.JPEG\nn04147183/0.JPEG\n")
    notes(capsys)
    main(train_args("CoOpDHO", *opts))
    assert notes(capsys) == ["Note: 3 of 5 classes have no labelled image: tench, flamingo, sunglasses"]
    percent = (*opts[:4], "DATASET.LABELED_PERCENT", "10")  # 4 of 40 images
    main(train_args("CoOpDHO", *percent, output=tmp_path / "percent"))
    (note,) = notes(capsys)
    assert note.startswith("Note: 1 of 5 classes have no labelled image: ")


# Hosts


def test_in_a_host_only_what_is_read_here_is_checked(train_args):
    cfg = setup_cfg(parser().parse_args(train_args("any")))
    cfg.defrost()
    check = PLUGGED.__new__(PLUGGED).check_cfg
    cfg.DATASET.NUM_SHOTS, cfg.TRAINER.COOP.PREC, cfg.DATASET.SUBSAMPLE_CLASSES = 0, "int8", "some"
    check(cfg)
    for node, key, value in (
        (cfg.TRAINER.DHO, "ALPHA", 2.0),
        (cfg.INPUT, "RRCROP_SCALE", (1.0, 0.5)),
        (cfg.OPTIM, "MOMENTUM", 2.0),
        (cfg.TEST, "SHIFTED_SETS", ("ImageNet", "ImageNet")),
        (cfg.DATALOADER.TRAIN_X, "BATCH_SIZE", 0),
    ):
        before, node[key] = node[key], value
        with pytest.raises(ValueError, match=f"{key} is .*; it takes"):
            check(cfg)
        node[key] = before
    check(cfg)
