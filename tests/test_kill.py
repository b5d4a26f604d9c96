"""A run killed at any moment resumes to the weights of an uninterrupted one, bit for bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
EPOCHS = 12
OPTIONS = (
    "OPTIM.MAX_EPOCH", EPOCHS, "OPTIM.WARMUP_EPOCH", "3", "OPTIM.WARMUP_TYPE", "linear",
    "DATALOADER.TRAIN_X.BATCH_SIZE", "4", "TRAIN.COUNT_ITER", "train_u",
)  # fmt: skip


def start(arguments):
    command = [sys.executable, "-m", "dho_prompt.train", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def newest_epoch(folder):
    saved = [int(path.name.split("-")[1]) for path in folder.glob("prompt_learner/model.pth.tar-*")]
    return max(saved, default=0)


def run_with_kills(arguments, folder, draw):
    """Kill shortly after a new checkpoint appears (so that progress is made), at a random point of the next epoch."""
    kills = 0
    while True:
        before, process = newest_epoch(folder), start(arguments)
        target = before + draw.randint(1, 3)
        while process.poll() is None and newest_epoch(folder) < min(target, EPOCHS):
            time.sleep(0.002)
        time.sleep(draw.random() * 0.06)
        if process.poll() is None and kills < 4:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        return kills


def states(folder):
    for model in ("prompt_learner", "kd_head"):
        checkpoint = torch.load(folder / model / f"model.pth.tar-{EPOCHS}", weights_only=True)
        yield from checkpoint["state_dict"].values()
        for slot in checkpoint["optimizer"]["state"].values():
            yield from (value for value in slot.values() if torch.is_tensor(value))


def test_killed_runs_end_with_the_same_bits(train_args, tmp_path):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    process = start(train_args("CoOpDHO", *OPTIONS, output=whole))
    _, errors = process.communicate()
    assert process.returncode == 0, errors

    kills = run_with_kills(train_args("CoOpDHO", *OPTIONS, output=torn), torn, random.Random(0))
    assert kills >= 2
    pairs = list(zip(states(whole), states(torn)))
    assert len(pairs) >= 6 and all(torch.equal(first, second) for first, second in pairs)
    results = [json.loads((folder / "results.json").read_text()) for folder in (whole, torn)]
    assert results[0]["accuracy"] == results[1]["accuracy"]
    names = [sorted(path.name for path in (folder / "kd_head").iterdir()) for folder in (whole, torn)]
    assert names[0] == names[1] == ["checkpoint", f"model.pth.tar-{EPOCHS}"]
