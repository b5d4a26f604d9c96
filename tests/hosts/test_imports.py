"""Checkouts that import what is not installed, and two checkouts on one path."""

import importlib
import sys

import pytest

from dho_prompt.hosts.imports import how_to_install, imports_explained, refuse_two_checkouts

TRAINER = """
import {clip}.model
from datasets_of_{tag} import names

class Host:
    pass
"""


@pytest.fixture
def checkouts(tmp_path, monkeypatch):
    """``a`` and ``b``: a train.py, a trainer, a vendored clip; what is imported of them is forgotten afterwards."""
    for tag in ("a", "b"):
        for folder in ("trainers_x", "clip_x"):
            (tmp_path / tag / folder).mkdir(parents=True)
            (tmp_path / tag / folder / "__init__.py").touch()
        (tmp_path / tag / "train.py").touch()
        (tmp_path / tag / "clip_x" / "model.py").touch()
        (tmp_path / tag / f"datasets_of_{tag}.py").write_text("names = {}\n")
        (tmp_path / tag / "trainers_x" / f"coop_{tag}.py").write_text(TRAINER.format(clip="clip_x", tag=tag))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["pytest"])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def host_of(module):
    return importlib.import_module(module).Host


def test_one_checkout_is_what_it_is(checkouts, monkeypatch):
    sys.path.insert(0, str(checkouts / "a"))
    host = host_of("trainers_x.coop_a")
    refuse_two_checkouts(host)
    monkeypatch.setattr(sys, "argv", [str(checkouts / "a" / "train.py")])
    refuse_two_checkouts(host)
    refuse_two_checkouts(host, checkouts / "a" / "train.py")
    refuse_two_checkouts(type("Ours", (), {}))


def test_a_clip_of_another_checkout_is_refused(checkouts):
    sys.path.insert(0, str(checkouts / "b"))
    importlib.import_module("clip_x")
    sys.path.insert(0, str(checkouts / "a"))
    host = host_of("trainers_x.coop_a")
    words = rf"is in {checkouts}/a/trainers_x/coop_a.py, but its clip_x is {checkouts}/b/clip_x/.*only {checkouts}/a"
    with pytest.raises(ValueError, match=words):
        refuse_two_checkouts(host)


@pytest.mark.parametrize("given", [True, False])
def test_a_trainer_of_another_checkout_than_its_train_py_is_refused(checkouts, monkeypatch, given):
    sys.path.insert(0, str(checkouts / "b"))
    script = checkouts / "a" / "train.py"
    monkeypatch.setattr(sys, "argv", ["elsewhere" if given else str(script)])
    with pytest.raises(ValueError, match=rf"coop_b.py, but {script} runs: two checkouts .*leave only {checkouts}/a on"):
        refuse_two_checkouts(host_of("trainers_x.coop_b"), script if given else None)


def test_what_is_not_installed_is_named_with_the_file_and_how(tmp_path, checkouts):
    (tmp_path / "a" / "needs.py").write_text("import skimage_not_there.io\n")
    sys.path.insert(0, str(tmp_path / "a"))
    words = rf"^{tmp_path}/a/needs.py imports skimage_not_there, which is not installed; .*pip install skimage_not_ther"
    with pytest.raises(ValueError, match=words), imports_explained("Host"):
        importlib.import_module("needs")
    words = rf"^{__file__} imports clip_x.absent, but the clip_x .*/a/clip_x/__init__.py, which has none"
    with pytest.raises(ValueError, match=words), imports_explained("Host"):
        importlib.import_module("clip_x.absent")
    with pytest.raises(ImportError, match="no name"), imports_explained("Host"):
        raise ImportError("no name")
    assert how_to_install("cv2.aruco") == "pip install 'opencv-python'" and how_to_install("timm") == "pip install timm"
