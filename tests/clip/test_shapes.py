"""The architecture of OpenAI's models read from the shapes of their weights."""

import open_clip
import pytest
import torch
from real_hosts import openai_clip

from dho_prompt.clip.loading import clip_of_weights, load_clip
from dho_prompt.clip.names import OPENAI_NAMES
from dho_prompt.clip.shapes import architecture_of


@pytest.mark.parametrize("name", OPENAI_NAMES)
def test_the_shapes_say_what_the_name_says(name):
    config = open_clip.get_model_config(OPENAI_NAMES[name])
    with torch.device("meta"):
        state = open_clip.CLIP(**config).state_dict()
    found = architecture_of(state)
    for part in ("vision_cfg", "text_cfg"):
        named = {key: value for key, value in config[part].items() if value is not None}
        assert {**found[part], **named} == found[part]
    assert found["embed_dim"] == config["embed_dim"] and found["quick_gelu"] is config["quick_gelu"] is True


@pytest.mark.parametrize("wide", [False, None], ids=["vit", "resnet"])
def test_weights_alone_make_the_same_model(tmp_path, wide):
    folder = openai_clip(tmp_path / "clip", wide, 3, embed=40)
    named = load_clip(str(folder))
    state = torch.load(folder / "openai.pt", weights_only=True)
    seen = clip_of_weights({**state, "input_resolution": torch.tensor(32)}, "ViT-B/16", "what CoOp loaded")
    assert (seen.name, seen.embed_dim, seen.image_size, seen.logit_scale) == ("ViT-B/16", 40, 32, named.logit_scale)
    assert (seen.mean, seen.std) == tuple(map(tuple, (named.mean, named.std)))
    images, texts = torch.randn(2, 3, 32, 32), named.tokenizer(["a cat", "two dogs"])
    assert torch.equal(seen.encode_image(images), named.encode_image(images))
    assert torch.equal(seen.model.encode_text(seen.tokenizer(["a cat", "two dogs"])), named.model.encode_text(texts))


def test_weights_of_another_format_are_refused():
    with pytest.raises(ValueError, match=r"no visual.conv1.weight, so they are no CLIP .*; they hold a, b"):
        architecture_of({"a": torch.zeros(1), "b": torch.zeros(1)})
