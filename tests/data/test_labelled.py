"""Percentages and lists of labelled images: balanced, nested, exact in number, the same everywhere."""

import random
from collections import Counter
from types import SimpleNamespace

import pytest

from dho_prompt.config import extend_cfg, merge_opts
from dho_prompt.data.choose.labelled import _even_shares, all_labelled, listed, low_shot, refuse_ignored_choice
from dho_prompt.data.choose.splits import relative_name
from dho_prompt.data.datasets import ImageNet
from dho_prompt.engine import get_cfg_default
from dho_prompt.files import read_json
from dho_prompt.train import main


def items(sizes, root="/data/x"):
    return [
        SimpleNamespace(impath=f"{root}/c{label}/{label}_{number:03d}.jpg", label=label)
        for label, size in enumerate(sizes)
        for number in range(size)
    ]


def names(drawn, root="/data/x"):
    return [relative_name(item.impath, root) for item in drawn]


def test_total_is_exact_and_spread_evenly():
    for percent, total in ((1.0, 10), (2.3, 23), (10.0, 103), (57.0, 587), (100.0, 1030)):
        drawn = low_shot(items([103] * 10), percent, 1, "/data/x")
        counts = Counter(item.label for item in drawn).values()
        assert len(drawn) == len(set(names(drawn))) == total
        assert max(counts) - min(counts) <= 1
    assert len(low_shot(items([100] * 10), 2.3, 1, "/data/x")) == 23  # as written, not as the nearest binary fraction
    assert sum(_even_shares({label: 1281 + (label < 167) for label in range(1000)}, 12811, 1).values()) == 12811


def test_small_classes_give_all_they_have():
    shares = _even_shares({0: 2, 1: 50, 2: 50, 3: 5}, 28, seed=1)
    assert shares[0] == 2 and shares[3] == 5 and sorted((shares[1], shares[2])) == [10, 11]
    drawn = low_shot(items([2, 50, 50, 5]), 26.2, 1, "/data/x")
    assert Counter(item.label for item in drawn) == shares


def test_the_odd_image_is_of_a_class_that_has_one_more():
    for seed in range(8):
        assert _even_shares({0: 10, 1: 50, 2: 50}, 31, seed)[0] == 10


def test_a_smaller_percentage_is_contained_in_a_larger_one():
    uneven = items([3, 40, 17, 90, 1, 60, 33])
    draws = [set(names(low_shot(uneven, percent, 5, "/data/x"))) for percent in (1, 2, 3, 10, 11, 12.5, 50, 99, 100)]
    assert all(smaller < larger for smaller, larger in zip(draws, draws[1:]))


def test_the_draw_depends_on_seed_and_names_alone():
    here = low_shot(items([20] * 7), 12.0, 3, "/data/x")
    elsewhere = items([20] * 7, "/mnt/other")
    random.Random(0).shuffle(elsewhere)
    assert names(low_shot(elsewhere, 12.0, 3, "/mnt/other"), "/mnt/other") == names(here)
    assert names(low_shot(items([20] * 7), 12.0, 4, "/data/x")) != names(here)
    odd = [Counter(item.label for item in low_shot(items([20] * 7), 12.0, seed, "/data/x")) for seed in range(8)]
    assert len({tuple(label for label, count in counts.items() if count == 3) for counts in odd}) > 2  # 16 of 7 classes


def test_impossible_percentages_are_refused():
    for percent in (-1.0, 100.5):
        with pytest.raises(ValueError, match="LABELED_PERCENT is .* at most at 100"):
            low_shot(items([9]), percent, 1, "/data/x")
    with pytest.raises(ValueError, match="1.0 of 99 training images is less than one image"):
        low_shot(items([9] * 11), 1.0, 1, "/data/x")


def test_a_list_takes_base_names_and_paths(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("2_001.jpg\n\n c0/0_003.jpg \n./c1/1_000.jpg\n")
    assert names(listed(items([4, 4, 4]), path, "/data/x")) == ["c0/0_003.jpg", "c1/1_000.jpg", "c2/2_001.jpg"]


@pytest.mark.parametrize("before", ["", "x/", "data/x/", "/data/x/", "./"])
def test_a_list_takes_names_from_any_folder_above_on(tmp_path, before):
    path = tmp_path / "list.txt"
    path.write_text(f"{before}c0/0_003.jpg\n{before}c1/1_000.jpg\n", encoding="utf-8-sig")
    assert names(listed(items([4, 4, 4]), path, "/data/x")) == ["c0/0_003.jpg", "c1/1_000.jpg"]
    path.write_text("other/c0/0_003.jpg\n")
    with pytest.raises(ValueError, match="not among the training images below /data/x: other/c0/0_003.jpg"):
        listed(items([4]), path, "/data/x")


def test_the_name_itself_goes_before_the_end_of_another(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("x/a.jpg\n")
    images = [SimpleNamespace(impath=f"/data/{name}", label=0) for name in ("x/a.jpg", "x/x/a.jpg", "a.jpg")]
    assert listed(images, path, "/data") == images[:1]
    assert listed(images[:2], path, "/data/x") == images[1:2]
    with pytest.raises(ValueError, match=r"in more than one folder .*x/a.jpg \(data/x/a.jpg, data/x/x/a.jpg\)"):
        listed(images[:2], path, "/")


def test_mistakes_in_a_list_are_named(tmp_path):
    path = tmp_path / "list.txt"

    def message(text, error=ValueError):
        path.write_text(text)
        with pytest.raises(error) as caught:
            listed(items([4, 4]) + [SimpleNamespace(impath="/data/x/c9/0_001.jpg", label=9)], path, "/data/x")
        return str(caught.value)

    absent = message("".join(f"absent{number}.jpg\n" for number in range(7)) + "0_000.jpg\n")
    assert "7 lines" in absent and "absent0.jpg" in absent and "and 2 more" in absent
    assert "c0/0_001.jpg, c9/0_001.jpg" in message("0_001.jpg\n")
    assert "1 lines whose images are named more than once: c0/0_000.jpg" in message("0_000.jpg\nc0/0_000.jpg\n")
    assert "not among the training images below /data/x: 0/0_000.jpg" in message("0/0_000.jpg\n")  # the folder is c0
    assert "names no image" in message("\n")
    path.unlink()
    with pytest.raises(FileNotFoundError, match="LABELED_LIST"):
        listed(items([1]), path, "/data/x")


def config(root, *opts):
    cfg = extend_cfg(get_cfg_default())
    merge_opts(cfg, ["DATASET.NAME", "ImageNet", "DATASET.ROOT", str(root), *map(str, opts)])
    return cfg


def test_data_sets_obey_the_keys(data_root, tmp_path):
    dataset = ImageNet(config(data_root, "DATASET.LABELED_PERCENT", 25))
    assert len(dataset.train_x) == 10 and len(dataset.test) == 20
    assert dataset.labelled_by == "25 % of 40 training images"
    path = tmp_path / "list.txt"
    path.write_text("train/n01440764/0.JPEG\nn04356056/7.JPEG\n")
    cfg = config(data_root, "DATASET.LABELED_LIST", path)
    assert [item.label for item in ImageNet(cfg).train_x] == [0, 4]
    assert len(ImageNet(all_labelled(cfg)).train_x) == 40
    cfg.DATASET.SUBSAMPLE_CLASSES = "new"
    assert [item.label for item in ImageNet(cfg).train_x] == [1]
    cfg.DATASET.NUM_SHOTS = 2
    with pytest.raises(
        ValueError, match="NUM_SHOTS 2 and DATASET.LABELED_LIST .* set one.*'all' in place of the shots"
    ):
        ImageNet(cfg)


def test_a_list_for_each_seed(data_root, tmp_path):
    for seed, name in ((1, "n01440764/0.JPEG"), (2, "imagenet/images/train/n04356056/7.JPEG")):
        (tmp_path / f"list_{seed}.txt").write_text(f"{name}\n")
    opts = ("DATASET.LABELED_LIST", tmp_path / "list_{seed}.txt", "SEED")
    assert [ImageNet(config(data_root, *opts, seed)).train_x[0].label for seed in (1, 2)] == [0, 4]
    assert ImageNet(config(data_root, *opts, 1)).labelled_by.endswith("list_1.txt")
    with pytest.raises(FileNotFoundError, match="list_3.txt is missing .DATASET.LABELED_LIST"):
        ImageNet(config(data_root, *opts, 3))


@pytest.mark.parametrize("how", [("DATASET.NUM_SHOTS", 2), ("DATASET.LABELED_PERCENT", 25)])
def test_data_sets_draw_by_the_seed_of_the_run(data_root, how):
    def drawn(seed):
        return {item.impath for item in ImageNet(config(data_root, *how, "SEED", seed)).train_x}

    assert drawn(1) == drawn(1) != drawn(2) and len(drawn(1)) == 10


def test_a_host_that_would_ignore_the_keys_is_refused(data_root):
    cfg = config(data_root, "DATASET.LABELED_PERCENT", 25)
    with pytest.raises(ValueError, match="LABELED_PERCENT is set, but the data set ImageNet .* does not read it"):
        refuse_ignored_choice(cfg, SimpleNamespace())
    refuse_ignored_choice(cfg, ImageNet(cfg))
    refuse_ignored_choice(config(data_root), SimpleNamespace())


def test_a_run_labels_a_percentage_and_distils_on_the_rest(train_args, tmp_path):
    opts = ("DATASET.NUM_SHOTS", "-1", "DATASET.LABELED_PERCENT", "25", "TRAINER.DHO.UNLABELED", "exclude_labeled")
    main(train_args("CoOpDHO", *opts, "OPTIM.MAX_EPOCH", "1", "TEST.NO_TEST", "True"))
    split = read_json(tmp_path / "run" / "split.json")
    assert split["labelled"] == 10 and split["unlabelled"] == 30
