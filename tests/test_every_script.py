"""Every script on every data set with every number of shots, at the real sizes, up to the first training step.

The scripts run with a Python that only writes down the list of runs that it is given; each is then begun here, up to
its first step, on data sets of the real numbers of classes and images whose images are all one file, with tiny CLIPs in
the towers' place.
"""

import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from dho_prompt.compare.listed import read_list
from dho_prompt.data.datasets import coop
from dho_prompt.data.layouts.contents import Contents, ListedImage
from dho_prompt.data.layouts.table import IMAGENET, TEN
from dho_prompt.students.networks import parse_network
from dho_prompt.train import parser, setup_cfg
from tests_support import write_clip
from trainer_contract import build, first_batches, take_step

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = {
    "coop_dho": (),
    "promptsrc_dho": (),
    "vpt_dho": (),
    "linear_probe_dho": (),
    "finetune_dho": ("resnet18", "mobilenet_v2"),
    "compare_objectives": ("resnet18",),
    "tip_adapter": (),
}
RIVALS = ("dhkd", "sskd", "ce_kd", "ce_kd_feature", "kd_feature", "kd")
ENDS = ("compare_objectives", "tip_adapter")  # whose recipes do not depend on the number of shots


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Folder with a Python that writes down its list of runs, one image, and two CLIPs of twelve blocks."""
    folder = tmp_path_factory.mktemp("world")
    python = folder / "python"
    python.write_text('#!/bin/sh\n[ "$*" = "-m dho_prompt.compare" ] && exec cat >"$RECORD"\n')
    python.chmod(0o755)
    Image.new("RGB", (40, 36), (90, 30, 60)).save(folder / "image.png")
    for name, width, size, seed in (("student", 16, 16, 1), ("teacher", 32, 24, 2)):
        write_clip(folder / name, width, size, seed, layers=12)
    return folder


def commands_of(world, script, dataset, *arguments):
    """The arguments of every training that a script asks for."""
    return [words for module, *words in list_of(world, script, dataset, *arguments) if module == "train"]


def list_of(world, script, dataset, *arguments, seeds="1", **variables):
    """What a script gives to ``dho_prompt.compare``, with variables of the environment."""
    record = world / f"{script}{'_'.join((dataset, *arguments)).replace('/', '_')}"
    environment = {
        **os.environ,
        "PYTHON": str(world / "python"),
        "RECORD": str(record),
        "SEEDS": seeds,
        **variables,
    }
    environment.update(DATA=str(world / "data"), OUTPUT=str(world / "output"))
    command = ["bash", str(REPOSITORY / "scripts" / f"{script}.sh"), dataset, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return read_list(record.read_bytes())


@pytest.fixture
def real_sizes(world, monkeypatch):
    """Data sets of the table with their real numbers of classes and images."""

    def contents(layout, root):
        names = [f"{layout.yaml} {label}" for label in range(layout.classes)]
        parts = []
        for count in layout.counts:
            labels = (number % layout.classes for number in range(count))
            parts.append([ListedImage(f"{world}/", "image.png", label, names[label]) for label in labels])
        train, val, test = parts
        return Contents(names, names, Path(world), train, test if layout is IMAGENET else val, test)

    monkeypatch.setattr(coop, "read_contents", contents)


def first_step(world, words, output):
    """Build what a command asks for and take its first step."""
    args = parser().parse_args(words)
    args.output_dir = str(output)
    cfg = setup_cfg(args)
    words = [*words, "DATALOADER.NUM_WORKERS", "0", "TEST.SHIFTED_SETS", "()", "VERBOSE", "False"]
    words[words.index("--output-dir") + 1] = str(output)
    if parse_network(cfg.MODEL.BACKBONE.NAME) is None:
        words += ["MODEL.BACKBONE.NAME", str(world / "student"), "INPUT.SIZE", "(16, 16)"]
    else:  # the network without its weights
        words += ["MODEL.BACKBONE.NAME", ":".join(cfg.MODEL.BACKBONE.NAME.split(":")[:2]), "INPUT.SIZE", "(32, 32)"]
    words += ["TRAINER.TIP_ADAPTER.PASSES", "1"]
    words += ["TRAINER.DHO.TEACHER.NAME", str(world / "teacher"), "TRAINER.DHO.TEACHER.PREC", "fp32"]
    for node in ("COOP", "PROMPTSRC", "VPT", "LINEAR_PROBE", "TIP_ADAPTER"):
        words += [f"TRAINER.{node}.PREC", "fp32"]
    trainer = build(words)
    (batch,) = first_batches(trainer, 1)
    if cfg.TRAINER.NAME == "TipAdapter":  # takes no step
        return trainer
    logged, _ = take_step(trainer, batch, 0, len(trainer.train_loader_x))
    assert all(value == value for value in logged.values())
    return trainer


def check(world, tmp_path, commands):
    for number, words in enumerate(commands):
        trainer = first_step(world, words, tmp_path / str(number))
        for name in trainer.get_model_names():  # the schedule ends behind the last step
            assert trainer._scheds[name].get_last_lr()[0] > 0 or trainer.cfg.OPTIM.WARMUP_STEPS


@pytest.mark.slow
@pytest.mark.parametrize("shots", ["1", "2", "4", "8", "16"])
@pytest.mark.parametrize("layout", TEN, ids=lambda layout: layout.yaml)
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_ten(world, real_sizes, tmp_path, script, layout, shots):
    if script in ENDS and shots not in ("1", "16"):
        pytest.skip("its recipe is that of the others")
    for student in SCRIPTS[script] or ((),):
        arguments = (shots, student) if student else (shots,)
        commands = commands_of(world, script, layout.yaml, *arguments)
        check(
            world, tmp_path / str(student or "x"), commands if shots in ("1", "16") else commands[:: len(commands) - 1]
        )


@pytest.mark.slow
@pytest.mark.parametrize("shots", ["1", "16", "1%"])
@pytest.mark.parametrize("script", [script for script in SCRIPTS if script != "tip_adapter"])
def test_imagenet(world, real_sizes, tmp_path, script, shots):
    students = {"finetune_dho": ("vit_b16",) if shots == "1%" else ("resnet18", "resnet50_dino")}.get(script, ((),))
    if script == "compare_objectives":
        students = ("vit_b16",) if shots == "1%" else ("resnet18",)
    for student in students:
        arguments = (shots, student) if student else (shots,)
        commands = commands_of(world, script, "imagenet", *arguments)
        # with all of ImageNet a step takes seconds: the plain method and the last
        check(world, tmp_path / str(student or "x"), [commands[0], commands[-1]])


def test_coop_s_epochs(world):
    """CoOp's own settings: 50, 100, 200 epochs by shots; four words of context on ImageNet (CoCoOp's paper)."""

    def recipe(*arguments):
        (words, *_) = commands_of(world, "coop_dho", *arguments)
        cfg = setup_cfg(parser().parse_args(words))
        return cfg.OPTIM.MAX_EPOCH, cfg.TRAINER.COOP.CTX_INIT, cfg.TRAINER.COOP.N_CTX

    epochs = [recipe("dtd", shots)[0] for shots in ("1", "2", "4", "8", "16")]
    assert epochs == [50, 100, 100, 200, 200] and recipe("dtd", "16")[1:] == ("", 16)
    assert recipe("imagenet", "16")[:2] == recipe("imagenet", "1%")[:2] == (50, "a photo of a")


@pytest.mark.parametrize("script", ["linear_probe_dho", "vpt_dho"])
def test_warm_up_fits(world, script):
    """The ten sets have too few steps for ImageNet's 5,000 of warm-up."""
    for dataset, steps in (("dtd", 0), ("imagenet", 5000)):
        (words, *_) = commands_of(world, script, dataset, "16")
        assert steps == setup_cfg(parser().parse_args(words)).OPTIM.WARMUP_STEPS


def test_everything_is_one_list_with_the_long_runs_first(world):
    lines = list_of(world, "compare_methods", "digits", "1 4", "OPTIM.LR", "0.5")
    output = f"{world}/output/digits"
    trained = [words[words.index("--output-dir") + 1] for words in lines if words[0] == "train"]
    methods = [folder[len(output) + 1 :].split("/")[0] for folder in trained]
    objectives = ["FinetuneDHO", *(f"FinetuneDHO-{name}" for name in RIVALS), "Finetune"]
    prompts = [
        f"{name}{kind}" for name in ("PromptSRC", "VPT", "CoOp", "LinearProbe") for kind in ("DHO", "DHO-ce_kd", "")
    ]
    assert list(dict.fromkeys(methods)) == [*objectives, *prompts]
    assert len(set(trained)) == len(trained) == 2 * (2 * len(objectives) + len(prompts))
    assert all(words[-2:] == ["OPTIM.LR", "0.5"] for words in lines if words[0] == "train")
    tables = [words for words in lines if words[0] == "report"]
    assert len(tables) == 2 * (2 + 4) + 1 and f"{output}/CoOp/digits_4shots" in tables[-4]
    assert lines[-1] == tables[-1] == ["report", output, "--save", f"{output}/compare_methods"]


def test_a_list_that_cannot_be_made_starts_nothing(world):
    environment = {**os.environ, "PYTHON": "/absent", "STUDENTS": "resnet18 nothing"}
    command = ["bash", str(REPOSITORY / "scripts" / "compare_methods.sh"), "digits", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "no recipe for the student nothing" in done.stderr and not done.stdout
    assert "/absent" not in done.stderr


def test_heads_of_several_kinds(world):
    """Tables 5 and 14: which heads each run has, whatever is overridden, and in which folder it lies."""

    def heads(words):
        cfg = setup_cfg(parser().parse_args(words))
        own, kd = cfg.TRAINER.FINETUNE, cfg.TRAINER.DHO
        return (own.HEAD, own.HEAD_INIT), (kd.HEAD, kd.HEAD_INIT)

    linear, language = ("linear", "kaiming"), ("linear", "language")
    aligned, bent = ("cosine", "language"), ("nonlinear", "kaiming")
    *lines, table = list_of(
        world, "compare_heads", "imagenet", "1%", "vit_b16", "TRAINER.DHO.HEAD", "scaled", "OPTIM.LR", "3e-6"
    )
    folder = f"{world}/output/imagenet/FinetuneDHO/imagenet_percent_vit_b16_1percent"
    kinds = {
        "_no_init": (linear, linear), "_ce_init": (language, linear), "_kd_init": (linear, language),
        "_both_init": (language, language), "": (language, ("scaled", "language")),
        "_nl_ce": (bent, ("scaled", "language")), "_nl_kd": (language, bent), "_nl_both": (bent, bent),
    }  # fmt: skip
    assert {words[words.index("--output-dir") + 1]: heads(words[1:]) for words in lines} == {
        f"{folder}{kind}/seed1": found for kind, found in kinds.items()
    }
    assert all(setup_cfg(parser().parse_args(words[1:])).OPTIM.LR == 3e-6 for words in lines)
    keys = [f"TRAINER.{node}.{key}" for node in ("FINETUNE", "DHO") for key in ("HEAD", "HEAD_INIT")]
    save = f"{world}/output/imagenet/compare_heads_imagenet_percent_vit_b16_1percent"
    assert table == ["report", *(f"{folder}{kind}" for kind in kinds), "--by", *keys, "--save", save]

    lines = list_of(world, "compare_heads", "digits", "4", "resnet18")  # has no text tower
    assert [heads(words[1:]) for words in lines[:-1]] == [
        (linear, linear),
        (bent, linear),
        (linear, bent),
        (bent, bent),
    ]
    lines = list_of(world, "compare_heads", "digits", "4", seeds="1 2", HEADS="recipe both_init")
    assert [heads(words[1:]) for words in lines[:-1]] == [(language, aligned), (language, language)] * 2
    assert lines[-1][1:3] == [f"{world}/output/digits/FinetuneDHO/digits_4shots{end}" for end in ("", "_both_init")]
    assert lines[-1][3] == "--by"
    done = subprocess.run(
        ["bash", str(REPOSITORY / "scripts" / "compare_heads.sh"), "digits", "4"],
        env={**os.environ, "PYTHON": "/absent", "HEADS": "recipe round"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "HEADS has round; allowed are no_init" in done.stderr and not done.stdout
