"""Class names and lists as other editors save them, links to themselves, and JSON without an end."""

import shutil

import pytest
from trees import WNIDS, config

from dho_prompt.data.datasets import DATASETS

FAMILY = sorted(WNIDS)
LINES = [f"{wnid} {name}\n" for wnid, name in WNIDS.items()]
ACCENTED = "".join(LINES).replace("tench", "tanche d\u2019eau, \u00e9p\u00e9e")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_class_names_of_other_editors(broken, tmp_path, encoding, end, capsys):
    folder, _ = broken("imagenet")
    (folder / "classnames.txt").write_bytes(ACCENTED.replace("\n", end).encode(encoding))
    dataset = DATASETS["ImageNet"](config(tmp_path, "ImageNet"))
    assert dataset.class_ids == FAMILY and dataset.classnames[1] == "tanche d\u2019eau, \u00e9p\u00e9e"
    assert "Note" not in capsys.readouterr().out


def test_class_names_with_tabs_and_in_latin_1(broken, tmp_path, capsys):
    folder, message = broken("imagenet")
    path = folder / "classnames.txt"
    path.write_text("".join(line.replace(" ", "\t", 1) for line in LINES))
    assert DATASETS["ImageNet"](config(tmp_path, "ImageNet")).classnames[:2] == ["missile", "tench"]
    path.write_bytes("".join(LINES).replace("tench", "\u00e9p\u00e9e\u0085").encode("latin-1"))
    assert DATASETS["ImageNet"](config(tmp_path, "ImageNet")).classnames[1] == "\u00e9p\u00e9e"
    assert (
        f"Note: {path} is not UTF-8 and is read as Latin-1: line 2 as '{FAMILY[1]} \u00e9p" in capsys.readouterr().out
    )
    path.write_bytes(b"n1 tench\0\n")
    assert f"{path} is no text file" in message(ValueError)


def test_aircraft_lists_of_other_editors(broken, tmp_path):
    folder, _ = broken("fgvc_aircraft")
    for path in folder.glob("*.txt"):
        lines = path.read_text()
        lines = lines if path.name == "variants.txt" else lines.replace(" ", "\t", 1)
        path.write_bytes(lines.replace("\n", "\r\n").encode("utf-8-sig"))
    assert DATASETS["FGVCAircraft"](config(tmp_path, "FGVCAircraft")).classnames[0] == "Alpha_one"


@pytest.mark.parametrize("name", ["classnames.txt", "images", "images/train", "images/val/n00000003"])
def test_links_to_themselves_are_missing(broken, name):
    folder, message = broken("imagenet")
    path = folder / name
    path.unlink() if path.is_file() else shutil.rmtree(path)
    path.symlink_to(path.name)
    text = message(FileNotFoundError)
    assert path.name in text and ("leads to no file" in text or "missing" in text)


def test_links_to_themselves_among_split_files(broken):
    folder, message = broken("eurosat")
    path = folder / "2750" / "c1" / "d" / "test_1_0.jpg"
    path.unlink()
    path.symlink_to(path.name)
    assert "1 of the 27 images that the split of EuroSAT names" in message(FileNotFoundError)
    split = folder / "split_zhou_EuroSAT.json"
    split.unlink()
    split.symlink_to(split.name)
    assert f"the split file {split} is a link that leads to no file" in message(FileNotFoundError)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"train": ' * 200_000])
def test_a_split_file_nested_without_end(broken, text):
    folder, message = broken("eurosat")
    (folder / "split_zhou_EuroSAT.json").write_text(text)
    assert "split_zhou_EuroSAT.json is cut short or no JSON (maximum recursion" in message(ValueError)
