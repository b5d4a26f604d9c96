"""Listings of class folders are remembered, until a folder changes."""

import json
import os

import pytest

from dho_prompt.data.layouts import class_folders


def test_large_listings_are_remembered_until_a_folder_changes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(class_folders, "KEPT_FROM", 9)
    folder = tmp_path / "data" / "train"
    for wnid in ("n1", "n2"):
        (folder / wnid).mkdir(parents=True)
        for number in range(5):
            (folder / wnid / f"{number}.JPEG").touch()
    (folder / "n1" / ".hidden").touch()
    listed = class_folders.list_class_folders(folder)
    assert listed == {wnid: [f"{number}.JPEG" for number in range(5)] for wnid in ("n1", "n2")}
    index = tmp_path / "data" / "train.index.json"
    assert str(tmp_path) not in index.read_text()  # relative names only

    folder.parent.rename(tmp_path / "moved")
    folder, index = tmp_path / "moved" / "train", tmp_path / "moved" / "train.index.json"
    with monkeypatch.context() as patched:
        patched.setattr(class_folders, "write_json", lambda *_: pytest.fail("listed again"))
        assert class_folders.list_class_folders(folder) == listed
    (folder / "n2" / "new.JPEG").touch()
    assert len(class_folders.list_class_folders(folder)["n2"]) == 6

    for damage in ("{ damaged", "[]", '{"files": {"n1": "x"}, "stamps": {"n1": 1}}'):
        index.write_text(damage)
        capsys.readouterr()
        assert len(class_folders.list_class_folders(folder)["n2"]) == 6
        assert f"{index} is damaged" in capsys.readouterr().out
    assert set(json.loads(index.read_text())) == {"stamps", "files", "sha256"}
    assert sorted(os.listdir(folder.parent)) == ["train", "train.index.json"]
