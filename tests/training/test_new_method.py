"""A method that only docs/new_method.md knows: its module, its configuration node, its trainer; run with DHO."""

import json
import re
from pathlib import Path

import pytest
import torch

from dho_prompt import config
from dho_prompt.config import Setting, declare, extend_cfg
from dho_prompt.engine import TRAINER_REGISTRY, get_cfg_default
from dho_prompt.report import main as report
from dho_prompt.train import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "new_method.md"
NODE = "TRAINER.BOTTLENECK."
known = config.declared()  # every other part declares its own first
written = {"__name__": "new_method"}
exec(re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[1], written)
declared = {key: config._DECLARED.pop(key) for key in list(config._DECLARED) if key.startswith(NODE)}
Bottleneck = written["Bottleneck"]


@pytest.fixture(autouse=True)
def node(monkeypatch):
    """Forgotten after the test."""
    monkeypatch.setattr(config, "_DECLARED", {**config.declared(), **declared})


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
    assert len(declared) == 4 and not set(declared) & set(known)
    assert extend_cfg(get_cfg_default()).TRAINER.BOTTLENECK.SHARE == 0.2
    with pytest.raises(ValueError, match="TRAINER.BOTTLENECK.WIDTH is declared twice"):
        declare("TRAINER.BOTTLENECK", {"WIDTH": Setting(5, "other")})
