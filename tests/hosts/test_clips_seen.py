"""A host whose CLIP is not what its name says: sizes and text features come from the weights that it loaded."""

import sys
from types import ModuleType

import pytest
import torch
from real_hosts import openai_clip
from torch import nn

from dho_prompt import with_dho
from dho_prompt.clip.loading import load_clip
from dho_prompt.hosts.clips_seen import clips_seen, weights_in
from dho_prompt.students.clip import CLIPStudent
from methods_by_hand import NAMES, TEMPLATES
from stand_in_hosts import EngineStep, Prompted
from steps import SETTINGS
from trainer_contract import build, state_of

VENDORED = """
import open_clip

class CLIP: pass

def convert_weights(model): pass

def build_model(state_dict, design=None):
    for name in ("input_resolution", "context_length"):
        state_dict.pop(name, None)
    width, embed = state_dict["ln_final.weight"].shape[0], state_dict["text_projection"].shape[1]
    vision = {"image_size": 32, "layers": 2, "width": 64, "head_width": 64, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": width, "heads": width // 64, "layers": 2}
    model = open_clip.CLIP(embed_dim=embed, quick_gelu=True, vision_cfg=vision, text_cfg=text)
    model.load_state_dict(state_dict)
    return model
"""


@pytest.fixture
def vendored(monkeypatch):
    """A copy of OpenAI's model.py, and the file beside it that takes its builder over by name."""
    model, beside = ModuleType("their_clip.model"), ModuleType("their_clip.clip")
    exec(VENDORED, vars(model))
    beside.build_model = model.build_model
    for module in (model, beside):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return beside


@pytest.fixture
def weights(tmp_path):
    folders = [openai_clip(tmp_path / str(seed), False, seed, embed=embed) for seed, embed in ((3, 48), (4, 40))]
    return [torch.load(folder / "openai.pt", weights_only=True) for folder in folders]


def test_the_student_is_the_clip_that_the_host_built_around(vendored, weights):
    with clips_seen() as seen:
        teacher = vendored.build_model({**weights[0], "input_resolution": torch.tensor(32)})
        student = vendored.build_model(weights[1], {"trainer": "CoOp"})
    vendored.build_model(weights[0])
    assert len(seen) == 2 and "input_resolution" in seen[0]
    tower = nn.Sequential(student.visual.half())
    assert weights_in(seen, tower)["text_projection"].shape[1] == 40
    assert weights_in(seen, teacher.visual)["text_projection"].shape[1] == 48
    assert weights_in(seen, nn.Linear(2, 2)) is None
    with torch.no_grad():
        student.visual.conv1.weight.add_(1)
    assert weights_in(seen, tower) is None


def test_a_student_of_another_size_under_a_standard_name(vendored, weights, train_args, teacher_clip, tmp_path):
    class Host(EngineStep):
        def build_model(self):
            vendored.build_model(dict(weights[0]))  # a teacher of its own, built first
            clip = vendored.build_model(dict(weights[1])).to(self.device).requires_grad_(False)
            loaded = type("Loaded", (), {"model": clip})
            self.model = Prompted(loaded, torch.randn(5, 40), "logits", False)
            self.optim = torch.optim.SGD([self.model.offset], lr=0.1)
            self.register_model("prompted", self.model, self.optim, None)
            self.scaler = None

    with_dho(Host, name="OtherSize")
    options = {**SETTINGS, "MODEL.BACKBONE.NAME": "ViT-B/16", "TRAINER.DHO.TEACHER.NAME": teacher_clip}
    trainer = build(train_args("OtherSize", *(word for pair in options.items() for word in pair)))
    weight = state_of(trainer, "kd_head")["weight"].double()
    wanted = CLIPStudent(load_clip(str(tmp_path / "4"))).text_features(NAMES, TEMPLATES)
    assert weight.shape == (5, 40) and (weight - wanted).abs().max() < 3e-6
    assert trainer.clips_seen == []
