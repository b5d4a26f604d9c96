"""Running the trainers of other code bases, in checkouts of theirs, with and without DHO.

Set DHO_PROMPT_COOP, DHO_PROMPT_PROMPTSRC, DHO_PROMPT_MAPLE and DHO_PROMPT_KDPL to the folders that hold their
train.py, and PYTHONPATH so that ``dassl`` can be imported; what is not set is skipped. The hosts run in processes of
their own, on tiny random CLIPs in OpenAI's format, on the CPU.
"""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from dho_prompt.clip.loading import cpu_runs_float16
from dho_prompt.engine import load_checkpoint
from tests_support import MEAN, STD

TESTS = Path(__file__).resolve().parent
EPOCHS = int(os.environ.get("DHO_PROMPT_HOST_EPOCHS", "4"))  # where a train.py sets its own
# Dassl's warm-up does not build on torch 2.7 and later; there a host alone runs without
HOST_WARMUP = {} if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 7) else {"OPTIM.WARMUP_EPOCH": -1}

# name: checkout, file in trainers/, model folder, wide towers (MaPLe's code fixes 768 and 512), .cuda() called, keys
HOSTS = {
    "CoOp": ("COOP", "coop", "prompt_learner", False, False, {"COOP.N_CTX": 2, "COOP.PREC": "fp32"}),
    "CoCoOp": ("COOP", "cocoop", "prompt_learner", False, False, {"COCOOP.N_CTX": 2, "COCOOP.PREC": "fp32"}),
    "PromptSRC": ("PROMPTSRC", "promptsrc", "VLPromptLearner", False, True,
                  {"PROMPTSRC.N_CTX_VISION": 2, "PROMPTSRC.N_CTX_TEXT": 2, "PROMPTSRC.PROMPT_DEPTH_VISION": 2,
                   "PROMPTSRC.PROMPT_DEPTH_TEXT": 2, "PROMPTSRC.GPA_MEAN": 3, "PROMPTSRC.PREC": "fp16"}),
    "MaPLe": ("MAPLE", "maple", "MultiModalPromptLearner", True, False,
              {"MAPLE.N_CTX": 2, "MAPLE.PROMPT_DEPTH": 2, "MAPLE.PREC": "fp16"}),
    "IVLP": ("MAPLE", "independentVL", "VLPromptLearner", False, False,
             {"IVLP.PROMPT_DEPTH_VISION": 2, "IVLP.PROMPT_DEPTH_TEXT": 2, "IVLP.PREC": "fp32"}),
    "VPT": ("MAPLE", "vpt", "prompt_learner", False, True, {"VPT.PROMPT_DEPTH_VISION": 2, "VPT.PREC": "fp32"}),
}  # fmt: skip
# KDPL's trainers take their precision from COOP.PREC
for plain in ("CoOp", "CoCoOp", "VPT", "MaPLe", "PromptSRC"):
    _, file, model, wide, _, keys = HOSTS[plain]
    precision = {} if plain in ("MaPLe", "PromptSRC") else {"COOP.PREC": "fp32"}
    HOSTS[f"{plain}_KDPL"] = ("KDPL", f"{plain.lower()}_kdpl", model, wide, True, {**keys, **precision})


def openai_clip(folder, wide, seed, embed=64):
    """A tiny random CLIP, for open_clip as a folder and for the hosts as ``openai.pt`` within it.

    Args:
        wide: towers as wide as ViT-B's; None for a ResNet.
    """
    vision_width, text_width = (768, 512) if wide else (64, 64)
    vision = {"image_size": 32, "layers": 2, "width": vision_width, "head_width": 64, "patch_size": 16}
    if wide is None:
        vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64}
    config = {
        "embed_dim": embed, "quick_gelu": True, "vision_cfg": vision,
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": text_width, "heads": text_width // 64,
                     "layers": 2},
    }  # fmt: skip
    folder.mkdir()
    torch.manual_seed(seed)
    # OpenAI's files are in half precision, and hosts round what is not
    weights = open_clip.CLIP(**config).state_dict()
    weights = {key: value.half().float() if value.is_floating_point() else value for key, value in weights.items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    preprocess = {"mean": MEAN, "std": STD}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    torch.save(weights, folder / "openai.pt")
    return folder


class Host:
    """One host's checkout and how to run it."""

    def __init__(self, name, students, teacher, data_root, folder, other_checkout=None):
        variable, file, self.model, wide, self.pretend_gpu, self.keys = HOSTS[name]
        variable = other_checkout or variable
        self.plug = f"with_dho(trainers.{file}.{name})"
        self.hosts_teacher = str(students[2])
        self.checkout = os.environ.get(f"DHO_PROMPT_{variable}")
        if not self.checkout:
            pytest.skip(f"DHO_PROMPT_{variable} is not set")
        if find_spec("dassl") is None:
            pytest.skip("dassl cannot be imported")
        if name.startswith(("MaPLe", "PromptSRC")) and not cpu_runs_float16():
            pytest.skip(f"{name} runs in float16 only, which this torch has not on the CPU")
        self.name, self.student, self.teacher, self.data, self.folder = name, students[wide], teacher, data_root, folder

    prints_to_log = in_place = False

    def command(self, trainer, output, *flags, pretend_gpu=None, opts=None, script=""):
        settings = {
            "checkout": self.checkout,
            "plug": self.plug,
            "models": {str(self.student): str(self.student / "openai.pt")},
            "hosts_teacher": self.hosts_teacher,
            "pretend_gpu": self.pretend_gpu if pretend_gpu is None else pretend_gpu,
            "script": script,
            "in_place": self.in_place,
        }
        (self.folder / "settings.json").write_text(json.dumps(settings))
        fixed = {
            "DATASET.NAME": "ImageNet", "DATASET.NUM_SHOTS": 2, "DATALOADER.TRAIN_X.BATCH_SIZE": 4,
            "DATALOADER.NUM_WORKERS": 0, "INPUT.SIZE": (32, 32), "INPUT.INTERPOLATION": "bicubic",
            "INPUT.TRANSFORMS": ("random_resized_crop", "random_flip", "normalize"),
            "INPUT.PIXEL_MEAN": MEAN, "INPUT.PIXEL_STD": STD, "MODEL.BACKBONE.NAME": str(self.student),
            "OPTIM.NAME": "sgd", "OPTIM.LR": 0.002, "OPTIM.MAX_EPOCH": EPOCHS, "OPTIM.LR_SCHEDULER": "cosine",
            "OPTIM.WARMUP_EPOCH": 1, "OPTIM.WARMUP_TYPE": "constant", "TRAIN.PRINT_FREQ": 1,
            "TRAINER.DHO.TEACHER.NAME": self.teacher, "TRAINER.DHO.TEACHER.TEMPLATES": ("a photo of a {}.",),
            **{f"TRAINER.{key}": value for key, value in self.keys.items()}, **(opts or {}),
        }  # fmt: skip
        arguments = ["--root", self.data, "--seed", "1", "--trainer", trainer, "--output-dir", self.folder / output]
        pairs = [str(word) for pair in fixed.items() for word in pair]
        driver = [sys.executable, TESTS / "host_driver.py", self.folder / "settings.json"]
        return [str(word) for word in (*driver, *arguments, *flags)] + pairs

    def environment(self):
        path = os.pathsep.join([str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
        return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "DHO_PROMPT_ENGINE": "dassl"}

    def run(self, trainer, output, *flags, fails=False, **more):
        """Run to the end; returns what it printed."""
        done = subprocess.run(
            self.command(trainer, output, *flags, **more), env=self.environment(), cwd=self.folder,
            capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stdout[-3000:] + done.stderr[-3000:]
        logs = sorted((self.folder / output).glob("log.txt*"), key=os.path.getmtime) if self.prints_to_log else []
        return done.stderr if fails else done.stdout + "".join(log.read_text() for log in logs[-1:])  # DePT's way

    def killed_run(self, trainer, output, **more):
        """Kill the run when the second epoch's files are there."""
        process = subprocess.Popen(
            self.command(trainer, output, **more), env=self.environment(), cwd=self.folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        wanted = self.folder / output / "kd_head" / "model.pth.tar-2"
        while process.poll() is None and not wanted.exists():
            time.sleep(0.002)
        assert process.poll() is None, process.communicate()[1][-3000:]
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def saved(self, output, epoch=EPOCHS):
        """The flags that evaluate a run."""
        return "--eval-only", "--model-dir", str(self.folder / output), "--load-epoch", str(epoch)

    def weights(self, output, model=None, epoch=EPOCHS):
        path = self.folder / output / (model or self.model) / f"model.pth.tar-{epoch}"
        return load_checkpoint(str(path), weights=True)["state_dict"]


def same(first, second):
    """Names of the entries that are not equal bit for bit."""
    assert first.keys() == second.keys() and first
    return [key for key in first if not torch.equal(first[key], second[key])]


def log_lines(printed):
    lines = [line for line in printed.splitlines() if line.startswith(("epoch [", "* ", "=> "))]
    return [re.sub(r"(time|data) [\d.]+ \([\d.]+\)|eta [\d:]+", "", line) for line in lines]


def check_killed_and_resumed_and_evaluated(host, trainer):
    """A run that is killed ends as an uninterrupted one does, learning rates included; evaluation finds its result."""
    whole = host.run(trainer, "whole")
    lines = [line for line in log_lines(whole) if line.startswith("epoch")]
    losses = [float(line.split("loss_kd_u ")[1].split()[0]) for line in lines]
    assert len(losses) == EPOCHS * 2 and all(0 < loss < 100 for loss in losses)
    rates = [re.search(r"lr (\S+)", line).group(1) for line in lines if "batch [1/2]" in line]
    cosine = [0.001 * (1 + math.cos(math.pi * epoch / EPOCHS)) for epoch in range(EPOCHS - 1)]
    assert rates == [f"{rate:.4e}" for rate in (1e-5, *cosine)]  # one epoch of warm-up, then from the start
    host.killed_run(trainer, "torn")
    resumed = host.run(trainer, "torn")
    assert "Previous epoch: 2" in resumed or "Previous epoch: 3" in resumed
    for model in (None, "kd_head"):
        assert same(host.weights("whole", model), host.weights("torn", model)) == []
    tail = [line for line in log_lines(resumed) if line.startswith("epoch")]
    current = [re.sub(r"\([^)]*\)", "", line) for line in (*lines[-len(tail) :], *tail)]
    assert tail and current[: len(tail)] == current[len(tail) :]
    results = [json.loads((host.folder / run / "results.json").read_text()) for run in ("whole", "torn")]
    assert results[0]["accuracy"] == results[1]["accuracy"]
    evaluated = host.run(trainer, "evaluated", *host.saved("whole"))
    assert log_lines(evaluated) == [line for line in log_lines(whole) if line[0] in "*="]
