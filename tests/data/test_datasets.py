"""Every data set of the table: labels, names, identities, halves, and one clear error for each thing that is wrong."""

import json
import re
import shutil

import pytest
from trees import SHIFTED_WNIDS, WNIDS, config, picture

from dho_prompt.clip.templates import templates_for
from dho_prompt.config import extend_cfg, merge_file
from dho_prompt.data.choose.labelled import all_labelled
from dho_prompt.data.datasets import DATASETS, Digits
from dho_prompt.data.layouts.imagenet_folders import read_classnames
from dho_prompt.data.layouts.table import IMAGENET, LAYOUTS, SHIFTED, TEN, find_layout
from dho_prompt.engine import build_dataset, get_cfg_default
from dho_prompt.train import find_config, main

FAMILY = sorted(WNIDS)


@pytest.mark.parametrize("layout", TEN, ids=lambda layout: layout.yaml)
def test_the_ten(root, layout):
    dataset = DATASETS[layout.name](config(root, layout.name))
    assert dataset.classnames == ["Alpha_one", "beta/two x", "gamma"] == dataset.class_ids
    assert (len(dataset.train_x), len(dataset.val), len(dataset.test)) == (12, 6, 9)
    for part in ("train_x", "val", "test"):
        for item in getattr(dataset, part):
            assert part[:3] in item.impath and dataset.classnames[item.label] == item.classname
            digits = re.findall(r"\d+", item.impath.rpartition("/")[2])
            assert int(digits[0]) == item.label  # the trees write it into the name
    few = DATASETS[layout.name](config(root, layout.name, "DATASET.NUM_SHOTS", 1))
    assert (len(few.train_x), len(few.val), len(few.test)) == (3, 6, 9)
    capped = DATASETS[layout.name](config(root, layout.name, "DATASET.NUM_SHOTS", 1, "DATASET.VAL_SHOTS", 1))
    assert (len(capped.train_x), len(capped.val), len(capped.test)) == (3, 3, 9)
    base, new = (
        DATASETS[layout.name](config(root, layout.name, "DATASET.SUBSAMPLE_CLASSES", half)) for half in ("base", "new")
    )
    assert base.classnames + new.classnames == dataset.classnames and len(base.class_ids) == 2
    assert new.class_ids == ["gamma"] and {item.label for item in new.test} == {0} and new.num_classes == 1


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.yaml)
def test_configuration_files_have_coops_names(root, layout):
    cfg = extend_cfg(get_cfg_default())
    merge_file(cfg, find_config(f"datasets/{layout.yaml}.yaml"))
    cfg.DATASET.ROOT = str(root)
    assert layout.name == cfg.DATASET.NAME
    assert type(build_dataset(cfg)).__name__ == layout.name
    assert templates_for(layout.name) == templates_for(layout.yaml)
    assert find_layout(layout.yaml) is find_layout(layout.name.upper()) is layout


def test_templates_are_those_of_coop():
    assert templates_for("sun397") == templates_for("my.package:Set") == ["a photo of a {}."]
    assert templates_for("FGVCAircraft") == ["a photo of a {}, a type of aircraft."]
    assert len(templates_for("ImageNetA")) == 7


def test_imagenet_has_labels_by_wnid_and_equal_names_stay_two_classes(root):
    dataset = DATASETS["ImageNet"](config(root, "ImageNet"))
    assert dataset.class_ids == FAMILY and dataset.classnames.count("missile") == 2 and dataset.num_classes == 12
    assert all(FAMILY[item.label] in item.impath for item in dataset.train_x + dataset.test)
    assert dataset.val is dataset.test and len(dataset.test) == 24
    new = DATASETS["ImageNet"](config(root, "ImageNet", "DATASET.SUBSAMPLE_CLASSES", "new"))
    assert new.class_ids == FAMILY[6:] and new.val is new.test and {item.label for item in new.test} == set(range(6))


@pytest.mark.parametrize("layout", SHIFTED, ids=lambda layout: layout.yaml)
def test_shifted_sets_know_their_classes(root, layout):
    dataset = DATASETS[layout.name](config(root, layout.name, "DATASET.NUM_SHOTS", 16, "DATASET.LABELED_PERCENT", 1))
    assert dataset.class_ids == (SHIFTED_WNIDS if layout.classes == 200 else FAMILY)
    assert dataset.train_x is dataset.test and not dataset.val and dataset.labelled_by == ""
    assert len(dataset.test) == dataset.num_classes  # the small V2 has ten or more folders, so 10 must not precede 2
    for item in dataset.test:
        assert dataset.class_ids[item.label] in item.impath and WNIDS[dataset.class_ids[item.label]] == item.classname


def test_halves_of_shifted_sets_are_imagenets(root):
    halves = {half: ("DATASET.SUBSAMPLE_CLASSES", half) for half in ("base", "new")}
    for layout in SHIFTED:
        parts = {half: DATASETS[layout.name](config(root, layout.name, *opts)) for half, opts in halves.items()}
        assert set(parts["base"].class_ids) <= set(FAMILY[:6]) and set(parts["new"].class_ids) <= set(FAMILY[6:])
        assert parts["base"].num_classes + parts["new"].num_classes == (4 if layout.classes == 200 else 12)
    assert parts["base"].num_classes == 3  # R has n...1, 3, 5 of the first six


def test_digits_have_identities(tmp_path):
    assert Digits(config(tmp_path, "Digits", "DATASET.SUBSAMPLE_CLASSES", "new")).class_ids[0] == "five"


def test_shifted_sets_take_imagenets_names_where_they_have_no_copy(root, broken, tmp_path):
    folder, message = broken("ImageNetR")
    (folder / "classnames.txt").unlink()
    assert "classnames.txt is missing" in message(FileNotFoundError)
    (tmp_path / "imagenet").mkdir()
    shutil.copy(root / "imagenet" / "classnames.txt", tmp_path / "imagenet")
    assert DATASETS["ImageNetR"](config(tmp_path, "ImageNetR")).class_ids == SHIFTED_WNIDS


def test_missing_parts_are_named_with_what_is_expected(broken):
    folder, message = broken("dtd")
    (folder / "split_zhou_DescribableTextures.json").unlink()
    text = message(FileNotFoundError)
    assert "split_zhou_DescribableTextures.json is missing" in text
    assert "dtd/\n  split_zhou" in text and "prepare DescribableTextures" in text
    shutil.rmtree(folder / "images")
    assert f"{folder / 'images'} is missing" in message(FileNotFoundError)
    folder, message = broken("fgvc_aircraft")
    (folder / "images_variant_val.txt").unlink()
    assert "images_variant_val.txt is missing" in message(FileNotFoundError)


def test_names_without_an_image_are_counted(broken):
    folder, message = broken("eurosat")
    for number in range(3):
        (folder / "2750" / "c1" / "d" / f"test_1_{number}.jpg").unlink()
    text = message(FileNotFoundError)
    assert "3 of the 27 images that the split of EuroSAT names" in text and "c1/d/test_1_0.jpg" in text


def test_malformed_split_files(broken):
    folder, message = broken("oxford_pets")
    path = folder / "split_zhou_OxfordPets.json"
    good = json.loads(path.read_text())

    def after(change):
        split = json.loads(json.dumps(good))
        path.write_text(change(split) or json.dumps(split))
        return message(ValueError)

    assert "cut short or no JSON" in after(lambda split: json.dumps(split)[:200])
    assert "has no list 'val'" in after(lambda split: split.pop("val") and None)
    assert "has no list 'train'" in after(lambda split: "[1, 2]")
    assert "entry 2: ['x.jpg', 1] is not" in after(lambda split: split["test"].__setitem__(2, ["x.jpg", 1]))
    for name in ("../../etc/passwd", "/etc/passwd", ""):
        assert "entry 0" in after(lambda split, name=name: split["train"].__setitem__(0, [name, 0, "Alpha_one"]))
    assert "is called 'gamma' and 'delta'" in after(lambda split: split["val"][-1].__setitem__(2, "delta"))
    text = after(lambda split: split.update(train=[entry for entry in split["train"] if entry[1] != 1]))
    assert "1 classes have no training image (labels 1)" in text


def test_malformed_aircraft_lists(broken):
    folder, message = broken("fgvc_aircraft")
    path = folder / "images_variant_test.txt"
    path.write_text(path.read_text() + "7 Spitfire\n")
    assert "images_variant_test.txt line 10: '7 Spitfire'" in message(ValueError)


def test_imagenet_folders_that_do_not_fit(broken):
    folder, message = broken("imagenet")
    shutil.rmtree(folder / "images" / "train" / FAMILY[4])
    text = message(FileNotFoundError)
    assert "images of 11 of the 12 classes" in text and FAMILY[4] in text
    (folder / "images" / "train" / FAMILY[4]).mkdir()
    assert "images of 11 of the 12 classes" in message(FileNotFoundError)  # an empty folder is no class
    picture(folder / "images" / "train" / FAMILY[4] / "a.JPEG")
    picture(folder / "images" / "val" / "n99999999" / "a.JPEG")
    assert "1 folders that classnames.txt does not name: n99999999" in message(ValueError)
    picture(folder / "images" / "val" / "ILSVRC2012_val_00000001.JPEG")
    assert "lie flat (ILSVRC2012_val_00000001.JPEG)" in message(ValueError)


def test_v2_folders_must_number_the_lines(broken):
    folder, message = broken("imagenetv2")
    images = folder / "imagenetv2-matched-frequency-format-val"
    (images / "11").rename(images / "12")
    assert "12 numbered folders" in message(ValueError) and "0 to 11" in message(ValueError)
    (images / "12").rename(images / "eleven")
    assert "no numbers: eleven" in message(ValueError)


def test_unreadable_samples_are_refused_before_a_model_loads(broken, train_args, tmp_path):
    folder, message = broken("ucf101")
    images = folder / "UCF-101-midframes"
    (images / "c0" / "d" / "test_0_0.jpg").write_bytes(b"")
    text = message(OSError)
    assert "1 of 9 test images that were tried cannot be read" in text and "c0/d/test_0_0.jpg (" in text
    picture(images / "c0" / "d" / "test_0_0.jpg")
    (images / "c0" / "d" / "train_0_0.jpg").write_bytes(b"")
    assert "1 of 8 train images" in message(OSError, "DATALOADER.MAX_UNREADABLE", 0)
    DATASETS["UCF101"](config(tmp_path, "UCF101"))  # a few are replaced while training
    for path in images.rglob("train_*.jpg"):
        path.write_bytes(b"")
    assert "8 of 8 train images" in message(OSError)  # but not all
    shutil.rmtree(folder)
    arguments = ["--root", str(tmp_path), *train_args("CoOp", "DATASET.NAME", "UCF101")[2:]]
    with pytest.raises(SystemExit, match="UCF-101-midframes"):
        main(arguments)


def test_classnames_mistakes_are_named(tmp_path):
    path = tmp_path / "classnames.txt"
    path.write_text("n01440764 tench\nn01443537\n")
    with pytest.raises(ValueError, match="line 2: n01443537 has no name"):
        read_classnames(path)
    path.write_text("n01440764 tench\nn01440764 great white shark\n")
    with pytest.raises(ValueError, match="line 2: n01440764 stands twice"):
        read_classnames(path)
    path.write_text("n2 great white shark\n\nn1 tench\n")
    assert read_classnames(path) == (["n1", "n2"], ["tench", "great white shark"])


def test_imagenet_takes_images_alone_and_names_what_else_is_there(broken, tmp_path, capsys):
    folder, message = broken("imagenet")
    train = folder / "images" / "train"
    for name in ("notes.txt", "Thumbs.db"):
        (train / FAMILY[0] / name).write_text("no image")
    picture(train / FAMILY[1] / "more" / "a.JPEG")
    (train / FAMILY[2] / "itself.JPEG").symlink_to("itself.JPEG")
    for _ in range(2):  # read, and remembered
        dataset = DATASETS["ImageNet"](config(tmp_path, "ImageNet"))
        assert len(dataset.train_x) == 48 and all(item.impath.endswith(".JPEG") for item in dataset.train_x)
        files, links, folders = (line for line in capsys.readouterr().out.splitlines() if line.startswith("Note: "))
        assert files.endswith(
            f"2 files below {train} are no images by their ending: {FAMILY[0]}/Thumbs.db, {FAMILY[0]}/notes.txt"
        )
        assert f"{FAMILY[2]}/itself.JPEG" in links and f"{FAMILY[1]}/more" in folders
    for path in (train / FAMILY[1]).glob("*.JPEG"):
        path.unlink()
    text = message(FileNotFoundError)
    assert f"missing or empty: {FAMILY[1]}." in text and f"{FAMILY[1]}/more" in text


def test_nothing_is_read_twice_until_a_folder_changes(root, tmp_path):
    shutil.copytree(root / IMAGENET.folder, tmp_path / IMAGENET.folder)
    cfg = config(tmp_path, "ImageNet", "DATASET.NUM_SHOTS", 1)
    build_dataset(cfg)
    pool = build_dataset(all_labelled(cfg)).train_x
    assert build_dataset(all_labelled(cfg)).train_x[0] is pool[0]
    picture(tmp_path / "imagenet" / "images" / "train" / FAMILY[0] / "new.JPEG")
    assert len(build_dataset(all_labelled(cfg)).train_x) == len(pool) + 1
