"""``python -m dho_prompt.data check``: a table when right, what is wrong and how to repair it when not."""

import shutil

import pytest
from trees import picture, write_tree

from dho_prompt.data.__main__ import main
from dho_prompt.data.layouts.table import LAYOUTS, find_layout


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    root = tmp_path_factory.mktemp("all")
    for layout in LAYOUTS:
        write_tree(root, layout)
    return root


def test_all_sets_in_one_table(complete, capsys):
    assert main(["check", "all", "--root", str(complete)]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if not line.startswith("note")}
    assert rows["OxfordPets"] == ["3", "12", "6", "9", "4-4"]
    assert rows["ImageNet"] == ["12", "48", "=", "test", "24", "4-4"]
    assert rows["ImageNetA"] == ["4", "-", "-", "4", "1-1"]
    assert "note: ImageNet has 48 train images, the full set 1,281,167" in out
    assert "note: ImageNetA has 4 classes, the full set 200" in out and "ImageNetA has 0 train" not in out


def test_a_full_set_has_no_notes(complete, monkeypatch, capsys):
    from dho_prompt.data.fetch import check

    pets = find_layout("OxfordPets")._replace(classes=3, counts=(12, 6, 9))
    monkeypatch.setattr(check, "find_layout", lambda name: pets)
    assert main(["check", "oxford_pets", "--root", str(complete)]) == 0
    assert "note" not in capsys.readouterr().out


def test_what_is_wrong_is_said_and_the_rest_is_still_checked(complete, tmp_path, capsys):
    shutil.copytree(complete / "eurosat", tmp_path / "eurosat")
    shutil.copytree(complete / "imagenet", tmp_path / "imagenet")
    (tmp_path / "imagenet" / "images" / "val" / "n00000003" / "n00000003_0.JPEG").write_bytes(b"\xff\xd8\xff")
    assert main(["check", "EuroSAT", "dtd", "imagenet", "nothing", "--root", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "EuroSAT" in out.splitlines()[2]
    assert "wrong: dtd: the folder" in out and "prepare DescribableTextures --root" in out
    assert "wrong: imagenet: 1 of 24 test images" in out and "n00000003_0.JPEG" in out
    assert "wrong: nothing: is neither a data set nor a folder" in out and "Caltech101" in out


def test_an_own_folder_is_checked_too(tmp_path, capsys):
    for name in ("cat", "dog"):
        for number in range(10):
            picture(tmp_path / "pets" / name / f"{number}.png")
    assert main(["check", str(tmp_path / "pets")]) == 0
    assert "5-5" in capsys.readouterr().out
