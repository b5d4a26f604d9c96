"""Student and teacher see the same crop and flip, each at its own size."""

import numpy as np
import pytest
import torch
from photos import photo
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F

from dho_prompt.data.batches.batch import Batch
from dho_prompt.data.batches.views import SharedCrop, View

PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def gradient_image(side=96):
    """Red grows to the right and green downwards, so a crop's place can be read off its pixels."""
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    pixels = np.stack(
        [np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side)), np.zeros((side, side), np.uint8)], -1
    )
    return Image.fromarray(pixels)


def test_both_views_show_the_same_crop_and_flip():
    crop = SharedCrop(View(32, *PLAIN), scale=(0.2, 0.6))
    crop.show(View(48, *PLAIN))
    directions, spans = set(), set()
    for seed in range(20):
        torch.manual_seed(seed)
        seen = crop(gradient_image())
        assert seen["img"].shape == (3, 32, 32) and seen["img_teacher"].shape == (3, 48, 48)
        for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
            torch.testing.assert_close(
                seen["img"][:, corner[0], corner[1]], seen["img_teacher"][:, corner[0], corner[1]], atol=0.03, rtol=0
            )
        directions.add(bool(seen["img"][0, 0, 0] < seen["img"][0, 0, -1]))
        spans.add(round(float(seen["img"][0].max()), 2))
    assert directions == {True, False}  # flipped and not
    assert len(spans) > 5  # the crop moves


def test_normalisation_is_each_models_own():
    crop = SharedCrop(View(16, *PLAIN), transforms=("normalize",))
    crop.show(View(16, (0.5,) * 3, (0.25,) * 3))
    seen = crop(gradient_image())
    torch.testing.assert_close(seen["img_teacher"], (seen["img"] - 0.5) / 0.25)


def test_without_normalize_pixels_stay_between_0_and_1():
    seen = SharedCrop(View(16, (0.5,) * 3, (0.25,) * 3), transforms=("random_resized_crop",))(gradient_image())
    assert seen["img"].min() >= 0 and 0.5 < seen["img"].max() <= 1


def test_one_tensor_serves_models_with_the_same_view():
    crop = SharedCrop(View(16, *PLAIN))
    crop.show(View(16, *PLAIN))
    assert set(crop(gradient_image())) == {"img"}
    crop.show(View(24, *PLAIN))
    assert set(crop(gradient_image())) == {"img", "img_teacher"}
    crop.show_student_only()
    crop.show_student_only()
    assert set(crop(gradient_image())) == {"img"}


def test_without_random_transforms_the_centre_is_shown():
    seen = SharedCrop(View(32, *PLAIN), transforms=())(gradient_image().resize((192, 96)))
    assert abs(float(seen["img"][0].mean()) - 0.5) < 0.02
    assert torch.equal(
        seen["img"], SharedCrop(View(32, *PLAIN), transforms=())(gradient_image().resize((192, 96)))["img"]
    )


def test_transforms_that_cannot_be_shared_are_refused():
    with pytest.raises(ValueError, match="'random_flp'.*did you mean 'random_flip'"):
        SharedCrop(View(32, *PLAIN), transforms=("random_flp",))


@pytest.mark.parametrize("transforms", [("random_resized_crop", "random_flip", "normalize"), ("normalize",), ()])
def test_bytes_that_are_finished_in_a_batch_are_the_plain_transforms_to_the_last_bit(transforms):
    views = {"img": View(24, (0.48, 0.45, 0.4), (0.26, 0.25, 0.27)), "img_teacher": View(33, (0.5,) * 3, (0.2,) * 3)}
    crop = SharedCrop(views["img"], transforms, (0.3, 0.9), "bicubic")
    crop.show(views["img_teacher"])
    image, plain, raw = photo(3, 90, 70), [], []
    for seed in range(6):
        torch.manual_seed(seed)
        top, left, height, width = RandomResizedCrop.get_params(image, [0.3, 0.9], [3 / 4, 4 / 3])
        if "random_resized_crop" not in transforms:
            torch.manual_seed(seed)
        flipped = "random_flip" in transforms and bool(torch.rand(1) < 0.5)
        seen = {}
        for key, view in views.items():
            if "random_resized_crop" in transforms:
                size = [view.size, view.size]
                pixels = F.resized_crop(image, top, left, height, width, size, InterpolationMode.BICUBIC)
            else:
                pixels = F.center_crop(F.resize(image, view.size, InterpolationMode.BICUBIC), view.size)
            tensor = F.to_tensor(F.hflip(pixels) if flipped else pixels)
            seen[key] = F.normalize(tensor, view.mean, view.std) if "normalize" in transforms else tensor
        plain.append(seen)
        for crop.bytes in (False, True):
            torch.manual_seed(seed)
            found = crop(image)
            assert crop.bytes or all(torch.equal(found[key], seen[key]) for key in views)
        raw.append(found)
    for key, view in views.items():
        pixels = torch.stack([seen[key] for seen in raw])
        assert pixels.dtype == torch.uint8 and pixels.is_contiguous()
        finished = crop.finished(pixels, view)
        assert torch.equal(finished, torch.stack([seen[key] for seen in plain]))
        assert finished.is_contiguous() and torch.equal(crop.finished(finished.clone(), view), finished)


def test_a_batch_finishes_each_view_of_its_labelled_and_unlabelled_images():
    views = [View(8, (0.4,) * 3, (0.3,) * 3), View(12, (0.5,) * 3, (0.2,) * 3)]
    crop = SharedCrop(views[0])
    crop.show(views[1])
    draw = lambda count, size: torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)  # noqa: E731
    content = {"img": draw(2, 8), "img_u": draw(3, 8), "img_teacher": draw(2, 12), "img_teacher_u": draw(3, 12)}
    batch = Batch({**content, "label": torch.tensor([0, 1])}, crop, torch.device("cpu"))
    for key, view in zip(("img", "img_teacher"), views):
        expected = (torch.cat([content[key], content[f"{key}_u"]]).float() / 255 - view.mean[0]) / view.std[0]
        torch.testing.assert_close(batch.images(view), expected)
    assert torch.equal(batch.images(), batch.images(views[0]))
    assert batch.images().dtype == torch.float32
