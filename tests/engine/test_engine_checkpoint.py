"""Checkpoint files: layout, safe reading, damage, a full disk."""

import argparse
import errno
import os

import numpy as np
import pytest
import torch
from torch import nn

from dho_prompt import engine


def state(epoch, module):
    return {"state_dict": module.state_dict(), "epoch": epoch, "optimizer": None, "scheduler": None, "val_result": 1.5}


def test_layout_and_round_trip(tmp_path, capsys):
    layer = nn.Linear(2, 2)
    given = state(3, nn.DataParallel(layer))
    engine.save_checkpoint(given, str(tmp_path / "net"), is_best=True)
    assert sorted(os.listdir(tmp_path / "net")) == ["checkpoint", "model-best.pth.tar", "model.pth.tar-3"]
    assert (tmp_path / "net" / "checkpoint").read_text() == "model.pth.tar-3\n"
    assert f"Checkpoint saved to {tmp_path / 'net' / 'model.pth.tar-3'}\n" in capsys.readouterr().out
    loaded = engine.load_checkpoint(str(tmp_path / "net" / "model.pth.tar-3"))
    assert set(loaded["state_dict"]) == {"weight", "bias"}  # without DataParallel's prefix
    assert "module.weight" in given["state_dict"]  # the caller's dict is left as it was
    assert loaded["val_result"] == 1.5


def test_damaged_missing_and_unsafe_files(tmp_path):
    engine.save_checkpoint(state(1, nn.Linear(2, 2)), str(tmp_path))
    path = tmp_path / "model.pth.tar-1"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="model.pth.tar-1 is damaged"):
        engine.load_checkpoint(str(path))
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="model.pth.tar-1 is damaged"):
        engine.load_checkpoint(str(path))
    torch.save({"epoch": argparse.Namespace(a=1)}, path)
    with pytest.raises(ValueError, match="refused"):
        engine.load_checkpoint(str(path))
    with pytest.raises(FileNotFoundError, match="model.pth.tar-9"):
        engine.load_checkpoint(str(tmp_path / "model.pth.tar-9"))
    with pytest.raises(ValueError, match="None"):
        engine.load_checkpoint(None)


def test_what_could_not_be_read_back_is_not_written(tmp_path):
    bad = {**state(1, nn.Linear(2, 2)), "val_result": np.float64(1.5)}
    with pytest.raises(TypeError, match=r"checkpoint\['val_result'\].*float64"):
        engine.save_checkpoint(bad, str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    engine.save_checkpoint(state(1, nn.Linear(2, 2)), str(tmp_path))
    before = (tmp_path / "model.pth.tar-1").read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left.*resumes"):
        engine.save_checkpoint(state(1, nn.Linear(2, 2)), str(tmp_path))
    assert (tmp_path / "model.pth.tar-1").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "model.pth.tar-1"]


@pytest.mark.parametrize("target", [nn.Linear(2, 3), nn.Linear(2, 2, bias=False), nn.Sequential(nn.Linear(2, 2))])
def test_strict_loading_takes_what_fits_wholly(tmp_path, target):
    source = nn.Linear(2, 2)
    path = engine.save_checkpoint(state(1, source), str(tmp_path))
    with pytest.raises(ValueError, match="model.pth.tar-1 does not fit .*settings of that run"):
        engine.load_strictly(target, engine.load_checkpoint(path), path)
    other = nn.Linear(2, 2)
    engine.load_strictly(other, engine.load_checkpoint(path), path)
    assert torch.equal(other.weight, source.weight)


def test_pretrained_weights_report_what_was_skipped(tmp_path, capsys):
    source = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 3), "c": nn.Linear(1, 1, bias=False)})
    target = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 4), "d": nn.Linear(1, 1, bias=False)})
    engine.save_checkpoint(state(1, source), str(tmp_path))
    path = str(tmp_path / "model.pth.tar-1")
    engine.load_pretrained_weights(target, path)
    assert torch.equal(target["a"].weight, source["a"].weight)
    printed = capsys.readouterr().out
    skipped = next(line for line in printed.splitlines() if line.startswith("Skipped"))
    assert "b.weight (shape (3, 2), the model's is (4, 2))" in skipped
    assert "c.weight (the model has none)" in skipped
    assert "a.weight" not in skipped
    assert "left as they were: b.weight, b.bias, d.weight" in printed
    with pytest.raises(ValueError, match="nothing in .* fits"):
        engine.load_pretrained_weights(nn.Sequential(nn.Linear(2, 2)), path)
