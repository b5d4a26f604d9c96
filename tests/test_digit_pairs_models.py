"""The shipped models of the digit pairs: small, found by name, and as good as documented without any training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import dho_prompt
from dho_prompt.clip.loading import load_clip
from dho_prompt.clip.templates import templates_for
from dho_prompt.data.fetch.digit_pairs_images import CLASSNAMES, write_digit_pairs
from dho_prompt.files import read_json

pytest.importorskip("sklearn")

MODELS = Path(dho_prompt.__file__).parent / "models"
NAMES = ("digit-pairs-teacher", "digit-pairs-student")


@pytest.fixture(scope="module")
def accuracy(tmp_path_factory):
    """Zero-shot accuracy in percent by (model, set)."""
    folder = tmp_path_factory.mktemp("digit_pairs")
    write_digit_pairs(folder)
    splits = read_json(folder / "splits.json")["splits"]
    found = {}
    for name in NAMES:
        clip = load_clip(name)
        captions = [[template.format(c) for c in CLASSNAMES] for template in templates_for("DigitPairs")]
        with torch.no_grad():
            text = sum(clip.model.encode_text(clip.tokenizer(texts), normalize=True) for texts in captions)
            for split in ("test", "v2", "r", "a"):
                size = (clip.image_size, clip.image_size)
                pictures = [
                    Image.open(folder / path).convert("RGB").resize(size, Image.BICUBIC) for path, _ in splits[split]
                ]
                images = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
                images = (images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
                features = torch.cat([clip.model.encode_image(some, normalize=True) for some in images.split(250)])
                labels = torch.tensor([label for _, label in splits[split]])
                classes = labels.unique()  # all but in a
                found[name, split] = (
                    (100 * (classes[(features @ F.normalize(text, dim=-1)[classes].t()).argmax(1)] == labels))
                    .float()
                    .mean()
                    .item()
                )
    return found


def test_models_are_small():
    assert sum(path.stat().st_size for name in NAMES for path in (MODELS / name).iterdir()) < 5e6


@pytest.mark.parametrize("name", NAMES)
def test_class_names_are_whole_tokens(name):
    tokenizer = load_clip(name).tokenizer
    for word in " ".join((*CLASSNAMES, *templates_for("DigitPairs"))).replace("{}", "").split():
        assert len(tokenizer.encode(word.strip(",."))) == (word not in ",."), word  # of "{}." only the stop is left


def test_teacher_zero_shot(accuracy):
    assert accuracy["digit-pairs-teacher", "test"] >= 85


def test_student_zero_shot(accuracy):
    assert 40 <= accuracy["digit-pairs-student", "test"] <= 65


@pytest.mark.parametrize("split", ["test", "v2", "r", "a"])
def test_teacher_is_well_above_the_student_everywhere(accuracy, split):
    assert accuracy["digit-pairs-teacher", split] - accuracy["digit-pairs-student", split] >= 10


def test_hard_set_is_harder_and_not_a_guess(accuracy):
    for name in NAMES:
        assert 10 < accuracy[name, "a"] < accuracy[name, "test"]  # one of 30 is 3.3 %
