"""A frozen tower's short last block gives the features of the tower's own pass."""

import pytest
import torch
from test_prompted_vision import DEEP, IMAGES, TOWERS

from dho_prompt.clip import frozen_vision
from dho_prompt.clip.frozen_vision import frozen_image_features
from tiny_clips import RESNET, VIT, tiny_clip


def own_features(model, images=IMAGES):
    with torch.no_grad():
        output = model.visual(images)
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("name", TOWERS)
def test_features_are_those_of_the_tower(name):
    model = tiny_clip(**TOWERS[name])
    features = frozen_image_features(model, IMAGES)
    expected = own_features(model)
    assert (features - expected).abs().max() <= 2e-6 * expected.abs().max()
    assert not features.requires_grad


def test_the_last_block_computes_one_row_of_its_mlp():
    model = tiny_clip(vision=DEEP)
    first, *_, last = model.visual.transformer.resblocks
    seen = {}
    for name, block in (("first", first), ("last", last)):
        block.mlp.c_fc.register_forward_hook(lambda _, given, out, name=name: seen.update({name: given[0].shape[:-1]}))
    frozen_image_features(model, IMAGES)
    assert seen["first"] == (3, 5) and seen["last"].numel() == 3


@pytest.mark.parametrize(
    "vision", [RESNET, {**VIT, "attentional_pool": True}, {**VIT, "pool_type": "avg"}, {**VIT, "qk_norm": True}]
)
def test_other_towers_are_computed_as_they_are(vision):
    model = tiny_clip(vision=vision)
    assert torch.equal(frozen_image_features(model, IMAGES), own_features(model))


@pytest.mark.parametrize("how", ["training mode", "tokens first"])
def test_a_tower_in_another_state_is_computed_as_it_is(how, monkeypatch):
    model = tiny_clip(vision=DEEP)
    if how == "training mode":
        model.visual.train()
    else:
        model.visual.transformer.batch_first = False
        monkeypatch.setattr(model, "encode_image", lambda images: images)
    monkeypatch.setattr(frozen_vision, "last_block", None)
    assert len(frozen_image_features(model, IMAGES)) == 3


def test_autocast_is_followed():
    model = tiny_clip(vision=DEEP)
    with torch.autocast("cpu", torch.bfloat16):
        features = frozen_image_features(model, IMAGES)
    expected = own_features(model)
    assert features.dtype == torch.bfloat16 and (features - expected).norm() < 0.03 * expected.norm()
