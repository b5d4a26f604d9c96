"""Resizing tensors: the same crops and flips, pixels that differ by rounding alone."""

import pytest
import torch
from photos import photo

from dho_prompt.data.batches.views import SharedCrop, View
from dho_prompt.training.loaders import shared_crop
from trainer_contract import build

PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("transforms", [("random_resized_crop", "random_flip"), ("random_flip",), ()])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_crops_are_the_same_and_pixels_differ_by_rounding(transforms, interpolation):
    crops = [SharedCrop(View(224, *PLAIN), transforms, (0.08, 1.0), interpolation, fast) for fast in (False, True)]
    for crop in crops:
        crop.show(View(96, *PLAIN))
        crop.bytes = True
    differences = []
    for seed in range(8):
        seen = []
        for crop in crops:
            torch.manual_seed(seed)
            seen.append(crop(photo(seed)))
        for key, size in (("img", 224), ("img_teacher", 96)):
            exact, fast = (views[key] for views in seen)
            assert exact.shape == fast.shape == (3, size, size) and exact.dtype == fast.dtype == torch.uint8
            assert fast.is_contiguous()
            difference = (exact.float() - fast.float()).abs()
            assert difference.max() <= 3
            assert (exact.float() - fast.flip(-1).float()).abs().mean() > 5  # so another flip would show
            differences.append(difference.mean())
    assert sum(differences) / len(differences) < 0.05


def test_it_is_the_keys_choice(train_args):
    assert not shared_crop(build(train_args("CoOp")).cfg).fast
    trainer = build(train_args("CoOp", "INPUT.FAST_RESIZE", "True"))
    assert trainer.crop.fast and trainer.crop.bytes
    assert next(iter(trainer.train_loader_x))["img"].dtype == torch.uint8
