"""The template ensemble against a loop over open_clip's own text pass."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from dho_prompt.clip.templates import IMAGENET, single_template, templates_for
from dho_prompt.clip.zeroshot import class_text_features

NAMES = ["cat", "golden_retriever", "eastern hog-nosed snake", "iPod", "cat"]


@pytest.mark.parametrize("batch", [2, 250])
def test_equals_a_loop_over_classes_and_templates(vit, tokenizer, batch):
    clip = SimpleNamespace(model=vit, tokenizer=tokenizer)
    wanted = []
    for name in NAMES:
        each = [vit.encode_text(tokenizer(t.format(name.replace("_", " ")))) for t in IMAGENET]
        mean = torch.stack([feature / feature.norm() for feature in each]).mean(0)
        wanted.append(mean / mean.norm())
    features = class_text_features(clip, NAMES, IMAGENET, batch=batch)
    assert torch.allclose(features, torch.cat(wanted), atol=1e-6)
    assert not features.requires_grad


def test_features_have_length_one_in_half_precision(vit, tokenizer):
    clip = SimpleNamespace(model=copy.deepcopy(vit).bfloat16(), tokenizer=tokenizer)
    features = class_text_features(clip, NAMES, ["{} texture."])
    exact = class_text_features(SimpleNamespace(model=vit, tokenizer=tokenizer), NAMES, ["{} texture."])
    assert features.dtype == torch.float32
    assert torch.allclose(features.norm(dim=1), torch.ones(len(NAMES)), atol=1e-6)
    assert F.cosine_similarity(features, exact).min() > 0.999


def test_tokenizer_that_only_makes_matrices(vit, tokenizer):
    clip = SimpleNamespace(model=vit, tokenizer=lambda texts: tokenizer(texts))
    wanted = class_text_features(SimpleNamespace(model=vit, tokenizer=tokenizer), NAMES, IMAGENET)
    assert torch.allclose(class_text_features(clip, NAMES, IMAGENET), wanted, atol=1e-6)


def test_wrong_arguments(vit, tokenizer):
    clip = SimpleNamespace(model=vit, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="has no {}"):
        class_text_features(clip, NAMES, ["a photo"])
    with pytest.raises(ValueError, match="0 templates"):
        class_text_features(clip, NAMES, [])


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (["ImageNet", "imagenet", "imagenetv2", "ImageNetSketch", "imagenet_a"], "itap of a {}."),
        (["dtd", "DescribableTextures"], "{} texture."),
        (["fgvc_aircraft", "FGVCAircraft"], "a photo of a {}, a type of aircraft."),
        (["stanford_cars", "SUN397", "Caltech101", "MyOwn"], "a photo of a {}."),
    ],
)
def test_templates_by_class_name_and_by_yaml_name(names, first):
    for name in names:
        templates = templates_for(name)
        assert templates[0] == first
        assert len(templates) == (7 if "magenet" in name.lower() else 1)
        assert all(template.count("{}") == 1 for template in templates)


def test_the_single_template_of_imagenet_is_none_of_its_seven():
    assert {single_template(name) for name in ("ImageNet", "imagenet_a", "ImageNetV2", "SUN397")} == {
        "a photo of a {}."
    }
    assert single_template("oxford_pets") == "a photo of a {}, a type of pet."
