"""Our own trainer in a checkout of CoOp, and the checkout's own data sets and checkpoints (:mod:`real_hosts`)."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from host_data import write_data_set, write_imagenet_family
from real_hosts import EPOCHS, check_killed_and_resumed_and_evaluated

from dho_prompt.engine import load_checkpoint
from dho_prompt.engine.checkpoint import UnreadableCheckpoint

REPOSITORY = Path(__file__).resolve().parents[1]
coop_only = pytest.mark.parametrize("name", ["CoOp"])
EPOCH = {"OPTIM.MAX_EPOCH": 1, "OPTIM.WARMUP_EPOCH": 0}


@pytest.fixture
def own(host, tmp_path):
    """The checkout, copied, with our trainer in it by two lines of its train.py: ``own(line)``."""

    def prepare(line):
        checkout = tmp_path / "checkout"
        shutil.copytree(host.checkout, checkout, ignore=shutil.ignore_patterns(".git"))
        if "import trainers.coop_dho" in line.replace(", ", "; import "):
            shutil.copy(REPOSITORY / "trainers" / "coop_dho.py", checkout / "trainers")
        script = checkout / "train.py"
        source, merge = script.read_text(), "    extend_cfg(cfg)\n"
        source = source.replace("import trainers.zsclip\n", f"import trainers.zsclip\n{line}\n", 1)
        script.write_text(source.replace(merge, f"{merge}    dho_prompt.extend_cfg(cfg)\n", 1))
        host.checkout, host.plug = str(checkout), ""
        return host

    return prepare


@coop_only
@pytest.mark.parametrize("line", ["import dho_prompt, trainers.coop_dho", "import dho_prompt.trainers.coop_dho"])
def test_our_trainer_in_their_train_py(name, line, own):
    check_killed_and_resumed_and_evaluated(own(line), "CoOpDHO")


# our trainers: file, folder of the first model, keys
OURS = {
    "PromptSRCDHO": ("promptsrc_dho", "VLPromptLearner", {"PROMPTSRC.PREC": "fp32", "PROMPTSRC.GPA_MEAN": 3,
                     "PROMPTSRC.PROMPT_DEPTH_VISION": 2, "PROMPTSRC.PROMPT_DEPTH_TEXT": 2}),
    "VPTDHO": ("vpt_dho", "prompt_learner", {"VPT.PREC": "fp32", "VPT.PROMPT_DEPTH_VISION": 2}),
    "LinearProbeDHO": ("linear_probe_dho", "ce_head", {"LINEAR_PROBE.PREC": "fp32"}),
}  # fmt: skip


@pytest.mark.parametrize("name", ["CoOp", "PromptSRC"])
@pytest.mark.parametrize("trainer", OURS)
def test_our_other_trainers_in_their_train_py(name, trainer, own):
    file, model, keys = OURS[trainer]
    host = own(f"import dho_prompt.trainers.{file}")
    host.model, host.keys, host.pretend_gpu = model, keys, False
    check_killed_and_resumed_and_evaluated(host, trainer)


@coop_only
@pytest.mark.parametrize("dataset", ["StanfordCars", "FGVCAircraft", "EuroSAT"])
@pytest.mark.parametrize("whose", ["theirs", "ours"])
def test_their_data_sets(name, dataset, whose, host, own, tmp_path):
    write_data_set(tmp_path / "data", dataset)
    host.data = str(tmp_path / "data")
    if whose == "ours":
        own("import dho_prompt.trainers.coop_dho")
    opts = {**EPOCH, "DATASET.NAME": dataset, "TRAINER.DHO.TEACHER.TEMPLATES": "()"}
    host.run("CoOpDHO", "run", opts=opts)
    result = json.loads((host.folder / "run" / "results.json").read_text())
    assert result["split"]["labelled"] == 3 * 2 and result["split"]["unlabelled"] == 3 * 4
    assert result["accuracy"]["test"]["images"] == 3 * 3


@coop_only
def test_base_to_new(name, host, tmp_path):
    """A KD head has no rows for new classes; the prompts do without it, here and in the host's own trainer."""
    write_data_set(tmp_path / "data", "EuroSAT")
    host.data = str(tmp_path / "data")
    opts = {**EPOCH, "DATASET.NAME": "EuroSAT", "DATASET.SUBSAMPLE_CLASSES": "base"}
    host.run("CoOpDHO", "base", opts=opts)
    result = json.loads((host.folder / "base" / "results.json").read_text())
    assert result["split"]["unlabelled"] == 2 * 4 and result["accuracy"]["test"]["images"] == 2 * 3
    opts["DATASET.SUBSAMPLE_CLASSES"] = "new"
    message = host.run("CoOpDHO", "new", *host.saved("base", 1), fails=True, opts=opts)
    assert "was trained on 2 classes" in message and "TRAINER.DHO.ALPHA 1.0" in message
    for trainer in ("CoOp", "CoOpDHO"):
        printed = host.run(trainer, f"new_{trainer}", *host.saved("base", 1), opts={**opts, "TRAINER.DHO.ALPHA": 1.0})
        assert "* total: 3" in printed
    found = json.loads((host.folder / "new_CoOpDHO" / "evaluation.json").read_text())
    assert "kd" not in found["accuracy"]["test"]


@coop_only
@pytest.mark.parametrize("whose", ["theirs", "ours"])
def test_imagenets_relatives(name, whose, host, own, tmp_path):
    write_imagenet_family(tmp_path / "data")
    host.data = str(tmp_path / "data")
    if whose == "ours":
        own("import dho_prompt.trainers.coop_dho")
    opts = {**EPOCH, "DATASET.NUM_SHOTS": 1, "DATALOADER.TRAIN_X.BATCH_SIZE": 500, "DATALOADER.TEST.BATCH_SIZE": 500}
    whole = host.run("CoOpDHO", "run", opts=opts)
    assert "* total: 1,000" in whole
    for dataset, total in (("V2", "1,000"), ("Sketch", "1,000"), ("A", "200"), ("R", "200")):
        more = {**opts, "DATASET.NAME": f"ImageNet{dataset}"}
        printed = host.run("CoOpDHO", f"on_{dataset}", *host.saved("run", 1), opts=more)
        assert re.search(r"\* total: ([\d,]+)", printed).group(1) == total
        assert ("kd_head" in printed and f"rows of {total} of its 1000 classes" in printed) == (total == "200")


@coop_only
def test_checkpoints_of_an_older_torch(name, host):
    """Files that the host alone wrote after a warm-up, where Dassl still pickles its live schedule into them.

    DHO_PROMPT_OLD_PYTHON names an interpreter with torch below 2.6.
    """
    if not os.environ.get("DHO_PROMPT_OLD_PYTHON"):
        pytest.skip("DHO_PROMPT_OLD_PYTHON is not set")
    command = host.command("CoOp", "old")
    command[0] = os.environ["DHO_PROMPT_OLD_PYTHON"]
    old = subprocess.run(command, env=host.environment(), cwd=host.folder, capture_output=True, text=True)
    assert old.returncode == 0, old.stderr[-3000:]
    accuracy = re.search(r"\* accuracy: [\d.]+%", old.stdout).group()
    path = host.folder / "old" / "prompt_learner" / f"model.pth.tar-{EPOCHS}"
    with pytest.raises(UnreadableCheckpoint, match="other than tensors"):
        load_checkpoint(str(path))

    ours = [sys.executable, "-m", "dho_prompt.train"]
    evaluate = [*ours, *host.saved("old"), *host.command("CoOp", "evaluated")[3:]]
    done = subprocess.run(evaluate, env=host.environment(), cwd=host.folder, capture_output=True, text=True)
    assert accuracy in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    assert accuracy in host.run("CoOpDHO", "alone", *host.saved("old"), opts={"TRAINER.DHO.ALPHA": 1.0})
    assert "kd_head" in host.run("CoOpDHO", "mixed", *host.saved("old"), fails=True)

    start = {**EPOCH, "MODEL.INIT_WEIGHTS": path, "OPTIM.LR": 0.0}
    host.run("CoOpDHO", "theirs", opts=start)
    train = [*ours, *host.command("CoOpDHO", "ours", opts=start)[3:]]
    subprocess.run(train, env=host.environment(), cwd=host.folder, capture_output=True, check=True)
    context = host.weights("old")["ctx"]
    for output in ("theirs", "ours"):
        assert torch.equal(host.weights(output, epoch=1)["ctx"], context)
