"""Atomic files: the old content or the new one, and a full disk that says so."""

import errno
import os
import stat

import pytest
import torch

from dho_prompt import files
from dho_prompt.files import atomic_write, read_json, write_json


def test_content_mode_and_missing_folders(tmp_path):
    path = write_json(tmp_path / "a" / "b.json", {"name": "é", "value": 0.1})
    assert read_json(path) == {"name": "é", "value": 0.1}
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert os.listdir(path.parent) == ["b.json"]


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(
    "save",
    [lambda file: file.write(b"new"), lambda file: torch.save({"w": torch.zeros(9)}, file)],
    ids=["bytes", "torch"],
)
def test_a_full_disk_keeps_the_old_file_and_says_what_to_do(tmp_path, monkeypatch, save, reason):
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")

    def full(_):
        raise OSError(reason, "No space left on device, or in the quota")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="no space left to write .*model.pt.*Free space in") as caught:
        atomic_write(path, save)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["model.pt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_torchs_own_report_of_a_full_disk_is_recognised(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"

    def full(handle, mode):
        os.close(handle)
        return open("/dev/full", mode, buffering=0)  # noqa: SIM115 (closed by atomic_write)

    monkeypatch.setattr(files.os, "fdopen", full)
    with pytest.raises(OSError, match="no space left to write"):
        atomic_write(path, lambda file: torch.save({"w": torch.zeros(99999)}, file))
    assert os.listdir(tmp_path) == []


def test_an_interrupted_write_leaves_nothing(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")

    def interrupted(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, interrupted)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["model.pt"]


def test_numbers_that_json_cannot_hold_are_refused(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not (tmp_path / "a.json").exists()
