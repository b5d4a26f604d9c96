"""The zero-shot teacher is Eq. 1, frozen, with its own temperature."""

import pytest
import torch

from dho_prompt.clip.loading import load_clip
from dho_prompt.config import extend_cfg
from dho_prompt.data.batches.batch import Batch
from dho_prompt.data.batches.views import SharedCrop, View
from dho_prompt.engine import get_cfg_default
from dho_prompt.methods.coop import CoOpMethod
from dho_prompt.methods.promptsrc import PromptSRCMethod
from dho_prompt.students.clip import CLIPStudent
from dho_prompt.teachers.prompts import PromptTeacher, load_prompts
from dho_prompt.teachers.zeroshot import ZeroShotTeacher
from dho_prompt.training.build_teacher import build_teacher

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
    torch.testing.assert_close(teacher.logits(images), cosine / 0.02, rtol=1e-4, atol=1e-4)
    assert not teacher.logits(images).requires_grad


def test_default_temperature_is_the_models_own(teacher_clip):
    clip = load_clip(teacher_clip)
    assert ZeroShotTeacher(clip, NAMES, TEMPLATES).zeta == pytest.approx(0.07)


def test_it_stays_in_evaluation_mode_and_trains_nothing(teacher_clip):
    teacher = ZeroShotTeacher(load_clip(teacher_clip), NAMES, TEMPLATES)
    teacher.train()
    assert not teacher.training and not list(teacher.parameters())


@pytest.mark.parametrize("class_specific", [False, True])
def test_trained_coop_prompts_teach(teacher_clip, tmp_path, class_specific):
    clip = load_clip(teacher_clip)
    trained = CoOpMethod(CLIPStudent(clip), NAMES, 3, class_specific=class_specific)
    folder = tmp_path / "prompt_learner"
    folder.mkdir()
    torch.save({"state_dict": trained.prompt_learner.state_dict(), "epoch": 7}, folder / "model.pth.tar-7")
    (folder / "checkpoint").write_text("model.pth.tar-7\n")
    images = torch.randn(4, 3, 40, 40)
    for path in (tmp_path, folder, folder / "model.pth.tar-7"):
        teacher = PromptTeacher(load_prompts(clip, NAMES, str(path)), zeta=0.02)
        torch.testing.assert_close(teacher.logits(images), trained(images).logits * 0.07 / 0.02, rtol=1e-4, atol=1e-4)
    assert not teacher.logits(images).requires_grad and not any(p.requires_grad for p in teacher.parameters())
    if class_specific:
        with pytest.raises(ValueError, match="only prompts that all classes share can teach other classes"):
            load_prompts(clip, NAMES[:2], str(folder / "model.pth.tar-7"))
    else:
        assert load_prompts(clip, NAMES[:2], str(folder / "model.pth.tar-7")).text_features().shape[0] == 2


def test_trained_promptsrc_prompts_teach(teacher_clip, tmp_path):
    clip = load_clip(teacher_clip)
    trained = PromptSRCMethod(CLIPStudent(clip), NAMES, 4, 2, 3, 1)
    path = tmp_path / "model.pth.tar-20"
    published = {"logit_scale": torch.zeros(()), "image_encoder.conv1.weight": torch.zeros(2)}  # the whole model
    torch.save({"state_dict": {**trained.prompts.state_dict(), **published}, "epoch": 20}, path)
    teacher = PromptTeacher(load_prompts(clip, NAMES, str(path)))
    images = torch.randn(4, 3, 40, 40)
    with torch.no_grad():
        wanted = trained(images).logits
    torch.testing.assert_close(teacher.logits(images), wanted, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(wanted, ZeroShotTeacher(clip, NAMES, TEMPLATES).logits(images), atol=1e-2)


def test_files_that_cannot_teach_are_refused(teacher_clip, tmp_path):
    clip = load_clip(teacher_clip)
    with pytest.raises(FileNotFoundError, match="has no checkpoint in prompt_learner or VLPromptLearner"):
        load_prompts(clip, NAMES, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        load_prompts(clip, NAMES, str(tmp_path / "absent"))
    torch.save({"state_dict": {"weight": torch.zeros(2)}, "epoch": 1}, tmp_path / "head.pth.tar-1")
    with pytest.raises(ValueError, match="holds no prompts that can teach: its entries are weight"):
        load_prompts(clip, NAMES, str(tmp_path / "head.pth.tar-1"))
    wide = CoOpMethod(CLIPStudent(clip), NAMES, 2).prompt_learner.state_dict()
    torch.save(
        {"state_dict": {"ctx": torch.zeros(2, 7), **{k: v for k, v in wide.items() if k != "ctx"}}, "epoch": 1},
        tmp_path / "other.pth.tar-1",
    )
    with pytest.raises(ValueError, match="ctx"):
        load_prompts(clip, NAMES, str(tmp_path / "other.pth.tar-1"))


def _one_batch(clip):
    view = View.of(clip)
    content = {"img": torch.randn(2, 3, 40, 40), "img_u": torch.randn(3, 3, 40, 40), "label": torch.tensor([0, 2])}
    return Batch(content, SharedCrop(view), torch.device("cpu"))


def test_what_a_teacher_says_can_be_used_in_a_backward_pass(teacher_clip):
    teacher = ZeroShotTeacher(load_clip(teacher_clip), NAMES, TEMPLATES)
    seen = []
    teacher.clip.model.visual.register_forward_hook(lambda *_: seen.append("the whole tower"))
    teacher.clip.model.visual.ln_post.register_forward_hook(lambda *_: seen.append(torch.is_inference_mode_enabled()))
    batch = _one_batch(teacher.clip)
    for said in (teacher(batch), *teacher.with_features(batch)):
        assert not said.is_inference() and not said.requires_grad and said.shape[0] == 5
        weight = torch.ones_like(said, requires_grad=True)
        (weight * said).sum().backward()
        assert torch.equal(weight.grad, said)
    assert seen == [True, True]


@pytest.mark.parametrize("precision, exact", [("fp32", True), ("amp", False), ("", False)])
def test_a_teacher_has_its_own_precision(teacher_clip, precision, exact):
    cfg = extend_cfg(get_cfg_default())
    cfg.TRAINER.DHO.TEACHER.NAME, cfg.TRAINER.DHO.TEACHER.PREC = teacher_clip, precision
    cfg.TRAINER.DHO.TEACHER.TEMPLATES = tuple(TEMPLATES)
    teacher = build_teacher(cfg, NAMES, "amp", torch.device("cpu"))
    batch = _one_batch(teacher.clip)
    alone = teacher.logits(batch.images())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(teacher(batch), alone) is exact
        assert torch.equal(teacher.with_features(batch)[0], alone) is exact
    assert torch.equal(teacher(batch), alone) is (precision != "amp")
    torch.testing.assert_close(teacher(batch), alone, rtol=0.1, atol=0.1)
