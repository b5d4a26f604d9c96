"""Data sets, few-shot draws, loaders and transforms."""

import pytest
import torch
from PIL import Image

from dho_prompt import engine


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


def test_summary_and_custom_parts(make_cfg, capsys):
    class Doubled(engine.DatasetWrapper):
        def __len__(self):
            return 2 * super().__len__()

        def __getitem__(self, idx):
            return super().__getitem__(idx // 2)

    def to_two(image):
        return torch.full((1,), 2.0)

    cfg = make_cfg(VERBOSE=True, DATASET__ALL_AS_UNLABELED=True)
    manager = engine.DataManager(cfg, custom_tfm_train=to_two, dataset_wrapper=Doubled)
    assert isinstance(manager.test_loader.dataset, Doubled)
    assert next(iter(manager.train_loader_x))["img"].tolist() == [[2.0]] * 10
    printed = capsys.readouterr().out
    assert "Loading dataset: TinyImages\n* Using custom transform for training\nBuilding transform_test\n" in printed
    rows = dict(line.rsplit(None, 1) for line in printed.splitlines() if line.startswith("#"))
    assert {key.strip(): value for key, value in rows.items()} == {
        "# classes": "3",
        "# train_x": "24",
        "# train_u": "48",
        "# val": "9",
        "# test": "15",
    }


def test_test_transform_resizes_crops_and_normalises(make_cfg):
    mean, std = [0.2, 0.3, 0.4], [0.5, 0.25, 0.125]
    cfg = make_cfg(INPUT__SIZE=(4, 4), INPUT__PIXEL_MEAN=mean, INPUT__PIXEL_STD=std, INPUT__INTERPOLATION="nearest")
    image = Image.new("RGB", (16, 8), (0, 0, 0))
    image.paste((255, 255, 255), (4, 0, 12, 8))  # exactly the square that the centre crop keeps
    tensor = engine.build_transform(cfg, is_train=False)(image)
    expected = (torch.ones(3, 4, 4) - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(tensor, expected)


@pytest.mark.parametrize("names", [(), ("random_resized_crop",), ("random_resized_crop", "normalize")])
def test_training_transform(make_cfg, names):
    cfg = make_cfg(INPUT__SIZE=(32, 32), INPUT__TRANSFORMS=names, INPUT__PIXEL_MEAN=[2.0] * 3)
    image = Image.effect_noise((64, 40), 60).convert("RGB")
    transform = engine.build_transform(cfg)
    tensors = [transform(image) for _ in range(2)]
    assert all(tensor.shape == (3, 32, 32) for tensor in tensors)
    assert torch.equal(*tensors) == (names == ())
    assert (tensors[0].max() < 0) == ("normalize" in names)


def test_flip(make_cfg):
    image = Image.effect_noise((32, 32), 60).convert("RGB")
    transform = engine.build_transform(make_cfg(INPUT__SIZE=(32, 32), INPUT__TRANSFORMS=("random_flip",)))
    torch.manual_seed(0)
    tensors = [transform(image) for _ in range(20)]
    flipped = [torch.equal(tensor, tensors[0].flip(2)) for tensor in tensors]
    assert 0 < sum(flipped) < 20
    assert all(torch.equal(tensor, tensors[0]) for tensor, mirrored in zip(tensors, flipped) if not mirrored)


def test_unknown_transform(make_cfg):
    with pytest.raises((ValueError, AssertionError)) as error:
        engine.build_transform(make_cfg(INPUT__TRANSFORMS=("random_flop",)))
    if engine.ENGINE == "embedded":
        assert "Did you mean 'random_flip'" in str(error.value)


@pytest.mark.skipif(engine.ENGINE == "dassl", reason="Dassl has it")
@pytest.mark.parametrize(
    "key, value, message",
    [
        (
            "INPUT__TRANSFORMS",
            ("random_flip", "cutout"),
            r"INPUT\.TRANSFORMS 'cutout'.*Allowed: normalize, random_flip",
        ),
        ("INPUT__TRANSFORMS", ("center_crop",), r"INPUT\.TRANSFORMS 'center_crop'"),
        ("INPUT__NO_TRANSFORM", True, r"INPUT\.NO_TRANSFORM is True.*set it to False"),
        ("DATALOADER__K_TRANSFORMS", 2, r"DATALOADER\.K_TRANSFORMS is 2.*set them to 1 and False"),
        ("DATALOADER__RETURN_IMG0", True, r"RETURN_IMG0 is True.*set them to 1 and False"),
        (
            "DATALOADER__TRAIN_X__SAMPLER",
            "RandomDomainSampler",
            r"sampler 'RandomDomainSampler'.*Dassl itself has more",
        ),
    ],
)
def test_what_only_dassl_has_is_refused(make_cfg, key, value, message):
    with pytest.raises(ValueError, match=message):
        engine.DataManager(make_cfg(**{key: value}))


def test_unknown_sampler_and_empty_data(make_cfg):
    cfg = make_cfg()
    images = engine.build_dataset(cfg).test
    with pytest.raises(ValueError, match="SomeSampler"):
        engine.build_data_loader(cfg, sampler_type="SomeSampler", data_source=images)
    with pytest.raises((ValueError, AssertionError)):
        engine.build_data_loader(cfg, data_source=[])
    with pytest.raises((ValueError, TypeError)):
        engine.DatasetBase(train_x=None)
