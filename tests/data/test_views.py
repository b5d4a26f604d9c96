"""Student and teacher see the same crop and flip, each at its own size."""

import numpy as np
import pytest
import torch
from PIL import Image

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
