"""A user's own images: folders as they are, a split that never changes, unlabelled images in the pool, own classes."""

import random
from hashlib import sha256

import pytest
from trees import config, picture

from dho_prompt.data.datasets import ImageFolder, import_datasets
from dho_prompt.data.layouts.own_folder import read_own_folder
from dho_prompt.engine import DATASET_REGISTRY
from dho_prompt.files import read_json
from dho_prompt.train import main


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "birds"
    for name, value in (("great tit", 40), ("robin", 200)):
        for part, count in (("train", 4), ("test", 2), ("val", 1)):
            for number in range(count):
                picture(folder / part / name / f"{number}.png", value + number)
    (folder / "train" / "robin" / "notes.txt").write_text("no image")
    for path in ("a.png", "deep/er/b.JPG", ".hidden/c.png", "deep/.e.png", "d.txt"):
        picture(folder / "unlabelled" / path)
    return folder


def test_folders_become_parts_and_classes(folder):
    dataset = ImageFolder(config("", "ImageFolder", "DATASET.FOLDER", folder, "DATASET.NUM_SHOTS", 1))
    assert dataset.classnames == dataset.class_ids == ["great tit", "robin"]
    assert (len(dataset.train_x), len(dataset.val), len(dataset.test)) == (2, 2, 4)
    assert sorted(item.impath[len(str(folder)) :] for item in dataset.train_u[8:]) == [
        "/unlabelled/a.png",
        "/unlabelled/deep/er/b.JPG",
    ]
    assert all(item.label == -1 for item in dataset.train_u[8:]) and len(dataset.train_u) == 10
    half = ("DATASET.SUBSAMPLE_CLASSES", "base")
    base = ImageFolder(config(folder.parent, "ImageFolder", "DATASET.FOLDER", "birds", *half))
    assert base.classnames == ["great tit"] and len(base.train_u) == 4 + 2
    assert len(ImageFolder(config(folder, "ImageFolder")).train_x) == 8


def test_names_may_be_given(folder):
    text = "robin European robin\ngreat tit\tParus major\n"
    for content in (
        text.encode(),
        text.encode("utf-8-sig"),
        text.encode("utf-16"),
        text.replace("\n", "\r\n").encode(),
    ):
        (folder / "classnames.txt").write_bytes(content)
        contents = read_own_folder(folder)
        assert contents.classnames == ["Parus major", "European robin"]
    assert contents.classnames == ["Parus major", "European robin"] and contents.class_ids == ["great tit", "robin"]
    for text, reason in (
        ("great tit\tx\nwren y\n", "line 2: 'wren' is no class folder"),
        ("robin x\nrobin y\n", "line 2: 'robin' stands twice"),
        ("robin\n", "line 1: 'robin' has no name"),
        ("robin x\n", "does not name 1 class folders: great tit"),
    ):
        (folder / "classnames.txt").write_text(text)
        with pytest.raises(ValueError, match=reason):
            read_own_folder(folder)


def test_class_folders_alone_are_split_by_their_names(tmp_path, capsys):
    def write(root, names):
        for name in names:
            for number in range(10):
                picture(root / "cats" / name / f"{number}.png", number)
        picture(root / "cats" / "unlabelled" / "u.png")
        contents = read_own_folder(root / "cats")
        return {part: [item.impath[len(str(root)) :] for item in getattr(contents, part)] for part in PARTS}, contents

    PARTS = ("train", "val", "test")
    names = ["lion", "puma", "lynx"]
    first, contents = write(tmp_path / "one", names)
    assert [len(first[part]) for part in PARTS] == [15, 6, 9] and len(contents.unlabelled) == 1
    assert len({name for part in PARTS for name in first[part]}) == 30 and contents.classnames == sorted(names)
    assert "15 of their images are for training, 6 for validation and 9 for testing" in capsys.readouterr().out
    for name in names:  # the least hashes are for validation, the next for testing
        ranked = sorted((f"{name}/{n}.png" for n in range(10)), key=lambda file: sha256(file.encode()).hexdigest())
        parts = {"val": ranked[:2], "test": ranked[2:5], "train": ranked[5:]}
        for part, files in parts.items():
            assert {f"/cats/{file}" for file in files} == {file for file in first[part] if f"/{name}/" in file}
    random.Random(0).shuffle(names)
    second, _ = write(tmp_path / "two", [*names, "cheetah"])
    assert all([name for name in second[part] if "cheetah" not in name] == first[part] for part in PARTS)
    for number in range(2, 10):
        (tmp_path / "one" / "cats" / "puma" / f"{number}.png").unlink()
    with pytest.raises(ValueError, match="class puma has 2 images"):
        read_own_folder(tmp_path / "one" / "cats")


def test_a_folder_is_below_the_root_and_not_where_the_user_stands(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    message = f"DATASET.FOLDER birds is a folder below DATASET.ROOT.*no .*data/birds.*give DATASET.FOLDER {folder}$"
    with pytest.raises(FileNotFoundError, match=message):
        ImageFolder(config(tmp_path / "data", "ImageFolder", "DATASET.FOLDER", "birds"))
    for name in ("wrens", ""):  # nothing there either, or no folder named
        with pytest.raises(FileNotFoundError, match="there is no folder .*data"):
            ImageFolder(config(tmp_path / "data", "ImageFolder", "DATASET.FOLDER", name))
    assert len(ImageFolder(config(folder.parent, "ImageFolder", "DATASET.FOLDER", "birds")).train_x) == 8


def test_incomplete_folders_are_explained(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere.*\n.*train/<class>"):
        read_own_folder(tmp_path / "nowhere")
    picture(folder / "test" / "wren" / "0.png")
    with pytest.raises(ValueError, match="test has 1 classes that .*train has not: wren"):
        read_own_folder(folder)
    for path in (folder / "train" / "robin").glob("*.png"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="1 classes of .* have no training image: robin"):
        read_own_folder(folder)
    (folder / "test").rename(folder / "tests")
    with pytest.raises(FileNotFoundError, match="no folder test"):
        read_own_folder(folder)


def unlabelled(folder):
    contents = read_own_folder(folder)
    names = [item.impath[len(str(folder / "unlabelled")) + 1 :] for item in contents.unlabelled]
    return names, [note for note in contents.notes if " links " in note]


def test_links_below_unlabelled_are_followed_once_and_never_into_the_data_set(folder, tmp_path):
    plain = ["a.png", "deep/er/b.JPG"]
    assert unlabelled(folder) == (plain, [])
    for name in ("one.png", "two/three.png"):
        picture(tmp_path / "elsewhere" / name)
    links = {
        "more": tmp_path / "elsewhere",
        "again": tmp_path / "elsewhere" / "two",  # listed first, so it is passed over below more
        "c.png": tmp_path / "elsewhere" / "one.png",
        "circle": ".",
        "itself": "itself",
        "itself.png": "itself.png",
        "nowhere": "absent",
        "up": "..",
        "further up": tmp_path,
        "images": "../test/robin",
    }
    for name, target in links.items():
        (folder / "unlabelled" / name).symlink_to(target)
    (tmp_path / "elsewhere" / "back").symlink_to(folder / "test")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "elsewhere")
    found, notes = unlabelled(folder)
    assert sorted(found) == sorted([*plain, "c.png", "again/three.png", "more/one.png"])
    assert notes[0].startswith("7 links below ") and "are not followed" in notes[0]
    assert notes[1].startswith("3 links below ") and notes[1].endswith(f"/itself.png, {folder}/unlabelled/nowhere")
    assert not any("test" in name for name in found)


def test_unlabeled_may_be_spelled_so(folder):
    before = unlabelled(folder)[0]
    (folder / "unlabelled").rename(folder / "unlabeled")
    assert [item.impath for item in read_own_folder(folder).unlabelled] == [f"{folder}/unlabeled/{n}" for n in before]


def test_images_outside_of_class_folders_are_named(folder, capsys):
    picture(folder / "train" / "flat.png")
    picture(folder / "val" / ".hidden.png")
    picture(folder / "train" / "robin" / "males" / "0.png")
    (folder / "test" / "robin" / "Thumbs.db").touch()
    ImageFolder(config("", "ImageFolder", "DATASET.FOLDER", folder))
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Note: ")]
    assert len(notes) == 4
    assert f"1 files below {folder}/train are no images by their ending: robin/notes.txt" in notes[0]
    assert f"1 folders within class folders of {folder}/train are not looked into: robin/males" in notes[1]
    assert f"1 images lie in {folder}/train itself and belong to no class: flat.png. Move them into" in notes[2]
    assert "robin/Thumbs.db" in notes[3]


def test_where_only_such_images_are_the_error_names_them(tmp_path):
    picture(tmp_path / "one" / "train" / "a.png")
    picture(tmp_path / "one" / "test" / "b.png")
    with pytest.raises(FileNotFoundError, match="has no class folders. 1 images lie in .*train itself .*: a.png"):
        read_own_folder(tmp_path / "one")
    for part in ("train", "test"):
        picture(tmp_path / "two" / part / "cat" / "lion" / "a.png")
    with pytest.raises(FileNotFoundError, match="no training image: cat. 1 folders within .*cat/lion"):
        read_own_folder(tmp_path / "two")
    picture(tmp_path / "two" / "train" / "cat" / "b.png")
    with pytest.raises(FileNotFoundError, match="test has no images in class folders.*cat/lion"):
        read_own_folder(tmp_path / "two")
    picture(tmp_path / "three" / "a.png")
    with pytest.raises(FileNotFoundError, match="has no class folders. 1 images lie in .*three itself"):
        read_own_folder(tmp_path / "three")


def test_a_run_on_a_folder_distils_on_its_unlabelled_images(folder, train_args, tmp_path):
    opts = ("DATASET.NAME", "ImageFolder", "DATASET.FOLDER", folder, "DATASET.NUM_SHOTS", "1", "OPTIM.MAX_EPOCH", "1")
    main(train_args("CoOpDHO", *opts))
    split = read_json(tmp_path / "run" / "split.json")
    assert split["labelled"] == 2 and split["unlabelled"] == 10
    assert read_json(tmp_path / "run" / "results.json")["accuracy"]["test"]["images"] == 4


def test_a_class_of_another_package_is_imported(tmp_path, monkeypatch, folder):
    (tmp_path / "my_birds.py").write_text(
        "from dho_prompt.data.datasets import ImageFolder\n\n\nclass Birds(ImageFolder):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for _ in range(2):
        import_datasets("Digits", "my_birds:Birds")
    dataset = DATASET_REGISTRY.get("my_birds:Birds")(config(folder, "my_birds:Birds"))
    assert dataset.classnames == ["great tit", "robin"]
    for name in ("my_birds:Cats", "absent_package:Birds", ":Birds"):
        with pytest.raises(ValueError, match=f"{name} cannot be imported.*package.module:ClassName"):
            import_datasets(name)


def test_what_is_no_data_set_class_is_refused_and_not_called(tmp_path, monkeypatch):
    (tmp_path / "no_sets.py").write_text(
        "called = []\n\n\ndef function(*args):\n    called.append(args)\n\n\n"
        "class Other:\n    def __init__(self, *args):\n        called.append(args)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("no_sets:function", "no_sets:Other", "os:system", "subprocess:Popen", "no_sets:called"):
        with pytest.raises(ValueError, match=f"{name} is .* and no data set: a class of your own extends DatasetBase"):
            import_datasets(name)
        assert name not in DATASET_REGISTRY.registered_names()
    import no_sets

    assert no_sets.called == []
