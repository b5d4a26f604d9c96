"""``fit`` is the command: the same weights and results, recipes as the scripts choose them, and it is a quiet guest."""

import json
import os
import random
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dho_prompt import FinishedRun, fit
from dho_prompt.as_library import Screen, WithoutBars
from dho_prompt.compare.listed import read_list
from dho_prompt.fitting import arguments
from dho_prompt.recipes import METHODS, dataset_names, recipe_names, recipe_of, trainer_of
from own_images import quick, write_own_folder

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_own_folder(tmp_path_factory.mktemp("own") / "insects")


@pytest.fixture
def settings(student_clip, teacher_clip):
    return quick(student_clip, teacher_clip, **{"TRAINER.COOP.N_CTX": 3, "TRAINER.COOP.PREC": "fp32"})


def states(run):
    """Every tensor of every checkpoint, by folder, file and name."""
    return {
        f"{path.parent.name}/{path.name}/{key}": value
        for path in sorted(Path(run).glob("*/model*"))
        for key, value in torch.load(path, weights_only=True)["state_dict"].items()
    }


def results(run):
    found = json.loads((Path(run) / "results.json").read_text())
    for key in ("seconds", "sha256"):
        del found[key]
    del found["config"]["OUTPUT_DIR"]
    return found


def test_the_command_writes_the_same_weights_and_results(folder, settings, tmp_path, capsys):
    run = fit(folder, shots=3, output=tmp_path / "py", seed=4, settings=settings, progress=False)
    words = shlex.split(run.command.replace(str(tmp_path / "py"), str(tmp_path / "sh")))
    assert words[:3] == ["python", "-m", "dho_prompt.train"]
    done = subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours, theirs = states(tmp_path / "py"), states(tmp_path / "sh")
    assert ours.keys() == theirs.keys() and {name.split("/")[0] for name in ours} == {"kd_head", "prompt_learner"}
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert results(tmp_path / "py") == results(tmp_path / "sh")
    assert isinstance(run, FinishedRun) and run.folder == tmp_path / "py"
    assert run.results["seed"] == 4 and run.results["shots"] == 3 and run.results["split"]["unlabelled"] == 27
    assert run.accuracy["test"]["images"] == 15 and run.results["mix"]["chosen"].startswith("searched on 12")
    names = {path.name for path in (tmp_path / "sh").iterdir()}
    assert {path.name for path in run.folder.iterdir()} == names
    assert capsys.readouterr().out == ""


def test_a_finished_run_comes_back_and_another_one_is_refused(folder, settings, tmp_path):
    first = fit(str(folder), output=tmp_path / "run", shots=2, dho=False, settings=settings, progress=False)
    assert first.results["trainer"] == "CoOp"
    before = (tmp_path / "run" / "results.json").stat().st_mtime_ns
    again = fit(str(folder), output=tmp_path / "run", shots=2, dho=False, settings=settings, progress=False)
    assert again.results == first.results and (tmp_path / "run" / "results.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="run of another configuration.*\n.*NUM_SHOTS: 2 -> 3"):
        fit(folder, output=tmp_path / "run", shots=3, dho=False, settings=settings, progress=False)


def test_the_caller_keeps_screen_threads_and_random_numbers(folder, settings, tmp_path, capsys):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    drawn = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    stdout, stderr = sys.stdout, sys.stderr
    fit(folder, "linear_probe", 2, tmp_path / "run", settings={**settings, "TRAINER.LINEAR_PROBE.PREC": "fp32"})
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == drawn
    assert torch.get_num_threads() == 2 and sys.stdout is stdout and sys.stderr is stderr
    torch.set_num_threads(before)
    out, err = capsys.readouterr()
    assert out == "" and "epoch 2/2, loss " in err and "100%" in err and "validation" not in err
    log = tmp_path / "run" / "log.txt"
    assert "epoch [2/2] batch [1/1]" in log.read_text()
    if Path("/proc/self/fd").is_dir():
        assert log not in [path.resolve() for path in Path("/proc/self/fd").iterdir()], "it is still open"
    with pytest.raises(ValueError, match="OPTIM.LRR"):
        fit(folder, "coop", 2, tmp_path / "other", settings={"OPTIM.LRR": 1}, progress=False)
    assert sys.stdout is stdout and sys.stderr is stderr


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ({"images": "nowhere"}, ["no folder nowhere", "digits"]),
        ({"method": "cooop"}, ["'cooop'", "coop, promptsrc, vpt"]),
        ({"shots": 0}, ["shots is 0", "from 1"]),
        ({"shots": "2.5"}, ["shots is '2.5'"]),
        ({"shots": "200%"}, ["LABELED_PERCENT is 200"]),
        ({"seed": -1}, ["seed is -1"]),
        ({"seed": True}, ["seed is True"]),
        ({"recipe": "digitz"}, ["'digitz'", "digit_pairs, digits, vit_b16_ep100"]),
        ({"recipe": "mine.yaml"}, ["mine.yaml"]),
        ({"settings": {"TRAINER.DHO.ALHPA": 1}}, ["TRAINER.DHO.ALHPA", "TRAINER.DHO.ALPHA"]),
    ],
)
def test_wrong_input_is_named_before_anything_is_written(folder, tmp_path, more, parts):
    given = {"images": folder, "output": tmp_path / "run", "progress": False, **more}
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        fit(**given)
    assert all(part in str(caught.value) for part in parts)
    assert not (tmp_path / "run").exists()


def asked(script, tmp_path, *arguments):
    """What a script asks of ``dho_prompt.train``, by trainer."""
    record, python = tmp_path / "asked", tmp_path / "python"
    python.write_text('#!/bin/sh\n[ "$*" = "-m dho_prompt.compare" ] && exec cat >"$RECORD"\n')
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "RECORD": str(record), "SEEDS": "3", "DATA": "here"}
    environment["OUTPUT"] = str(tmp_path / "out")
    command = ["bash", str(REPOSITORY / "scripts" / f"{script}.sh"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lists = [words for module, *words in read_list(record.read_bytes()) if module == "train"]
    return {words[words.index("--trainer") + 1]: words for words in lists}


def same(words):
    """Words of a command without its output folder, and with short names of configuration files."""
    at = words.index("--output-dir")
    kept = [word.removeprefix("configs/") for word in [*words[:at], *words[at + 2 :]]]
    pairs = sorted(zip(kept[0::2], kept[1::2]))
    return [pair for pair in pairs if pair[0] not in ("TRAINER.DHO.UNLABELED", "TRAINER.DHO.OBJECTIVE")]


@pytest.mark.parametrize(
    ("method", "script"),
    [("coop", "coop_dho"), ("promptsrc", "promptsrc_dho"), ("vpt", "vpt_dho"), ("linear_probe", "linear_probe_dho"),
     ("finetune", "finetune_dho"), ("tip_adapter", "tip_adapter")],
)  # fmt: skip
@pytest.mark.parametrize("dataset", ["dtd", "imagenet", "digits"])
def test_recipes_are_those_of_the_scripts(tmp_path, method, script, dataset):
    for shots in ("1", "2", "16", "1%", "all"):
        found = asked(script, tmp_path, dataset, shots)
        for dho in (True, False):
            trainer = trainer_of(method, dho)
            ours = arguments(dataset, method, shots, "x", dho, 3, "", "here", {})
            assert same(ours) == same(found[trainer]), (shots, trainer)


def test_zero_shot_recipes_are_those_of_the_script(tmp_path):
    for dataset in ("dtd", "digits"):
        words = asked("zeroshot", tmp_path, dataset)["ZeroshotCLIP"]
        assert same(arguments(dataset, "zeroshot", "all", "x", True, 3, "", "here", {})) == same(words)


def test_names_of_recipes_and_data_sets():
    assert "digits" in dataset_names() and "image_folder" not in dataset_names() and len(dataset_names()) == 17
    assert recipe_names("vpt") == ["digit_pairs", "digits", "vit_b16_vpt3", "vit_b16_vpt3_ep200", "vit_b16_vpt9"]
    assert recipe_of("vpt", "digits", 4, "vit_b16_vpt9") == "trainers/VPTDHO/vit_b16_vpt9.yaml"
    assert recipe_of("vpt", "digits", 4, "some/where.yml") == "some/where.yml"
    assert trainer_of("tip_adapter", True) == "TipAdapterF" and len(METHODS) == 7


def test_a_text_is_a_data_set_before_it_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    named = arguments("digits", "coop", 1, "out", True, 1, "", "data", {})
    assert "datasets/digits.yaml" in named and "DATASET.FOLDER" not in named and named[:2] == ["--root", "data"]
    for own in ("./digits", Path("digits")):
        words = arguments(own, "coop", 1, "out", True, 1, "digits", "data", {"TRAINER.COOP.N_CTX": 4})
        assert words[words.index("DATASET.FOLDER") + 1] == str(tmp_path / "digits")
        assert "datasets/image_folder.yaml" in words and "trainers/CoOpDHO/digits.yaml" in words
        assert "--root" not in words and words[-2:] == ["TRAINER.COOP.N_CTX", "4"]


LINE = "epoch [{}/3] batch [{}/4] time 0.1 (0.1) data 0.0 (0.0) loss {} (9.0) loss_ce 1.0 (1.0) acc 25.0 (50.0) lr 1"


def test_the_bar_counts_steps_and_shows_loss_and_accuracy(capsys):
    screen = Screen(True)
    screen.write("Loading\n" + LINE.format(1, 2, 2.5)[:30])
    screen.write(LINE.format(1, 2, 2.5)[30:] + "\n")
    assert screen._bar.total == 12 and screen._bar.n == 2
    screen.write(LINE.format(3, 1, 0.5) + "\n")
    assert screen._bar.n == 9 and screen._bar.postfix == "epoch 3/3, loss 0.5, acc 25.0"
    screen.end()
    assert "75%" in capsys.readouterr().err
    silent = Screen(False)
    silent.write(LINE.format(1, 2, 2.5) + "\n")
    assert silent._bar is None


def test_bars_of_others_are_kept_off_stderr_and_words_are_not(capsys):
    stream = WithoutBars(sys.stderr)
    print("one", "two", file=stream)
    for text in ("\n", "\r 10%|x", "\x1b[A", "\n\n", "\r100%|x"):
        stream.write(text)
    print("three", file=stream, end="")
    print(" four", file=stream)
    assert capsys.readouterr().err == "one two\nthree four\n"
