"""The zero-shot teacher is Eq. 1, frozen, with its own temperature."""

import pytest
import torch

from dho_prompt.clip.loading import load_clip
from dho_prompt.teachers import ZeroShotTeacher, own_zeta

NAMES = ["tench", "goldfish", "great_white_shark"]
TEMPLATES = ["a photo of a {}.", "art of the {}."]


def test_logits_are_equation_1(teacher_clip):
    clip = load_clip(teacher_clip)
    images = torch.randn(4, 3, 40, 40)
    columns = []
    for name in NAMES:
        texts = [template.format(name.replace("_", " ")) for template in TEMPLATES]
        features = clip.model.encode_text(clip.tokenizer(texts))
        columns.append((features / features.norm(dim=-1, keepdim=True)).mean(0))
    image = clip.model.encode_image(images)
    cosine = torch.nn.functional.cosine_similarity(image[:, None], torch.stack(columns)[None], dim=-1)
    teacher = ZeroShotTeacher(clip, NAMES, TEMPLATES, zeta=0.02)
    torch.testing.assert_close(teacher(images), cosine / 0.02, rtol=1e-4, atol=1e-4)
    assert not teacher(images).requires_grad


def test_default_temperature_is_the_models_own(teacher_clip):
    clip = load_clip(teacher_clip)
    assert ZeroShotTeacher(clip, NAMES, TEMPLATES).zeta == pytest.approx(own_zeta(clip)) == pytest.approx(0.07)


def test_it_stays_in_evaluation_mode_and_trains_nothing(teacher_clip):
    teacher = ZeroShotTeacher(load_clip(teacher_clip), NAMES, TEMPLATES)
    teacher.train()
    assert not teacher.training and not list(teacher.parameters())
