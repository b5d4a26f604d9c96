"""Checkouts of other code bases: what is read from their source, and their train.py run with DHO beside it."""

import ast
import sys

import pytest

from dho_prompt.hosts.__main__ import main
from dho_prompt.hosts.checkout import find_script, run_checkout, with_keys
from dho_prompt.hosts.look import ADAPTER, FITS, NOT, look, report

TRAIN = """
from dassl.config import get_cfg_default
from dassl.engine import build_trainer

def extend_cfg(cfg):
    cfg.seen.append("host")

def setup_cfg(args):
    cfg = args
    if True:
        extend_cfg(cfg)
    cfg.seen.append("merge")
    return cfg
"""
STEP = """
    def build_model(self):
        self.model = 1

    def forward_backward(self, batch):
        return {}
"""
TRAINERS = f"""
TOWER = "image_encoder"

@TRAINER_REGISTRY.register()
class Plain(TrainerX):{STEP}

@TRAINER_REGISTRY.register()
class Child(Plain):
    def test(self, split=None):
        return self.looked_at()

    def looked_at(self):
        return self.model_inference(1)

@TRAINER_REGISTRY.register()
class OwnTest(Child):
    def looked_at(self):
        return self.model(1)

@TRAINER_REGISTRY.register()
class PromptKD(OwnTest):
    pass

@TRAINER_REGISTRY.register()
class Super(Plain):
    def test(self, split=None):
        return super().test(split)

@TRAINER_REGISTRY.register()
class OwnEpoch(Plain):
    def run_epoch(self):
        self.batch_idx = self.num_batches = 0

@TRAINER_REGISTRY.register()
class Elsewhere(TrainerX):
    def build_model(self):
        self.net = 1

    def forward_backward(self, batch):
        return {{}}

@TRAINER_REGISTRY.register()
class TwoViews(Plain):
    def parse_batch_train(self, batch):
        input = batch["img"]
        return input[0], input[1]

@TRAINER_REGISTRY.register()
class ForkedDassl(Plain):
    def forward_backward(self, batch):
        self.prograd_backward_and_update(1, 2)

@TRAINER_REGISTRY.register()
class BothLoaders(TrainerXU):{STEP}

@TRAINER_REGISTRY.register()
class Frozen(TrainerX):
    def build_model(self):
        self.model = 1

class Helper(TrainerX):
    pass
"""
HEAD = "from dassl.engine import TRAINER_REGISTRY, TrainerX, TrainerXU\n"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    # what may be imported here does not depend on whether Dassl is installed
    monkeypatch.setattr("dho_prompt.hosts.look.find_spec", lambda name: None if name == "not_there" else name)
    monkeypatch.setenv("DHO_PROMPT_ENGINE", "embedded")  # which the command sets where it is not
    (tmp_path / "code" / "trainers").mkdir(parents=True)
    (tmp_path / "code" / "train.py").write_text(TRAIN)
    (tmp_path / "code" / "trainers" / "many.py").write_text(HEAD + TRAINERS)
    (tmp_path / "code" / "trainers" / "absent.py").write_text(
        f"import not_there.deep\nfrom train import x\n@TRAINER_REGISTRY.register()\nclass Absent(TrainerX):{STEP}\n"
    )
    (tmp_path / "code" / "trainers" / "towerless.py").write_text(
        f"@TRAINER_REGISTRY.register()\nclass Towerless(TrainerX):{STEP}\n"
    )
    (tmp_path / "code" / "trainers" / "child.py").write_text(
        "image_encoder = 1\n@TRAINER_REGISTRY.register()\nclass ItsChild(Towerless):\n    pass\n"
    )
    return tmp_path / "code"


def test_what_a_checkout_holds(checkout):
    found = {one.name: one for one in look(checkout)}
    assert {name: one.verdict for name, one in found.items()} == {
        "Plain": FITS, "Child": FITS, "OwnTest": ADAPTER, "PromptKD": FITS, "Super": FITS, "OwnEpoch": NOT,
        "Elsewhere": ADAPTER, "TwoViews": NOT, "ForkedDassl": NOT, "BothLoaders": NOT, "Frozen": NOT, "Absent": NOT,
        "Towerless": ADAPTER, "ItsChild": FITS,
    }  # fmt: skip
    assert found["Plain"].module == "trainers.many" and found["Plain"].why == ""
    for name, words in {
        "OwnTest": "logits(trainer, images)", "Elsewhere": "sets no self.model", "OwnEpoch": "out forward_backward",
        "TwoViews": "several views", "ForkedDassl": "Dassl of its own", "BothLoaders": "extends TrainerXU",
        "Towerless": "has no image_encoder", "Frozen": "no forward_backward",
        "Absent": "imports not_there, not installed",
    }.items():  # fmt: skip
        assert words in found[name].why, name
    (checkout / "trainers" / "__init__.py").write_text("from .absent import Absent\n")
    assert {one.verdict for one in look(checkout)} == {NOT}  # what one file misses stops the package


def test_the_two_edits_are_printed(checkout, capsys):
    main(["check", str(checkout)])
    printed = capsys.readouterr().out
    assert printed.strip() == report(checkout)
    assert "dho_prompt.with_dho(trainers.many.Super)" in printed and "dho_prompt.extend_cfg(cfg)" in printed
    assert f"run {checkout} -- --trainer SuperDHO" in printed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"has no train.py, .*there is one in .*below"),
        ("print('an app')", "does not build its trainer by Dassl's build_trainer"),
    ],
)
def test_a_folder_that_is_no_code_base(tmp_path, content, message):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "train.py").write_text(TRAIN)
    if content is not None:
        (tmp_path / "train.py").write_text(content)
    with pytest.raises(ValueError, match=message):
        find_script(tmp_path)
    with pytest.raises(ValueError, match=r"there is no folder .*absent; name the one that holds"):
        find_script(tmp_path / "absent")


def test_arguments_of_train_py_without_the_line_before_them(checkout, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["run", str(checkout), "--root", "data", "--trainer", "PlainDHO"])
    said = capsys.readouterr().err
    assert "--root data --trainer PlainDHO is not known here; the arguments of train.py stand behind --" in said


def test_our_keys_follow_the_hosts(checkout, monkeypatch):
    class Config:
        seen = []

    monkeypatch.setattr("dho_prompt.extend_cfg", lambda cfg: cfg.seen.append("ours"))
    program = with_keys(ast.parse(TRAIN), checkout / "train.py")
    program.body = [part for part in program.body if isinstance(part, ast.FunctionDef)]
    names = {}
    exec(compile(program, "train.py", "exec"), names)
    assert names["setup_cfg"](Config).seen == ["host", "ours", "merge"]
    with pytest.raises(ValueError, match="calls no extend_cfg"):
        with_keys(ast.parse("cfg = 1"), checkout / "train.py")


def test_what_is_not_installed_is_named(checkout, monkeypatch, tmp_path):
    monkeypatch.setattr("dho_prompt.hosts.checkout._plug_in_when_built", lambda script, in_place: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["before"])
    monkeypatch.chdir(tmp_path)
    (checkout / "train.py").write_text("import not_there_at_all\n" + TRAIN)
    with pytest.raises(ValueError, match=r"imports not_there_at_all, which is not installed; .*PYTHONPATH"):
        run_checkout(checkout, ["--trainer", "PlainDHO"])
    assert sys.argv[1:] == ["--trainer", "PlainDHO"]
