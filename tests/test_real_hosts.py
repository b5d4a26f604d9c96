"""The plug-in inside checkouts of CoOp, PromptSRC, MaPLe and KDPL on the real Dassl, run as their users run them.

Set DHO_PROMPT_COOP, DHO_PROMPT_PROMPTSRC, DHO_PROMPT_MAPLE and DHO_PROMPT_KDPL to the folders that hold their
train.py, and PYTHONPATH so that ``dassl`` can be imported; what is not set is skipped. The hosts run in processes of
their own, on tiny random CLIPs in OpenAI's format, on the CPU.
"""

import json
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

from dho_prompt.engine import load_checkpoint
from tests_support import MEAN, STD

TESTS = Path(__file__).resolve().parent
EPOCHS = 4

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
every_host = pytest.mark.parametrize("name", HOSTS)


@pytest.fixture(scope="session")
def students(tmp_path_factory):
    """Folders and OpenAI-format files of three tiny CLIPs: narrow, wide, and narrow with other weights."""
    return [openai_clip(tmp_path_factory.mktemp("student") / "clip", wide, seed) for wide, seed in
            ((False, 3), (True, 3), (False, 4))]  # fmt: skip


def openai_clip(folder, wide, seed):
    vision_width, text_width = (768, 512) if wide else (64, 64)
    config = {
        "embed_dim": 64, "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": vision_width, "head_width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": text_width, "heads": text_width // 64,
                     "layers": 2},
    }  # fmt: skip
    folder.mkdir()
    torch.manual_seed(seed)
    # OpenAI's files are in half precision, and hosts round what is not
    weights = {key: value.half().float() for key, value in open_clip.CLIP(**config).state_dict().items()}
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
        self.name, self.student, self.teacher, self.data, self.folder = name, students[wide], teacher, data_root, folder

    def command(self, trainer, output, *flags, pretend_gpu=None, opts=None, script=""):
        settings = {
            "checkout": self.checkout,
            "plug": self.plug,
            "models": {str(self.student): str(self.student / "openai.pt")},
            "hosts_teacher": self.hosts_teacher,
            "pretend_gpu": self.pretend_gpu if pretend_gpu is None else pretend_gpu,
            "script": script,
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
        return done.stderr if fails else done.stdout

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

    def weights(self, output, model=None):
        path = self.folder / output / (model or self.model) / f"model.pth.tar-{EPOCHS}"
        return load_checkpoint(str(path), weights=True)["state_dict"]


@pytest.fixture
def host(name, students, teacher_clip, data_root, tmp_path):
    return Host(name, students, teacher_clip, data_root, tmp_path)


def same(first, second):
    """Names of the entries that are not equal bit for bit."""
    assert first.keys() == second.keys() and first
    return [key for key in first if not torch.equal(first[key], second[key])]


def log_lines(printed):
    lines = [line for line in printed.splitlines() if line.startswith(("epoch [", "* ", "=> "))]
    return [re.sub(r"(time|data) [\d.]+ \([\d.]+\)|eta [\d:]+", "", line) for line in lines]


@every_host
def test_switched_off_it_is_the_host_alone(name, host):
    plain_schedule = {"OPTIM.WARMUP_EPOCH": -1}  # Dassl's warm-up does not build on today's torch
    alone = host.run(name, "alone", opts=plain_schedule)
    off = {"TRAINER.DHO.LAMBDA": 1.0, "TRAINER.DHO.ALPHA": 1.0, **plain_schedule}
    dho = host.run(f"{name}DHO", "dho", opts=off)
    assert same(host.weights("alone"), host.weights("dho")) == []
    lines = log_lines(alone)
    assert lines == log_lines(dho) and len(lines) >= EPOCHS * 2 + 5 and "loss" in lines[0]


GRADIENTS = """
import sys
from types import SimpleNamespace

host, folder, *opts = sys.argv[1:]
names = ("resume", "source_domains", "target_domains", "transforms", "backbone", "head", "config_file",
         "dataset_config_file")
LAM = 0.5

def built(name, output):
    args = SimpleNamespace(**dict.fromkeys(names), root=opts[1], seed=1, trainer=name, output_dir=folder + output,
                           opts=opts[opts.index("DATASET.NAME"):])
    set_random_seed(1)
    trainer = build_trainer(setup_cfg(args))
    trainer.epoch, trainer.batch_idx, trainer.num_batches = 0, 0, 9
    trainer.set_model_mode("train")
    trainer.groups = trainer.optim.param_groups
    trainer.seen = []
    trainer.optim.register_step_pre_hook(lambda *_: trainer.seen.extend(
        torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in trained(trainer)))
    return trainer

def trained(trainer):
    return [p for group in trainer.groups for p in group["params"] if p.requires_grad]

def features(model, images):
    found, labels = [], torch.zeros(len(images), dtype=torch.long)
    handle = model.image_encoder.register_forward_hook(lambda module, args, output: found.append(output))
    try:
        model(images, labels)
    except TypeError:  # CoOp's takes images alone
        model(images)
    handle.remove()
    return found[0]

def kl(teacher, student):
    p, q = (torch.log_softmax(logits.double() / 2, -1) for logits in (teacher, student))
    return 4 * (p.exp() * (p - q)).sum(-1).mean()

plugged = built(host + "DHO", "plugged")
plugged.before_train()
plugged.set_model_mode("train")
batch = next(iter(plugged.train_loader_x))
weight, kd = plugged.kd_head.weight, 0
for end in ("", "_u"):
    z = features(plugged.adapter.model(plugged), batch["img" + end]).float()
    student = torch.nn.functional.cosine_similarity(z[:, None], weight[None], dim=-1) / plugged.kd_head.zeta
    kd = kd + kl(plugged.teacher(batch["img_teacher" + end]), student)
wanted_kd = torch.autograd.grad(kd, [weight, *trained(plugged)], allow_unused=True)
head = []
plugged._optims["kd_head"].register_step_pre_hook(lambda *_: head.append(weight.grad.clone()))
summary = plugged.forward_backward(batch)

alone = built(host, "alone")
losses = alone.forward_backward(batch)
worst, size, share = 0.0, 0.0, 0.0
for got, plain, extra in zip(plugged.seen, alone.seen, wanted_kd[1:]):
    wanted = LAM * plain.double() + (0 if extra is None else (1 - LAM) * extra.double())
    worst, size = max(worst, (got - wanted).abs().max().item()), max(size, wanted.abs().max().item())
    share = max(share, 0 if extra is None else extra.abs().max().item())
head_error = (head[0] - (1 - LAM) * wanted_kd[0]).abs().max() / wanted_kd[0].abs().max()
assert len(plugged.seen) == len(alone.seen) > 0 and all(summary[key] == losses[key] for key in losses)
print("measured:", worst / size, head_error.item(), share / size)
"""


@every_host
def test_gradients_are_the_weighted_sum(name, host):
    """lambda * (the host alone) + (1 - lambda) * (KD by a plain formula, through the host's own forward)."""
    schedule = {"OPTIM.WARMUP_EPOCH": -1, "TRAINER.DHO.LAMBDA": 0.5}
    command = host.command(name, "run", opts=schedule, script=GRADIENTS)
    command[3:3] = [name, str(host.folder) + os.sep]
    done = subprocess.run(command, env=host.environment(), cwd=host.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    error, head_error, share = (float(word) for word in done.stdout.split("measured: ")[1].split())
    print(f"{name}: gradients {error:.1e}, head {head_error:.1e}, share of KD {share:.2f}")
    tower_is_trained = not name.startswith(("CoOp", "CoCoOp"))
    assert (share > 0.01) == tower_is_trained
    # in fp32 too, IVLP and VPT round what flows through their prompts to half precision (2 ** -11)
    half = name.startswith(("MaPLe", "PromptSRC"))
    assert error < (5e-3 if half else 1e-3 if tower_is_trained else 1e-6)
    assert head_error < (5e-3 if half else 1e-5)


@every_host
def test_killed_and_resumed_and_evaluated(name, host):
    trainer = f"{name}DHO"
    whole = host.run(trainer, "whole")
    lines = [line for line in log_lines(whole) if line.startswith("epoch")]
    losses = [float(line.split("loss_kd_u ")[1].split()[0]) for line in lines]
    assert len(losses) == EPOCHS * 2 and all(0 < loss < 100 for loss in losses)
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
    flags = ("--eval-only", "--model-dir", str(host.folder / "whole"), "--load-epoch", str(EPOCHS))
    evaluated = host.run(trainer, "evaluated", *flags)
    assert log_lines(evaluated) == [line for line in log_lines(whole) if line[0] in "*="]
    if name == "CoOp":
        half = {"DATASET.SUBSAMPLE_CLASSES": "base"}
        message = host.run(trainer, "half", *flags, fails=True, opts=half)
        assert "was trained on 5 classes" in message


@pytest.mark.parametrize("name", ["PromptSRC", "VPT"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_hosts_that_call_for_a_gpu_say_so(name, host):
    message = host.run(f"{name}DHO", "run", pretend_gpu=False, fails=True)
    assert f"ValueError: {name} moves tensors to a GPU in its own code" in message


@pytest.mark.parametrize("name, precision", [("PromptSRC", "fp32"), ("MaPLe", "fp32"), ("VPT", "amp")])
def test_precisions_that_the_hosts_code_cannot_run_are_refused(name, precision, host):
    key = f"{name.upper()}.PREC"
    host.keys = {**host.keys, key: precision}
    message = host.run(f"{name}DHO", "run", fails=True)
    assert f"TRAINER.{key} is '{precision}', in which the host's own code does not run" in message


@pytest.mark.parametrize("name, precision", [("CoOp", "fp16"), ("CoOp", "amp"), ("CoCoOp", "fp16"), ("IVLP", "fp16")])
def test_other_precisions_run(name, precision, host):
    """On the CPU GradScaler and CUDA's autocast are switched off, so amp computes in float32."""
    host.keys = {**host.keys, f"{name.upper()}.PREC": precision}
    printed = host.run(f"{name}DHO", "run", opts={"OPTIM.MAX_EPOCH": 2, "OPTIM.LR": 0.0001})
    losses = [float(line.split("loss_kd_u ")[1].split()[0]) for line in printed.splitlines() if "loss_kd_u" in line]
    assert len(losses) == 4 and all(0 < loss < 100 for loss in losses)


@pytest.mark.parametrize("name", ["CoOp"])
def test_checkpoints_of_coop_go_both_ways(name, host):
    """Between the host's CoOp and our own, which computes the same logits another way."""
    schedule = {"OPTIM.WARMUP_EPOCH": -1}
    theirs = host.run(name, "theirs", opts=schedule)
    accuracy = re.search(r"\* accuracy: [\d.]+%", theirs).group()
    opts = host.command("CoOp", "ours", opts=schedule)[3:]
    flags = ["--eval-only", "--model-dir", str(host.folder / "theirs"), "--load-epoch", str(EPOCHS)]
    run = [sys.executable, "-m", "dho_prompt.train"]
    done = subprocess.run([*run, *flags, *opts], env=host.environment(), capture_output=True, text=True)
    assert accuracy in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    done = subprocess.run([*run, *opts], env=host.environment(), capture_output=True, text=True)
    accuracy = re.search(r"\* accuracy: [\d.]+%", done.stdout).group()
    flags[2] = str(host.folder / "ours")
    assert accuracy in host.run(name, "back", *flags, opts=schedule)


COMPARE = """
import json, sys
import torch
settings, folder = sys.argv[1:]
settings = json.load(open(settings))
sys.path.insert(0, settings["checkout"])
torch.manual_seed(0)
from clip import clip as their_clip
from dassl.config import get_cfg_default
from dho_prompt import extend_cfg
from dho_prompt.clip.loading import load_clip
from dho_prompt.methods.coop import CoOpMethod
from trainers.coop import CustomCLIP
names = ["tench", "great white shark", "red_panda", "crt screen", "carbonara"]
largest = [0.0, 0.0]
for position in ("end", "middle", "front"):
    for init in ("", "a photo of a"):
        for csc in (False, True):
            cfg = extend_cfg(get_cfg_default())
            cfg.INPUT.SIZE = (32, 32)
            cfg.TRAINER.COOP.N_CTX, cfg.TRAINER.COOP.CSC, cfg.TRAINER.COOP.CTX_INIT = 4, csc, init
            cfg.TRAINER.COOP.CLASS_TOKEN_POSITION = position
            clip_model = their_clip.build_model(torch.load(folder + "/openai.pt", weights_only=True)).float()
            theirs = CustomCLIP(cfg, names, clip_model).eval()
            ours = CoOpMethod(load_clip(folder), names, 4, init, csc, position).eval()
            ours.prompt_learner.load_state_dict(theirs.prompt_learner.state_dict())
            images = torch.randn(6, 3, 32, 32)
            with torch.no_grad():
                text = theirs.text_encoder(theirs.prompt_learner(), theirs.tokenized_prompts)
                text = text / text.norm(dim=-1, keepdim=True)
                pairs = ((text, ours.text_features()), (theirs(images), ours(images)))
            largest = [max(old, (a - b).abs().max().item()) for old, (a, b) in zip(largest, pairs)]
            mine = ours.prompt_learner.state_dict()
            for key, value in theirs.prompt_learner.state_dict().items():
                assert torch.equal(mine[key], value), key
print("largest", *largest)
"""


@pytest.mark.parametrize("name", ["CoOp"])
def test_our_coop_computes_what_the_hosts_computes(name, host):
    host.command("CoOp", "run")
    command = [sys.executable, "-c", COMPARE, host.folder / "settings.json", host.student]
    done = subprocess.run([str(word) for word in command], env=host.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    text, logits = (float(word) for word in done.stdout.split("largest ")[1].split())
    print(f"text features {text:.1e}, logits {logits:.1e}")
    assert text < 1e-5 and logits < 1e-5 * 20
