"""``python -m dho_prompt.data check``: a table when right, what is wrong and how to repair it when not."""

import os
import re
import shutil
from types import SimpleNamespace

import pytest
from trees import picture

from dho_prompt.data.__main__ import main
from dho_prompt.data.layouts import try_images
from dho_prompt.data.layouts.contents import Contents, ListedImage
from dho_prompt.data.layouts.table import find_layout


def test_all_sets_in_one_table(root, capsys):
    assert main(["check", "all", "--root", str(root)]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if not line.startswith("note")}
    assert rows["OxfordPets"] == ["3", "12", "6", "9", "4-4"]
    assert rows["ImageNet"] == ["12", "48", "=", "test", "24", "4-4"]
    assert rows["ImageNetA"] == ["4", "-", "-", "4", "1-1"]
    assert "note: ImageNet has 48 train images, the full set 1,281,167" in out
    assert "note: ImageNetA has 4 classes, the full set 200" in out and "ImageNetA has 0 train" not in out


def test_a_full_set_has_no_notes(root, monkeypatch, capsys):
    from dho_prompt.data.fetch import check

    pets = find_layout("OxfordPets")._replace(classes=3, counts=(12, 6, 9))
    monkeypatch.setattr(check, "find_layout", lambda name: pets)
    assert main(["check", "oxford_pets", "--root", str(root)]) == 0
    assert "note" not in capsys.readouterr().out


def test_what_is_wrong_is_said_and_the_rest_is_still_checked(root, tmp_path, capsys):
    shutil.copytree(root / "eurosat", tmp_path / "eurosat")
    shutil.copytree(root / "imagenet", tmp_path / "imagenet")
    (tmp_path / "imagenet" / "images" / "val" / "n00000003" / "n00000003_0.JPEG").write_bytes(b"\xff\xd8\xff")
    assert main(["check", "EuroSAT", "dtd", "imagenet", "nothing", "--root", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "EuroSAT" in out.splitlines()[2]
    assert "wrong: dtd: the folder" in out and "prepare DescribableTextures --root" in out
    assert "wrong: imagenet: 1 of 24 test images" in out and "n00000003_0.JPEG" in out
    assert "wrong: nothing: is neither a data set nor a folder; data sets are ImageNet, Caltech101" in out


def test_shifted_sets_that_training_wants_are_named(root, tmp_path, capsys):
    shutil.copytree(root / "imagenet", tmp_path / "imagenet")
    (tmp_path / "imagenet-rendition" / "imagenet-r").mkdir(parents=True)
    assert main(["check", "imagenet", "--root", str(tmp_path)]) == 0
    named = "also tests on ImageNetV2, ImageNetSketch, ImageNetA, missing below"
    assert named in capsys.readouterr().out
    shutil.copytree(root / "eurosat", tmp_path / "eurosat")
    assert main(["check", "eurosat", "--root", str(tmp_path)]) == 0
    assert "also tests on" not in capsys.readouterr().out
    for folder in ("imagenetv2/imagenetv2-matched-frequency-format-val", "imagenet-sketch/images"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "imagenet-adversarial" / "imagenet-a").mkdir(parents=True)
    assert main(["check", "imagenet", "--root", str(tmp_path)]) == 0
    assert "also tests on" not in capsys.readouterr().out


def test_an_own_folder_is_checked_too(tmp_path, capsys):
    for name in ("cat", "dog"):
        for number in range(10):
            picture(tmp_path / "pets" / name / f"{number}.png")
    assert main(["check", str(tmp_path / "pets")]) == 0
    out = capsys.readouterr().out
    assert "5-5" in out and "unlabelled" not in out
    for number in range(3):
        picture(tmp_path / "pets" / "unlabelled" / f"{number}.png")
    picture(tmp_path / "pets" / "flat.png")
    assert main(["check", str(tmp_path / "pets")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"per class\n.*\n.*pets +2 +10 +4 +6 +3 +5-5", out)
    assert f"note: {tmp_path}/pets: 1 images lie in {tmp_path}/pets itself" in out
    (tmp_path / "pets" / "unlabelled" / "1.png").write_bytes(b"no image")
    assert main(["check", str(tmp_path / "pets")]) == 1
    assert "1 of 3 unlabelled images that were tried cannot be read" in capsys.readouterr().out


def test_every_image_is_tried_on_request(root, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(try_images, "CHUNK", 5)
    shutil.copytree(root / "eurosat", tmp_path / "eurosat")
    assert main(["check", "eurosat", "--images", "--root", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "27/27" in said.err and "EuroSAT" in said.out
    broken = [tmp_path / "eurosat" / "2750" / "c1" / "d" / f"{part}_1_1.jpg" for part in ("test", "train", "val")]
    for path in broken:
        path.write_bytes(path.read_bytes()[:40])
    assert main(["check", "eurosat", "--images", "--root", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "wrong: eurosat: 3 of its 27 images cannot be read" in out and all(f"{path} (" in out for path in broken)


def test_a_process_that_dies_is_an_error(monkeypatch):
    contents = Contents(["a"], ["a"], None, [], [], [ListedImage("/x/", f"{number}.png") for number in range(9)])
    monkeypatch.setattr(try_images, "CHUNK", 2)
    monkeypatch.setattr(try_images, "why_unreadable", lambda path: os._exit(1))
    with pytest.raises(OSError, match="a process died while it read images .*, 0 of which .* after /x/0.png"):
        try_images.find_unreadable(contents, "x")


def test_the_test_images_are_tried_until_the_time_is_over(monkeypatch):
    tried, clock = [], iter(range(10_000))  # a second for each image
    monkeypatch.setattr(try_images, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(try_images, "why_unreadable", lambda path: tried.append(path) or "")

    def contents(count):
        images = [ListedImage(f"/{part}/", f"{number}.png", 0) for part in ("train", "test") for number in range(count)]
        return Contents(["a"], ["a"], None, images[:count], [], images[count:])

    def counts(count, **more):
        tried.clear()
        try_images.refuse_unreadable(contents(count), **more)
        return [len({path for path in tried if path.startswith(part)}) for part in ("/train", "/test")]

    assert counts(1000, seconds=20) == [8, 8 + 19]  # the clock is not asked within the sample
    assert counts(10, seconds=20) == [8, 10]
    assert counts(1000, seconds=0) == [8, 8]
    assert counts(1000, seconds=0, sample=24) == [24, 24]
    first = sorted(int(path[6:-4]) for path in tried if path.startswith("/test"))
    assert all(later - earlier < 100 for earlier, later in zip([0, *first], [*first, 999]))  # all over the set


@pytest.mark.parametrize("count", [1, 2, 3, 10, 97, 1000])
def test_every_image_comes_once(count):
    images = list(range(count))
    assert sorted(try_images.spread(images)) == images
