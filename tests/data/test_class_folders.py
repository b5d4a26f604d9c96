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
    assert listed.images == {wnid: [f"{number}.JPEG" for number in range(5)] for wnid in ("n1", "n2")}
    assert listed.others == []
    index = tmp_path / "data" / "train.index.json"
    assert str(tmp_path) not in index.read_text()  # relative names only

    folder.parent.rename(tmp_path / "moved")
    folder, index = tmp_path / "moved" / "train", tmp_path / "moved" / "train.index.json"
    with monkeypatch.context() as patched:
        patched.setattr(class_folders, "write_json", lambda *_: pytest.fail("listed again"))
        assert class_folders.list_class_folders(folder) == listed
    (folder / "n2" / "new.JPEG").touch()
    assert len(class_folders.list_class_folders(folder).images["n2"]) == 6

    older = json.dumps({"files": {"n1": []}, "stamps": {"n1": 1}})
    for damage in ("{ damaged", "[]", "[" * 100_000, '{"entries": {"n1": "x"}, "stamps": {"n1": 1}}', older):
        index.write_text(damage)
        capsys.readouterr()
        assert len(class_folders.list_class_folders(folder).images["n2"]) == 6
        assert f"{index} is damaged, or of an older version" in capsys.readouterr().out
    assert set(json.loads(index.read_text())) == {"stamps", "entries", "sha256"}
    assert sorted(os.listdir(folder.parent)) == ["train", "train.index.json"]


def test_what_is_no_image_is_passed_over_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(class_folders, "KEPT_FROM", 3)
    for name in ("a.JPG", "b.webp", "notes.txt", "Thumbs.db", "no_ending", "paper.pdf", ".hidden.png"):
        (tmp_path / "train" / "cat" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / "cat" / name).touch()
    (tmp_path / "train" / "cat" / "more.png").mkdir()
    (tmp_path / "train" / "cat" / "itself.png").symlink_to("itself.png")
    (tmp_path / "train" / "cat" / "c.png").symlink_to("a.JPG")
    for _ in range(2):  # listed, and remembered
        listed = class_folders.list_class_folders(tmp_path / "train")
        assert listed.images == {"cat": ["a.JPG", "b.webp", "c.png"]}
        files, links, folders = listed.notes(tmp_path / "train")
        assert files.startswith("4 files") and files.endswith(
            "cat/Thumbs.db, cat/no_ending, cat/notes.txt, cat/paper.pdf"
        )
        assert links.startswith("1 links") and links.endswith("lead nowhere: cat/itself.png")
        assert folders.startswith("1 folders within class folders") and "cat/more.png" in folders
        assert (tmp_path / "train.index.json").exists()


def test_a_link_to_itself_is_no_class_folder(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    assert list(class_folders.class_folder_stamps(tmp_path)) == ["cat"]
