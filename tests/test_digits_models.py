"""The shipped digits models: small, plain open_clip, and as good as documented without any training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import dho_prompt
from dho_prompt.clip.templates import templates_for
from dho_prompt.data.fetch.digits_images import CLASSNAMES, write_digits

open_clip = pytest.importorskip("open_clip")
safetensors_torch = pytest.importorskip("safetensors.torch")
pytest.importorskip("sklearn")

MODELS = Path(dho_prompt.__file__).parent / "models"
NAMES = ("digits-teacher", "digits-student")


def load(name):
    config = json.loads((MODELS / name / "open_clip_config.json").read_text())
    model = open_clip.model.CLIP(**config["model_cfg"]).eval()
    model.load_state_dict(safetensors_torch.load_file(MODELS / name / "open_clip_model.safetensors"))
    tokenizer = open_clip.tokenizer.SimpleTokenizer(bpe_path=str(MODELS / name / "bpe.txt.gz"), context_length=77)
    return model, tokenizer, config


@pytest.fixture(scope="module")
def accuracy(tmp_path_factory):
    """Zero-shot accuracy in percent by (model, set)."""
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    splits = json.loads((folder / "splits.json").read_text())["splits"]
    found = {}
    for name in NAMES:
        model, tokenizer, config = load(name)
        mean, std = (torch.tensor(config["preprocess_cfg"][key]).view(3, 1, 1) for key in ("mean", "std"))
        with torch.no_grad():
            weights = torch.stack(
                [
                    model.encode_text(tokenizer([template.format(c) for c in CLASSNAMES]), normalize=True)
                    for template in templates_for("Digits")
                ]
            ).mean(0)
            for split in ("test", "v2"):
                pixels = np.stack([np.asarray(Image.open(folder / path).convert("RGB")) for path, _ in splits[split]])
                images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
                logits = model.encode_image(images, normalize=True) @ F.normalize(weights, dim=-1).t()
                labels = torch.tensor([label for _, label in splits[split]])
                found[name, split] = 100 * (logits.argmax(1) == labels).float().mean().item()
    return found


def test_models_are_small():
    assert sum(path.stat().st_size for name in NAMES for path in (MODELS / name).iterdir()) < 5e6


@pytest.mark.parametrize("name", NAMES)
def test_vocabulary_fits_and_class_names_are_whole_tokens(name):
    model, tokenizer, config = load(name)
    assert tokenizer.vocab_size == model.vocab_size == config["model_cfg"]["text_cfg"]["vocab_size"]
    assert tokenizer.eot_token_id == tokenizer.vocab_size - 1  # pooling takes the highest id
    for word in (*CLASSNAMES, "photo", "digit", "number", "handwritten"):
        assert len(tokenizer.encode(word)) == 1, word
    full = open_clip.tokenizer.SimpleTokenizer()
    for word in CLASSNAMES:
        assert tokenizer.decode(tokenizer.encode(word)) == full.decode(full.encode(word))


def test_teacher_zero_shot(accuracy):
    assert 70 <= accuracy["digits-teacher", "test"] <= 85


def test_student_zero_shot(accuracy):
    assert 55 <= accuracy["digits-student", "test"] <= 70


@pytest.mark.parametrize("split", ["test", "v2"])
def test_teacher_is_well_above_the_student(accuracy, split):
    assert accuracy["digits-teacher", split] - accuracy["digits-student", split] >= 8
