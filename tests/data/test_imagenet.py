"""ImageNet in CoOp's layout: labels, halves, the remembered listing."""

import json
import os
from types import SimpleNamespace

import pytest

from dho_prompt.data import class_folders
from dho_prompt.data.datasets.imagenet import ImageNet, read_classnames
from tests_support import CLASSES, write_imagenet


def config(root, shots=-1, half="all", seed=1):
    dataset = SimpleNamespace(
        ROOT=str(root), NUM_SHOTS=shots, SUBSAMPLE_CLASSES=half, LABELED_PERCENT=0.0, LABELED_LIST=""
    )
    return SimpleNamespace(DATASET=dataset, SEED=seed)


def test_labels_follow_the_sorted_wnids_and_val_is_test(data_root):
    dataset = ImageNet(config(data_root, shots=2))
    assert dataset.classnames == [CLASSES[wnid] for wnid in sorted(CLASSES)]
    assert dataset.num_classes == 5 and dataset.lab2cname[3] == "schooner"
    assert [item.label for item in dataset.train_x] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert all(sorted(CLASSES)[item.label] in item.impath for item in dataset.train_x + dataset.test)
    assert dataset.val is dataset.test and len(dataset.test) == 20
    assert len(ImageNet(config(data_root)).train_x) == 40


def test_halves_are_relabelled_from_zero(data_root):
    base, new = (ImageNet(config(data_root, half=half)) for half in ("base", "new"))
    assert base.classnames == ["tench", "goldfish", "flamingo"] and new.classnames == ["schooner", "sunglasses"]
    assert {item.label for item in new.test} == {0, 1} and new.val is new.test
    with pytest.raises(ValueError, match="SUBSAMPLE_CLASSES is 'half'; allowed are all, base, new"):
        ImageNet(config(data_root, half="half"))


def test_equal_names_stay_two_classes(tmp_path):
    root = write_imagenet(tmp_path)
    path = root / "imagenet" / "classnames.txt"
    path.write_text(path.read_text().replace("flamingo", "sunglasses"))
    dataset = ImageNet(config(root))
    assert dataset.classnames.count("sunglasses") == 2 and dataset.num_classes == 5


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


def test_large_listings_are_remembered_until_a_folder_changes(tmp_path, monkeypatch):
    folder = tmp_path / "train"
    for wnid in ("n1", "n2"):
        (folder / wnid).mkdir(parents=True)
        for number in range(5001):
            (folder / wnid / f"{number}.JPEG").touch()
    (folder / "n1" / ".hidden").touch()
    listed = class_folders.list_class_folders(folder)
    assert {name: len(files) for name, files in listed.items()} == {"n1": 5001, "n2": 5001}
    index = tmp_path / "train.index.json"
    assert str(tmp_path) not in index.read_text()  # relative names only

    with monkeypatch.context() as patched:
        patched.setattr(class_folders, "write_json", lambda *_: pytest.fail("listed again"))
        assert class_folders.list_class_folders(folder) == listed
    (folder / "n2" / "new.JPEG").touch()
    assert len(class_folders.list_class_folders(folder)["n2"]) == 5002
    index.write_text("{ damaged")
    assert len(class_folders.list_class_folders(folder)["n2"]) == 5002
    assert set(json.loads(index.read_text())) == {"stamps", "files"}
    assert sorted(os.listdir(tmp_path)) == ["train", "train.index.json"]
