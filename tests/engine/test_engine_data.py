"""Data sets, few-shot draws, loaders and transforms."""

import random
from pathlib import Path

import pytest
import torch
from PIL import Image

from dho_prompt import engine


def labels_of(images):
    return sorted(item.label for item in images)


def test_few_shot_draws_so_many_of_each_class_and_follows_the_seed(make_cfg):
    cfg = make_cfg(DATASET__NUM_SHOTS=4)
    picks = []
    for seed in (0, 0, 1):
        random.seed(seed)
        dataset = engine.build_dataset(cfg)
        assert labels_of(dataset.train_x) == [0] * 4 + [1] * 4 + [2] * 4
        picks.append([item.impath for item in dataset.train_x])
    assert picks[0] == picks[1] != picks[2]
    # the draws themselves are part of the contract: published few-shot results depend on them
    everything = engine.build_dataset(make_cfg(DATASET__NUM_SHOTS=-1)).train_x
    random.seed(1)
    expected = []
    for label in range(3):
        expected += random.sample([item.impath for item in everything if item.label == label], 4)
    assert picks[2] == expected


def test_few_shot_with_too_few_images(make_cfg):
    dataset = engine.build_dataset(make_cfg(DATASET__NUM_SHOTS=-1))
    assert len(dataset.train_x) == 48
    assert len(dataset.generate_fewshot_dataset(dataset.train_x, num_shots=20)) == 48
    assert len(dataset.generate_fewshot_dataset(dataset.train_x, num_shots=20, repeat=True)) == 60
    first, second = dataset.generate_fewshot_dataset(dataset.train_x, dataset.val, num_shots=1)
    assert len(first) == len(second) == 3


def test_classes_come_from_the_labels_and_may_have_gaps(image_root):
    paths = sorted((image_root / "train").glob("*.png"))
    train = [engine.Datum(str(paths[0]), label=2, classname="two"), engine.Datum(str(paths[1]), classname="zero")]
    dataset = engine.DatasetBase(train_x=train, test=train)
    assert dataset.num_classes == 3
    assert dataset.lab2cname == {0: "zero", 2: "two"}
    assert dataset.classnames == ["zero", "two"]
    assert dataset.train_u is None


@pytest.mark.filterwarnings("ignore")
def test_a_missing_image_is_refused():
    with pytest.raises((FileNotFoundError, AssertionError)):
        engine.Datum("nowhere.png")


def test_unreadable_image_is_named(tmp_path, image_root):
    broken = tmp_path / "broken.png"
    broken.write_bytes(next((image_root / "train").glob("*.png")).read_bytes()[:60])
    with pytest.raises(OSError, match="broken.png"):
        engine.read_image(str(broken))
    with pytest.raises(FileNotFoundError, match="gone.png"):
        engine.read_image(str(tmp_path / "gone.png"))


def test_loaders(make_cfg):
    manager = engine.DataManager(make_cfg())
    assert len(manager.train_loader_x) == 24 // 10  # the last 4 images are dropped
    assert manager.train_loader_u is None
    assert len(manager.val_loader) == 3  # 9 images, the last batch has 1
    assert [len(batch["label"]) for batch in manager.test_loader] == [4, 4, 4, 3]
    assert next(iter(manager.test_loader))["index"].tolist() == [0, 1, 2, 3]
    batch = next(iter(manager.train_loader_x))
    assert batch["img"].shape == (10, 3, 8, 8)
    assert batch["img"].dtype == torch.float32
    assert set(batch) == {"img", "label", "domain", "impath", "index"}
    assert manager.num_classes == 3
    assert manager.lab2cname == {0: "c0", 1: "c1", 2: "c2"}
    item = manager.dataset.train_x[int(batch["index"][0])]
    assert (item.impath, item.label) == (batch["impath"][0], int(batch["label"][0]))


def test_training_keeps_its_only_batch_though_incomplete(make_cfg):
    manager = engine.DataManager(make_cfg(DATALOADER__TRAIN_X__BATCH_SIZE=100))
    assert [len(batch["label"]) for batch in manager.train_loader_x] == [24]


@pytest.mark.parametrize("same, expected", [(True, 48 // 10), (False, 48 // 7)])
def test_unlabelled_loader(make_cfg, same, expected):
    changes = {"DATALOADER__TRAIN_U__SAME_AS_X": same, "DATALOADER__TRAIN_U__BATCH_SIZE": 7}
    manager = engine.DataManager(make_cfg(DATASET__ALL_AS_UNLABELED=True, **changes))
    assert len(manager.train_loader_u) == expected


def test_summary_and_custom_parts(make_cfg, capsys):
    class Doubled(engine.DatasetWrapper):
        def __len__(self):
            return 2 * super().__len__()

        def __getitem__(self, idx):
            return super().__getitem__(idx // 2)

    def to_two(image):
        return torch.full((1,), 2.0)

    cfg = make_cfg(VERBOSE=True, DATASET__ALL_AS_UNLABELED=True)
    manager = engine.DataManager(cfg, custom_tfm_test=to_two, dataset_wrapper=Doubled)
    assert isinstance(manager.test_loader.dataset, Doubled)
    assert next(iter(manager.test_loader))["img"].tolist() == [[2.0]] * 4
    printed = capsys.readouterr().out
    assert "Loading dataset: TinyImages" in printed
    rows = dict(line.rsplit(None, 1) for line in printed.splitlines() if line.startswith("#"))
    assert {key.strip(): value for key, value in rows.items()} == {
        "# classes": "3",
        "# train_x": "24",
        "# train_u": "48",
        "# val": "9",
        "# test": "15",
    }


def test_several_views_copies_and_the_plain_image(make_cfg):
    cfg = make_cfg(DATALOADER__K_TRANSFORMS=2, DATALOADER__RETURN_IMG0=True)
    images = engine.build_dataset(cfg).train_x
    views = [engine.build_transform(cfg), engine.build_transform(cfg, is_train=False)]
    item = engine.DatasetWrapper(cfg, images, transform=views, is_train=True)[0]
    assert len(item["img"]) == len(item["img2"]) == 2
    assert torch.equal(*item["img2"])
    assert item["img0"].shape == (3, 8, 8)
    item = engine.DatasetWrapper(cfg, images, transform=views[1])[0]
    assert torch.equal(item["img"], item["img0"])


def test_test_transform_resizes_crops_and_normalises(make_cfg):
    mean, std = [0.2, 0.3, 0.4], [0.5, 0.25, 0.125]
    cfg = make_cfg(INPUT__SIZE=(4, 4), INPUT__PIXEL_MEAN=mean, INPUT__PIXEL_STD=std, INPUT__INTERPOLATION="nearest")
    image = Image.new("RGB", (16, 8), (0, 0, 0))
    image.paste((255, 255, 255), (4, 0, 12, 8))  # exactly the square that the centre crop keeps
    tensor = engine.build_transform(cfg, is_train=False)(image)
    expected = (torch.ones(3, 4, 4) - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(tensor, expected)


@pytest.mark.parametrize(
    "name",
    [
        "random_crop",
        "random_translation",
        "random_resized_crop",
        "center_crop",
        "cutout",
        "colorjitter",
        "randomgrayscale",
        "gaussian_blur",
        "gaussian_noise",
        "instance_norm",
    ],
)
def test_training_transforms(make_cfg, name):
    cfg = make_cfg(INPUT__SIZE=(32, 32), INPUT__TRANSFORMS=(name,), INPUT__GB_P=1.0, INPUT__RGS_P=1.0)
    image = Image.effect_noise((32, 32), 60).convert("RGB")
    tensor = engine.build_transform(cfg)(image)
    assert tensor.shape == (3, 32, 32)
    assert torch.isfinite(tensor).all()
    if name == "instance_norm":
        assert tensor.mean().abs() < 1e-5
    if name == "cutout":
        assert (tensor == 0).sum() >= 3 * 8 * 8  # a corner of the 16 x 16 square at the least


def test_no_transform_and_unknown_transform(make_cfg):
    assert engine.build_transform(make_cfg(INPUT__NO_TRANSFORM=True)) is None
    with pytest.raises((ValueError, AssertionError)) as error:
        engine.build_transform(make_cfg(), choices=["random_flop"])
    if engine.ENGINE == "embedded":
        assert "Did you mean 'random_flip'" in str(error.value)


def test_unknown_sampler_and_empty_data(make_cfg):
    cfg = make_cfg()
    images = engine.build_dataset(cfg).test
    with pytest.raises(ValueError, match="SomeSampler"):
        engine.build_data_loader(cfg, sampler_type="SomeSampler", data_source=images)
    with pytest.raises((ValueError, AssertionError)):
        engine.build_data_loader(cfg, data_source=[])
    with pytest.raises((ValueError, TypeError)):
        engine.DatasetBase(train_x=None)


def test_listing_hides_dotted_names(tmp_path):
    for name in ("b", ".hidden", "a"):
        engine.mkdir_if_missing(str(tmp_path / name))
        engine.mkdir_if_missing(str(tmp_path / name))
    assert engine.listdir_nohidden(str(tmp_path), sort=True) == ["a", "b"]
    assert Path(tmp_path, ".hidden").is_dir()
