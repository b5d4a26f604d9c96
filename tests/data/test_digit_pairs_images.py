"""The embedded pairs of digits: scans that do not overlap, fresh ones in the pool, the same bytes every time."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dho_prompt.config import extend_cfg
from dho_prompt.data.datasets import DigitPairs, DigitPairsA
from dho_prompt.data.fetch.digit_pairs_images import CLASSNAMES, ONCE, PER_CLASS, compose, write_digit_pairs
from dho_prompt.data.fetch.digits_images import load_scans
from dho_prompt.engine import get_cfg_default
from dho_prompt.files import read_json

pytest.importorskip("sklearn")

PLAIN = ("train", "val", "test", "v2", "a")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_digit_pairs(root / "digit_pairs")
    return root


@pytest.fixture(scope="module")
def splits(root):
    return read_json(root / "digit_pairs" / "splits.json")["splits"]


def scans(path):
    return tuple(int(number) for number in Path(path).stem.split("_")[-2:])


def used(images):
    return {scan for path, _ in images for scan in scans(path)}


def config(root, shots=16, seed=1):
    cfg = extend_cfg(get_cfg_default())
    cfg.DATASET.ROOT, cfg.DATASET.NUM_SHOTS, cfg.SEED = str(root), shots, seed
    return cfg


@pytest.mark.parametrize(("name", "images"), [("train", 4000), ("val", 500), ("test", 2000), ("v2", 1000), ("r", 1000)])
def test_sets_are_balanced(splits, name, images):
    assert len(splits[name]) == images
    assert Counter(label for _, label in splits[name]) == {label: images // 100 for label in range(100)}


def test_hard_set_has_thirty_classes(splits):
    assert set(Counter(label for _, label in splits["a"]).values()) == {PER_CLASS["a"]}
    assert len(splits["a"]) == 360 and len({label for _, label in splits["a"]}) == 30


def test_no_scan_is_in_two_sets(splits):
    for i, name in enumerate(PLAIN):
        for other in PLAIN[i + 1 :]:
            assert not used(splits[name]) & used(splits[other]), (name, other)
    assert [scans(path) for path, _ in splits["r"]] == [scans(path) for path, _ in splits["v2"]]


def test_no_pair_of_scans_is_there_twice(splits):
    for images in splits.values():
        assert len({scans(path) for path, _ in images}) == len(images)


def test_labels_are_the_digits_in_reading_order(splits):
    _, digits = load_scans()
    for images in splits.values():
        for path, label in images:
            left, right = scans(path)
            assert label == 10 * digits[left] + digits[right]
            assert Path(path).name.startswith(CLASSNAMES[label].replace(" ", "_") + "_")
    assert CLASSNAMES[0] == "zero zero" and CLASSNAMES[27] == "two seven" and CLASSNAMES[99] == "nine nine"


def test_scans_that_stand_in_one_picture(splits):
    count = Counter(scan for path, _ in splits["train"] for scan in scans(path))
    assert sum(times == 1 for times in count.values()) == 2 * ONCE * 100 and len(count) == 970


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pool_has_scans_that_no_label_shows_at_16_shots(root, seed):
    data = DigitPairs(config(root, 16, seed))
    labelled = {scan for item in data.train_x for scan in scans(item.impath)}
    known = {scan for item in data.training_images for scan in scans(item.impath)}
    assert len(data.train_x) == 1600 and len(data.training_images) == 4000
    assert 0.33 <= len(known - labelled) / len(known) <= 0.42


def test_hard_set_is_scored_among_its_own_classes(root, splits):
    data = DigitPairsA(config(root))
    assert data.num_classes == 30 and {item.label for item in data.test} == set(range(30))
    for item in data.test:
        left, right = scans(item.impath)
        assert data.classnames[item.label] == item.classname == CLASSNAMES[splits_label(splits, item)]


def splits_label(splits, item):
    (label,) = {label for path, label in splits["a"] if item.impath.endswith(path)}
    return label


def test_hard_scans_are_hard_for_a_plain_model(splits):
    from sklearn.neighbors import NearestCentroid

    pixels, digits = load_scans()
    flat = pixels.reshape(len(pixels), -1)
    train, hard, fresh = (sorted(used(splits[name])) for name in ("train", "a", "v2"))
    model = NearestCentroid().fit(flat[train], digits[train])
    assert model.score(flat[hard], digits[hard]) < 0.25 and model.score(flat[fresh], digits[fresh]) > 0.85


def test_both_digits_are_in_the_picture_in_their_order():
    empty, full = np.zeros((8, 8)), np.full((8, 8), 16.0)
    for index in range(20):
        left = np.asarray(compose(full, empty, "test", index), dtype=float)
        right = np.asarray(compose(empty, full, "test", index), dtype=float)
        assert left.shape == (32, 32) and not left[:, 16:].any() and not right[:, :16].any()
        assert left[:, :16].mean() > 150 and right[:, 16:].mean() > 150  # at least 14 x 24 of 16 x 32 are covered


def test_pictures_come_out_the_same(root, splits):
    """The pixels, so that another compression of the PNG files does not count; r needs sines."""
    digest = hashlib.sha256()
    for name in PLAIN:
        for path, _ in splits[name]:
            digest.update(np.asarray(Image.open(root / "digit_pairs" / path)).tobytes())
    assert digest.hexdigest() == "3586af5dddd306b727ed1b7337dd04316d68e9e6ef64fd477ed97ef026830f35"


def test_complete_folder_is_left_alone_and_a_lost_picture_comes_back(root, splits):
    folder = root / "digit_pairs"
    lost, kept = folder / splits["r"][3][0], folder / splits["a"][5][0]
    before, stamp = lost.read_bytes(), kept.stat().st_mtime_ns
    write_digit_pairs(folder)
    assert kept.stat().st_mtime_ns == stamp
    lost.unlink()
    write_digit_pairs(folder)
    assert lost.read_bytes() == before
