"""Unreadable training images: named once, replaced the same way every time, stopped at the limit."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from trees import config, picture

from dho_prompt.data.batches.pair import UnlabelledImages
from dho_prompt.data.batches.unreadable import Replacements
from dho_prompt.engine import read_image
from dho_prompt.training.loaders import SharedViews


@pytest.fixture
def images(tmp_path):
    """Ten images, of which 3, 4 and 9 are broken."""
    for number in range(10):
        picture(tmp_path / f"{number}.png", number)
    for number in (3, 4):
        (tmp_path / f"{number}.png").write_bytes(b"no image")
    (tmp_path / "9.png").unlink()
    items = [SimpleNamespace(impath=str(tmp_path / f"{n}.png"), label=n, domain=0) for n in range(10)]
    return items


def pool(images, limit):
    return UnlabelledImages(images, lambda image: {"img": torch.tensor(image.getpixel((0, 0))[0])}, read_image, limit)


EXPECTED = [0, 1, 2, 5, 5, 5, 6, 7, 8, 0]  # the next readable image, from the end back to the first


def test_the_next_image_takes_the_place_and_the_log_names_each_once(images, capfd):
    dataset = pool(images, 10)
    for _ in range(3):
        assert [int(dataset[index]["img"]) for index in range(10)] == EXPECTED
    assert dataset[3]["index"] == 5  # the image that is shown, not the one that was asked for
    out = capfd.readouterr().out
    assert out.count("takes its place") == 3
    assert [f"({n} so far, at most 10" in out for n in (1, 2, 3, 4)] == [True, True, True, False]


def test_worker_processes_share_the_count(images, capfd):
    loader = DataLoader(pool(images, 10), batch_size=2, num_workers=2)
    for _ in range(2):  # each epoch starts its workers anew
        assert torch.cat([batch["img"] for batch in loader]).tolist() == EXPECTED
    assert capfd.readouterr().out.count("takes its place") == 3


def test_the_limit_stops_with_all_names(images):
    dataset = pool(images, 2)
    assert int(dataset[3]["img"]) == 5
    with pytest.raises(OSError, match="3 of 10 training images cannot be read.*MAX_UNREADABLE 2") as caught:
        dataset[9]
    assert all(images[number].impath in str(caught.value) for number in (3, 4, 9))
    with pytest.raises(OSError, match="MAX_UNREADABLE 0"):
        pool(images, 0)[4]
    with pytest.raises(OSError, match="none of the 2 training images"):
        pool(images[3:5], 10)[0]
    with pytest.raises(ValueError, match="must be 0 or more"):
        Replacements(3, -1)


def test_labelled_images_are_replaced_with_their_labels_but_test_images_never(images, tmp_path):
    cfg = config(tmp_path, "ImageNet")
    to_red = lambda image: {"img": torch.tensor(image.getpixel((0, 0))[0])}  # noqa: E731
    training = SharedViews(cfg, images, to_red, is_train=True)
    sample = training[4]
    assert sample["label"] == 5 and int(sample["img"]) == 5 and sample["impath"] == images[5].impath
    with pytest.raises(OSError, match="4.png"):
        SharedViews(cfg, images, to_red)[4]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("width", [7, 15], ids=["Pillow warns", "Pillow refuses"])
def test_an_image_of_too_many_pixels_is_one_of_the_unreadable(images, tmp_path, monkeypatch, width, capfd):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # the others have 20
    assert int(pool(images, 10)[5]["img"]) == 5
    Image.new("RGB", (width, 3)).save(tmp_path / "5.png")
    assert int(pool(images, 10)[5]["img"]) == 6
    assert "5.png" in capfd.readouterr().out
    with pytest.raises(OSError, match="MAX_UNREADABLE 0 allows: .*5.png"):
        pool(images, 0)[5]


def test_a_programming_error_is_not_taken_for_a_broken_image(images):
    def broken_transform(image):
        raise ValueError("a mistake in the transform")

    with pytest.raises(ValueError, match="a mistake"):
        UnlabelledImages(images, broken_transform, lambda path: Image.new("RGB", (2, 2)), 10)[0]
