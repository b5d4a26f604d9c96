"""Atomic files: the old content or the new one, and a full disk that says so."""

import errno
import json
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
    with pytest.raises(OSError, match="no space left .*to write .*model.pt.*Free space in") as caught:
        atomic_write(path, save)
    assert caught.value.errno in (errno.ENOSPC, errno.EDQUOT)
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
    with pytest.raises(ValueError, match="a.json is not written: .* infinite or no numbers"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_paths_whose_bytes_are_no_text_are_kept(tmp_path):
    path = write_json(tmp_path / "a.json", {"folder": os.fsdecode(b"out/\xff"), "name": "é"})
    assert read_json(path) == {"folder": "out/\udcff", "name": "é"}
    assert "é" in write_json(path, {"name": "é"}).read_text(encoding="utf-8")


def test_lists_have_no_checksum_and_mappings_have(tmp_path):
    assert json.loads(write_json(tmp_path / "a.json", [1, {"b": 2}]).read_text()) == [1, {"b": 2}]
    kept = json.loads(write_json(tmp_path / "a.json", {"b": 2}).read_text())
    assert set(kept) == {"b", "sha256"} and read_json(tmp_path / "a.json") == {"b": 2}
    (tmp_path / "a.json").write_text('{"b": 3}')  # of somebody who writes none
    assert read_json(tmp_path / "a.json") == {"b": 3}


def test_an_edit_is_named_with_the_remedy(tmp_path):
    path = write_json(tmp_path / "a.json", {"b": 2})
    path.write_text(path.read_text().replace("2", "3", 1))
    with pytest.raises(ValueError, match="a.json is damaged or was edited .*; ask me. If the edit was meant, remove"):
        read_json(path, remedy="ask me")


@pytest.mark.parametrize("text", ["", "{", "[1", "\x00", "{'a': 1}", "[" * 100_000])
def test_what_is_no_json_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match="a.json is not valid JSON .*; delete it to have it made anew"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    "content, wrong",
    [
        ([1], "it holds a list instead of named entries"),
        (None, "it holds null instead of named entries"),
        (7, "it holds a number instead of named entries"),
        ({}, "no 'name'; no 'share'"),
        ({"name": 1, "share": 0.5}, "'name' is a number"),
        ({"name": "x", "share": True}, "'share' is true or false"),
        ({"name": None, "share": [1]}, "'name' is null; 'share' is a list"),
    ],
)
def test_another_form_is_named(tmp_path, content, wrong):
    path = write_json(tmp_path / "a.json", content)
    assert read_json(path) == content
    with pytest.raises(ValueError, match=f"a.json is not of the form that it should have .{wrong}.; delete it"):
        read_json(path, {"name": str, "share": (int, float)})


def test_the_right_form_may_have_more_entries(tmp_path):
    path = write_json(tmp_path / "a.json", {"name": "x", "share": 1, "on": True, "more": None})
    assert read_json(path, {"name": str, "share": (int, float), "on": bool})["more"] is None
