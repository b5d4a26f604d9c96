"""The embedded digits: sets that do not overlap, the same bytes every time, and a folder that mends itself."""

import errno
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dho_prompt.data.fetch import digits_images
from dho_prompt.data.fetch.digits_images import CLASSNAMES, PER_CLASS, write_digits
from dho_prompt.files import read_json

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    return folder


@pytest.fixture(scope="module")
def splits(folder):
    return read_json(folder / "splits.json")["splits"]


def scans(images):
    """Numbers of the scans behind a set's images."""
    return {int(Path(path).stem.split("_")[1]) for path, _ in images}


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_scan_is_in_two_sets(splits):
    plain = [scans(splits[name]) for name in ("train", "val", "test", "v2", "a")]
    assert len(set().union(*plain)) == sum(map(len, plain))
    assert [len(s) for s in plain] == [len(splits[name]) for name in ("train", "val", "test", "v2", "a")]


def test_shifted_renditions_hold_no_training_scan(splits):
    known = scans(splits["train"]) | scans(splits["val"])
    for name in ("sketch", "r"):
        assert scans(splits[name]) == scans(splits["v2"])
        assert not scans(splits[name]) & known


@pytest.mark.parametrize("name", ["train", "val", "test", "v2", "sketch", "r"])
def test_sets_are_balanced(splits, name):
    expected = PER_CLASS.get(name, PER_CLASS["v2"])
    assert Counter(label for _, label in splits[name]) == {label: expected for label in range(10)}


def test_labels_are_those_of_scikit_learn(splits):
    from sklearn.datasets import load_digits

    target = load_digits().target
    for images in splits.values():
        for path, label in images:
            assert target[int(Path(path).stem.split("_")[1])] == label
            assert Path(path).name.startswith(CLASSNAMES[label])


def test_hard_set_is_what_a_plain_model_gets_wrong(folder, splits):
    from sklearn.neighbors import NearestCentroid

    def read(images):
        return np.stack([np.asarray(Image.open(folder / path)).ravel() for path, _ in images]).astype(float)

    train = [image for image in splits["train"]]
    model = NearestCentroid().fit(read(train), [label for _, label in train])
    assert len(splits["a"]) >= 25
    # chosen on the 8 x 8 pixels; on the enlarged pictures nearly all of them stay wrong
    assert model.score(read(splits["a"]), [label for _, label in splits["a"]]) < 0.25
    assert model.score(read(splits["v2"]), [label for _, label in splits["v2"]]) > 0.8


def test_pictures_are_distinct_renditions(folder, splits):
    for position in (0, 77, 199):
        versions = [Image.open(folder / splits[name][position][0]) for name in ("v2", "sketch", "r")]
        assert {image.size for image in versions} == {(32, 32)}
        arrays = [np.asarray(image.convert("RGB")).astype(float) for image in versions]
        assert all(array.std() > 10 for array in arrays)
        assert np.abs(arrays[0] - arrays[1]).mean() > 20 and np.abs(arrays[0] - arrays[2]).mean() > 20


def test_two_folders_are_byte_identical(folder, tmp_path):
    write_digits(tmp_path)
    assert contents(tmp_path) == contents(folder)


def test_complete_folder_is_left_alone(tmp_path):
    write_digits(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    write_digits(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == before


@pytest.mark.parametrize("damage", ["no list", "broken list", "lost image", "half an image"])
def test_half_written_folder_is_repaired(folder, tmp_path, damage):
    write_digits(tmp_path)
    listing, picture = tmp_path / "splits.json", tmp_path / read_json(tmp_path / "splits.json")["splits"]["r"][3][0]
    if damage == "broken list":
        listing.write_text(listing.read_text()[:100])
    elif damage == "lost image":
        picture.unlink()
    else:
        listing.unlink()
        if damage == "half an image":
            picture.write_bytes(picture.read_bytes()[:50])
    write_digits(tmp_path)
    assert contents(tmp_path) == contents(folder)


def test_what_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=f"needs a folder where there is the file {tmp_path}/file .*Move that file away"):
        write_digits(tmp_path / "file" / "digits")
    assert (tmp_path / "file").read_text() == "mine"

    def full(self, file, format):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("PIL.Image.Image.save", full)
    with pytest.raises(OSError, match=r"no space left to write .*digits/train/zero_\d+.png .*Free space in"):
        write_digits(tmp_path / "digits")
    assert [path for path in (tmp_path / "digits").rglob("*") if path.is_file()] == []


def test_scans_are_those_of_scikit_learn_read_with_or_without_it(monkeypatch):
    from sklearn.datasets import load_digits

    wanted = load_digits()
    for file in (digits_images.SCANS, "nowhere.csv.gz"):
        monkeypatch.setattr(digits_images, "SCANS", file)
        pixels, labels = digits_images.load_scans()
        assert np.array_equal(pixels, wanted.images) and np.array_equal(labels, wanted.target)
        assert pixels.dtype == wanted.images.dtype and labels.dtype == wanted.target.dtype


def test_a_run_on_digits_imports_no_scikit_learn(tmp_path):
    code = (
        "import sys, torch, dho_prompt.train, dho_prompt.data.datasets\n"
        "from dho_prompt.config import extend_cfg\n"
        "from dho_prompt.engine import build_dataset, build_evaluator, get_cfg_default\n"
        "cfg = extend_cfg(get_cfg_default())\n"
        "cfg.DATASET.ROOT, cfg.DATASET.NAME = sys.argv[1], 'Digits'\n"
        "assert len(build_dataset(cfg).test) == 350\n"
        "evaluator = build_evaluator(cfg)\n"
        "evaluator.process(torch.eye(3), torch.tensor([0, 1, 1]))\n"
        "evaluator.evaluate()\n"
        "found = {name.partition('.')[0] for name in sys.modules} & {'sklearn', 'scipy', 'pandas', 'matplotlib'}\n"
        "assert not found, found\n"
    )
    environment = {**os.environ, "DHO_PROMPT_ENGINE": "embedded"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
