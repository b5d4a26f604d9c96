"""A method that only this file knows: its module, its configuration node, its trainer and its recipe, run with DHO."""

import json

import pytest
import torch
from torch import nn

from dho_prompt import config
from dho_prompt.config import PRECISIONS, Setting, declare, extend_cfg
from dho_prompt.config.ranges import SHARE, Whole
from dho_prompt.engine import TRAINER_REGISTRY, get_cfg_default, register_trainer
from dho_prompt.methods.base import Method
from dho_prompt.report import main as report
from dho_prompt.train import main
from dho_prompt.training.build import prompt_templates
from dho_prompt.training.method_trainer import MethodTrainer

# the method, with its node (a file of dho_prompt/methods)

NODE = {
    "PREC": Setting("fp32", "of the frozen tower", PRECISIONS),
    "WIDTH": Setting(4, "hidden units", Whole(1, 4096)),
    "SHARE": Setting(0.2, "of the adapted features", SHARE),
    "ACTIVATION": Setting("relu", "between the layers", ("relu", "gelu")),
}


@pytest.fixture(autouse=True)
def node(monkeypatch):
    """Declared as a module of the package declares its own, which all do before; forgotten after the test."""
    monkeypatch.setattr(config, "_DECLARED", config.declared())
    declare("TRAINER.BOTTLENECK", NODE)


class BottleneckMethod(Method):
    """A small network on the image features, mixed with them; the classes are fixed text features."""

    def __init__(self, student, texts, width, share, activation):
        super().__init__(student)
        self.register_buffer("texts", texts)
        act = {"relu": nn.ReLU, "gelu": nn.GELU}[activation]()
        self.layers = nn.Sequential(nn.Linear(student.embed_dim, width), act, nn.Linear(width, student.embed_dim))
        self.share = share

    def trainable(self):
        return {"bottleneck": self.layers}

    def encode_image(self, images):
        features = self.student(images).float()
        return (1 - self.share) * features + self.share * self.layers(features)

    def logits(self, features):
        return nn.functional.normalize(features, dim=-1) @ self.texts.t() / self.student.zeta


# the trainer (a file of trainers/)


class Bottleneck(MethodTrainer):
    node = "BOTTLENECK"

    def method(self, student, classnames):
        node = self.cfg.TRAINER.BOTTLENECK
        texts = student.text_features(classnames, prompt_templates(self.cfg))
        return BottleneckMethod(student, texts, node.WIDTH, node.SHARE, node.ACTIVATION)


@register_trainer
class BottleneckDHO(Bottleneck):
    distils = True


# the recipe (a file of configs/trainers)

RECIPE = """
OPTIM:
  LR: 0.05
TRAINER:
  BOTTLENECK:
    WIDTH: 6
    SHARE: 0.5
  DHO:
    LAMBDA: 0.3
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "bottleneck.yaml"
    path.write_text(RECIPE)
    return ["--config-file", str(path)]


def test_it_trains_with_dho_resumes_and_stands_in_a_table(train_args, recipe, tmp_path, capsys):
    if "Bottleneck" not in TRAINER_REGISTRY.registered_names():
        TRAINER_REGISTRY._do_register("Bottleneck", Bottleneck)
    sets = ("OPTIM.LR", "0.05", "TEST.SHIFTED_SETS", "('ImageNet',)")
    for trainer in ("Bottleneck", "BottleneckDHO"):
        main(recipe + train_args(trainer, *sets, output=tmp_path / trainer))
    results = json.loads((tmp_path / "BottleneckDHO" / "results.json").read_text())
    assert set(results["accuracy"]) == {"test", "ImageNet"} and results["accuracy"]["test"]["images"] > 0
    assert set(results["accuracy"]["test"]) == {"blend", "ce", "kd", "images"}
    assert results["config"]["TRAINER"]["BOTTLENECK"]["WIDTH"] == 6 and results["mix"]["alpha"] == 0.5
    printed = capsys.readouterr().out
    assert "loss_kd_u" in printed and "loss_ce" in printed
    saved = torch.load(tmp_path / "BottleneckDHO" / "bottleneck" / "model.pth.tar-3", weights_only=True)["state_dict"]
    assert saved["0.weight"].shape == (6, 32) and (tmp_path / "BottleneckDHO" / "kd_head").is_dir()
    report([str(tmp_path / "Bottleneck"), str(tmp_path / "BottleneckDHO")])
    assert "gain by BottleneckDHO" in capsys.readouterr().out


def test_what_its_node_does_not_allow_is_refused(train_args, recipe):
    with pytest.raises(SystemExit, match="TRAINER.BOTTLENECK.ACTIVATION is 'tanh'; allowed are relu, gelu"):
        main(recipe + train_args("BottleneckDHO", "TRAINER.BOTTLENECK.ACTIVATION", "tanh"))
    with pytest.raises(SystemExit, match="TRAINER.BOTTLENECK.WIDTH is 0; it takes a whole number from 1 to 4096"):
        main(recipe + train_args("BottleneckDHO", "TRAINER.BOTTLENECK.WIDTH", "0"))
    with pytest.raises(SystemExit, match="unknown configuration key TRAINER.BOTTLENECK.WIDHT.*WIDTH"):
        main(recipe + train_args("BottleneckDHO", "TRAINER.BOTTLENECK.WIDHT", "3"))


def test_a_key_has_one_declaration():
    assert extend_cfg(get_cfg_default()).TRAINER.BOTTLENECK.SHARE == 0.2
    with pytest.raises(ValueError, match="TRAINER.BOTTLENECK.WIDTH is declared twice"):
        declare("TRAINER.BOTTLENECK", {"WIDTH": Setting(5, "other")})
