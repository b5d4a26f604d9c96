"""CoOp's few-shot images: its pickles, read without running them, or the draw that it would make."""

import random
import types

import pytest
from pickles import hostile
from trees import config, picture, write_tree

from dho_prompt.data.__main__ import main
from dho_prompt.data.choose.host_few_shot import draw_as_dassl
from dho_prompt.data.choose.host_list import short_names
from dho_prompt.data.choose.labelled import all_labelled
from dho_prompt.data.datasets import DATASETS, Digits, ImageFolder
from dho_prompt.data.layouts.table import TEN, find_layout
from dho_prompt.engine import build_dataset

COOP = ("DATASET.SPLIT_FEWSHOT", "coop", "DATASET.NUM_SHOTS")


def pickled(root, layout, shots, seed):
    return root / layout.folder / "split_fewshot" / f"shot_{shots}-seed_{seed}.pkl"


def elsewhere(items, root):
    """The images as another machine has them."""
    return [(item.impath.replace(str(root), "/home/kz/data sets"), item.label) for item in items]


@pytest.fixture
def tree(tmp_path):
    """A copy of the small tree of a data set."""

    def write(name):
        write_tree(tmp_path, find_layout(name))
        return tmp_path

    return write


def build(root, name, shots, *opts):
    return DATASETS[name](config(root, name, *COOP, shots, "SEED", 1, *opts))


@pytest.mark.parametrize("layout", TEN, ids=lambda layout: layout.yaml)
def test_the_images_are_those_of_the_pickle_in_its_order(tree, layout, dump):
    root = tree(layout.name)
    every = DATASETS[layout.name](config(root, layout.name)).train_x
    wanted = [every[index] for index in (3, 1, 4, 10, 8)]
    dump(pickled(root, layout, 2, 1), train=elsewhere(wanted, root), val=[])
    dataset = build(root, layout.name, 2)
    assert [item.impath for item in dataset.train_x] == [item.impath for item in wanted]
    assert dataset.training_images == every or len(dataset.training_images) == len(every)
    assert "shot_2-seed_1.pkl" in dataset.labelled_by
    ours = DATASETS[layout.name](config(root, layout.name, "DATASET.NUM_SHOTS", 2, "SEED", 1))
    assert len(ours.train_x) == 6 and [i.impath for i in ours.val] == [i.impath for i in dataset.val]


def test_imagenets_too_and_its_halves(tree, dump):
    root, layout = tree("ImageNet"), find_layout("ImageNet")
    every = DATASETS["ImageNet"](config(root, "ImageNet")).train_x
    wanted = [next(item for item in every if item.label == label) for label in range(12)]
    dump(pickled(root, layout, 1, 1), train=elsewhere(wanted, root))
    assert [item.impath for item in build(root, "ImageNet", 1).train_x] == [item.impath for item in wanted]
    half = build(root, "ImageNet", 1, "DATASET.SUBSAMPLE_CLASSES", "new")
    assert [item.impath for item in half.train_x] == [item.impath for item in wanted[6:]]
    assert [item.label for item in half.train_x] == list(range(6))
    assert len(build_dataset(all_labelled(config(root, "ImageNet", *COOP, 1))).train_x) == 48


def test_the_longest_end_of_a_path_decides(tree, dump):
    root, layout = tree("EuroSAT"), find_layout("EuroSAT")
    images = root / "eurosat" / "2750"
    split = images.parent / layout.split
    name = "c0/d/train_0_0.jpg"
    (images / "train_0_0.jpg").write_bytes((images / name).read_bytes())
    split.write_text(split.read_text().replace(name, "train_0_0.jpg", 1).replace("c0/d/train_0_1.jpg", name, 1))
    dump(pickled(root, layout, 1, 1), train=[(f"/x/eurosat/2750/{name}", 0)])
    assert [item.impath for item in build(root, "EuroSAT", 1).train_x] == [str(images / name)]


def test_what_does_not_fit_is_named(tree, dump):
    root, layout = tree("EuroSAT"), find_layout("EuroSAT")
    path = pickled(root, layout, 1, 1)
    for images, reason in (
        ([("/x/2750/c0/d/absent.jpg", 0)], "1 of its training images are not among .*: /x/2750/c0/d/absent.jpg"),
        ([("/x/c1/d/test_1_0.jpg", 1)], "are not among the training images below .*2750: "),
        ([("/x/c1/d/train_1_0.jpg", 2)], "have another class there: /x/c1/d/train_1_0.jpg .label 2, here 1"),
        ([("/x/c1/d/train_1_0.jpg", 1)] * 2, "named more than once: .*c1/d/train_1_0.jpg"),
        ([(f"/x/c1/d/train_1_{n}.jpg", 1) for n in (0, 1)], "2 of its training images are beyond 1 of their class"),
    ):
        dump(path, train=images)
        with pytest.raises(ValueError, match=f"shot_1-seed_1.pkl: .*{reason}"):
            build(root, "EuroSAT", 1)
    path.write_bytes(hostile("")["eval"])
    with pytest.raises(ValueError, match="it asks for builtins.eval"):
        build(root, "EuroSAT", 1)


@pytest.mark.parametrize("shots", [1, 2, 4, 16])
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_without_the_pickle_the_draw_is_dassls(tree, shots, seed, capsys):
    root = tree("OxfordPets")
    every = DATASETS["OxfordPets"](config(root, "OxfordPets")).train_x
    random.seed(seed)
    labels = list(dict.fromkeys(item.label for item in every))
    members = [[item for item in every if item.label == label] for label in labels]
    expected = [item for items in members for item in (random.sample(items, shots) if shots <= 4 else items)]
    before = random.getstate()
    dataset = DATASETS["OxfordPets"](config(root, "OxfordPets", *COOP, shots, "SEED", seed))
    assert random.getstate() == before
    assert [item.impath for item in dataset.train_x] == [item.impath for item in expected]
    assert f"Labelled are the {shots} images per class that CoOp draws with seed {seed}" in capsys.readouterr().out


def test_a_fixed_draw_is_that_of_dassl():
    """What Dassl v0.6.3 drew, with Python 3.11, from 300 images of each class, whose labels come as 2, 0, 1."""
    images = [types.SimpleNamespace(label=label, name=number) for number in range(300) for label in (2, 0, 1)]
    drawn = draw_as_dassl(images, 5, 7)
    assert [image.label for image in drawn] == [2] * 5 + [0] * 5 + [1] * 5
    assert [image.name for image in drawn] == [165, 77, 202, 24, 37, 274, 48, 187, 298, 29, 259, 109, 19, 44, 222]
    drawn = draw_as_dassl(images, 16, 7)
    names = [165, 77, 202, 24, 37, 274, 48, 187, 298, 29, 259, 109, 19, 44, 222, 214]
    assert [image.name for image in drawn[:16]] == names and len(drawn) == 48


def test_where_the_draw_cannot_be_repeated_the_pickle_is_asked_for(tree):
    root = tree("ImageNet")
    with pytest.raises(
        FileNotFoundError, match="there is no .*imagenet/split_fewshot/shot_4-seed_1.pkl, .* coop reads"
    ):
        build(root, "ImageNet", 4)
    root = tree("EuroSAT")
    with pytest.raises(FileNotFoundError, match="there is no .*eurosat/split_fewshot/shot_4-seed_-1.pkl"):
        build(root, "EuroSAT", 4, "SEED", -1)


def test_data_sets_that_coop_has_not_are_refused(tmp_path):
    write_tree(tmp_path, find_layout("ImageNetR"))
    assert len(build(tmp_path, "ImageNetR", 4).test) == 4  # for testing alone
    with pytest.raises(ValueError, match="SPLIT_FEWSHOT is coop, but Digits is none of the data sets that CoOp has"):
        Digits(config(tmp_path, "Digits", *COOP, 4))
    for name in ("cat", "dog"):
        for number in range(4):
            picture(tmp_path / "pets" / name / f"{number}.png")
    with pytest.raises(ValueError, match="ImageFolder is none of"):
        ImageFolder(config(tmp_path, "ImageFolder", "DATASET.FOLDER", "pets", *COOP, 1))


def test_a_list_from_a_pickle_labels_the_same_images(tree, dump, tmp_path, capsys):
    root, layout = tree("EuroSAT"), find_layout("EuroSAT")
    every = DATASETS["EuroSAT"](config(root, "EuroSAT")).train_x
    paths = []
    for seed in (1, 2):
        wanted = every[seed::4]
        paths.append(dump(pickled(root, layout, 1, seed), train=elsewhere(wanted, root), val=[("/x/a.jpg", 0)]))
    assert main(["list", "--from", *map(str, paths)]) == 0
    out = capsys.readouterr().out
    assert f"{paths[0].with_suffix('.txt')}: 3 labelled images (its 1 validation images are left out)" in out
    lists = root / "eurosat" / "split_fewshot" / "shot_1-seed_{seed}.txt"
    for seed in (1, 2):
        dataset = DATASETS["EuroSAT"](config(root, "EuroSAT", "DATASET.LABELED_LIST", lists, "SEED", seed))
        assert [item.impath for item in dataset.train_x] == [item.impath for item in every[seed::4]]
    assert main(["list", "--from", str(paths[0]), "--to", str(tmp_path / "lists")]) == 0
    text = (tmp_path / "lists" / "shot_1-seed_1.txt").read_text()
    assert text == "".join(f"eurosat/2750/c{label}/d/train_{label}_1.jpg\n" for label in range(3))


def test_names_start_at_the_data_sets_folder():
    for paths, names in (
        (["/a/dtd/oxford_pets/images/x.jpg", "/a/dtd/oxford_pets/images/y.jpg"], ["oxford_pets/images/x.jpg"]),
        (
            ["/d/imagenet/images/train/n1/x.JPEG", "/d/imagenet/images/train/n2/x.JPEG"],
            ["imagenet/images/train/n1/x.JPEG"],
        ),
        (["/d/stanford_cars/cars_train/1.jpg"], ["stanford_cars/cars_train/1.jpg"]),
        (["/d/mine/cat/1.jpg", "/d/mine/dog/1.jpg"], ["cat/1.jpg"]),
        (["C:\\d\\dtd\\images\\a\\1.jpg"], ["dtd/images/a/1.jpg"]),
    ):
        assert short_names(paths)[:1] == names
