"""Every script on every data set with every number of labelled images, up to the first step of training.

The data sets have the real numbers of classes and images, but one picture stands for all of them; the models are tiny.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image

from dho_prompt.data.datasets import base, coop
from dho_prompt.data.layouts.contents import Contents, ListedImage
from dho_prompt.data.layouts.table import IMAGENET, TEN, find_layout
from dho_prompt.train import parser
from dho_prompt.training import loaders
from trainer_contract import build, first_batches, take_step

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = ("coop", "promptsrc", "vpt", "linear_probe")
SHOTS = ("1", "2", "4", "8", "16")
RUNS = [(layout.yaml, SHOTS) for layout in TEN] + [("imagenet", (*SHOTS, "1%"))]
PRINTS = """#!/usr/bin/env python3
import json, os, sys
if sys.argv[2] == "dho_prompt.train":
    with open(os.environ["ASKED"], "a") as file:
        file.write(json.dumps(sys.argv[3:]) + "\\n")
"""
SMALL = {  # what tiny models need otherwise
    "INPUT.SIZE": "(32, 32)", "INPUT.PIXEL_MEAN": "(.5,.5,.5)", "INPUT.PIXEL_STD": "(.5,.5,.5)", "VERBOSE": "False",
    "DATALOADER.NUM_WORKERS": "0", "TRAINER.DHO.TEACHER.PREC": "fp32", "TEST.SHIFTED_SETS": "()",
}  # fmt: skip
METHODS = {
    "CoOp": {"TRAINER.COOP.PREC": "fp32"},
    "PromptSRC": {
        "TRAINER.PROMPTSRC.PREC": "fp32",
        "TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION": "2",
        "TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT": "2",
    },
    "VPT": {"TRAINER.VPT.PREC": "fp32", "TRAINER.VPT.PROMPT_DEPTH_VISION": "2"},
    "LinearProbe": {"TRAINER.LINEAR_PROBE.PREC": "fp32"},
}
LISTED = {}


def commands(tmp_path, script, dataset, shots):
    """The arguments that a script gives to ``python -m dho_prompt.train``, by the names of its three methods."""
    asked, stand_in = tmp_path / f"{dataset}_{shots}", tmp_path / "python"
    stand_in.write_text(PRINTS)
    stand_in.chmod(0o755)
    variables = {"PYTHON": str(stand_in), "ASKED": str(asked), "SEEDS": "1", "DATA": "data", "OUTPUT": str(tmp_path)}
    command = ["bash", str(REPOSITORY / "scripts" / f"{script}_dho.sh"), dataset, shots]
    subprocess.run(command, env={**os.environ, **variables}, check=True, capture_output=True)
    return [json.loads(line) for line in asked.read_text().splitlines()]


def listed(layout, root):
    """The full data set, of files that are not there."""
    if layout.name not in LISTED:
        names = [f"class {label}" for label in range(layout.classes)]
        parts = [
            [ListedImage("", f"{part}/{index}.jpg", index % layout.classes, names[index % layout.classes])
             for index in range(count)]
            for part, count in zip(("train", "val", "test"), layout.counts)
        ]  # fmt: skip
        if layout is IMAGENET:
            parts[0], parts[1] = parts[0][: len(parts[0]) // 4], parts[2]  # a million names take minutes
        LISTED.clear()
        LISTED[layout.name] = Contents(names, names, Path(root), *parts)
    return LISTED[layout.name]


@pytest.fixture
def one_picture(monkeypatch):
    picture = Image.new("RGB", (40, 36), (90, 120, 40))
    monkeypatch.setattr(coop, "read_contents", listed)
    monkeypatch.setattr(base, "refuse_unreadable", lambda *_: None)
    monkeypatch.setattr(loaders, "read_image", lambda _: picture)


def epochs(script, dataset, shots):
    """What the hosts' papers and Table 6 have; PromptSRC's few-shot recipe has 50 everywhere but on ImageNet."""
    if script == "coop":
        return 50 if dataset == "imagenet" else {"1": 50, "2": 100, "4": 100, "8": 200, "16": 200}[shots]
    if script == "promptsrc":
        return 20 if dataset == "imagenet" else 50
    return 20 if dataset == "imagenet" else 200


def test_coop_starts_on_imagenet_from_the_four_words_of_table_13(tmp_path):
    for dataset, words in (("imagenet", "a photo of a"), ("dtd", "")):
        config = Path(parser().parse_args(commands(tmp_path, "coop", dataset, "16")[0]).config_file).read_text()
        assert ('CTX_INIT: "a photo of a"' in config) == bool(words)


@pytest.mark.slow
@pytest.mark.parametrize("dataset, shots", RUNS, ids=[name for name, _ in RUNS])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_recipe_fits_its_data(one_picture, student_clip, teacher_clip, tmp_path, script, dataset, shots):
    layout = find_layout(dataset)
    models = {"MODEL.BACKBONE.NAME": student_clip, "TRAINER.DHO.TEACHER.NAME": teacher_clip}
    for count in shots:
        asked = commands(tmp_path, script, dataset, count)
        assert len(asked) == 3
        for arguments in asked[::2]:  # the method alone, and with unlabelled images
            method = arguments[arguments.index("--trainer") + 1]
            more = {**SMALL, **models, **METHODS[method.replace("DHO", "")]}
            trainer = build([*arguments, *(word for pair in more.items() for word in pair)])
            labelled = 0.01 * layout.counts[0] / 4 if count == "1%" else int(count) * layout.classes
            assert abs(len(trainer.dm.dataset.train_x) - labelled) <= layout.classes * (count == "1%")
            assert trainer.max_epoch == epochs(script, dataset, count)
            (batch,) = first_batches(trainer, 1)
            summary, gradients = take_step(trainer, batch, 0, len(trainer.train_loader_x))
            assert all(torch.isfinite(torch.tensor(value)) for value in summary.values())
            assert any(gradient.any() for gradient in gradients.values())
            trainer.close_writer()
