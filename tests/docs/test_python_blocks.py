"""Every Python example on the pages runs; one that no rule here is for fails."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from host_data import picture

import dho_prompt
from dho_prompt.engine import TRAINER_REGISTRY, get_cfg_default
from dho_prompt.hosts.with_dho import with_dho
from page_blocks import REPOSITORY, blocks
from stand_in_hosts import HostBase

EXAMPLES = blocks("python", "py")
ELSEWHERE = {  # which run the page's text
    "docs/new_method.md": "tests/training/test_new_method.py",
    "docs/python.md": "tests/api/test_python_page.py",
}


class NetTrainer(HostBase):
    """A host whose model has other names."""


def host(block, *_):
    """The two lines in a host's train.py."""
    own = type(f"CoOp{block.line}", (HostBase,), {})  # ours may be registered under CoOp's name
    cfg, trainers = get_cfg_default(), SimpleNamespace(coop=SimpleNamespace(CoOp=own))
    exec(block.text, {"trainers": trainers, "cfg": cfg})
    assert f"{own.__name__}DHO" in TRAINER_REGISTRY.registered_names()
    if "extend_cfg" in block.text:
        assert cfg.TRAINER.DHO.LAMBDA == 0.5


def adapter(block, *_):
    """An adapter for a host with other names."""
    found = {"with_dho": with_dho, "NetTrainer": NetTrainer}
    exec(block.text, found)
    assert found["NetAdapter"]("net").features((1, 2)) == 1


def loss(block, *_):
    """The loss and the mix by themselves."""
    found = {}
    exec(block.text, found)
    assert found["kd_head"].weight.grad.abs().sum() > 0
    assert torch.allclose(found["probabilities"].sum(dim=1), torch.ones(6))


def face(block, monkeypatch, tmp_path):
    """Training and predicting, with the small models and for one epoch."""
    for label, name in enumerate(("cat", "dog")):
        for part, count in (("train", 3), ("test", 2)):
            for number in range(count):
                picture(tmp_path / "my_images" / part / name / f"{number}.png", label, number)
    for name in ("one", "two"):
        picture(tmp_path / "new" / f"{name}.jpg", 0, 0)
    monkeypatch.chdir(tmp_path)
    small = partial(dho_prompt.fit, recipe="digits", settings={"OPTIM.MAX_EPOCH": 1})
    monkeypatch.setattr(dho_prompt, "fit", small, raising=False)
    found = {}
    exec(block.text, found)
    assert set(found["run"].accuracy["test"]) >= {"blend", "ce", "kd"}
    assert len(found["found"].names) == 2 and set(found["found"].names) <= {"cat", "dog"}
    assert {"blend", "ce", "kd"} <= set(found["found"].probabilities)


RULES = {
    "import Predictor, fit": face,
    "dho_prompt.with_dho(trainers.": host,
    "class NetAdapter(Adapter)": adapter,
    "DHOLoss(lam=": loss,
}


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_examples(block, monkeypatch, tmp_path):
    if block.page in ELSEWHERE:
        assert Path(block.page).name in (REPOSITORY / ELSEWHERE[block.page]).read_text()
        return
    (rule,) = [rule for text, rule in RULES.items() if text in block.text]
    rule(block, monkeypatch, tmp_path)


def test_the_rules_are_used():
    assert all(any(text in block.text for block in EXAMPLES) for text in RULES)
