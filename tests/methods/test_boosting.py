"""CasPL: frozen prompts of a first, unsupervised stage before those that the second stage learns."""

import json

import pytest
import torch

import by_hand
import methods_by_hand as hand
from dho_prompt.clip.loading import load_clip
from dho_prompt.engine import load_checkpoint
from dho_prompt.methods.boosting import read_context, read_prompts
from dho_prompt.methods.coop import CoOpMethod
from dho_prompt.methods.promptsrc import PromptSRCMethod
from dho_prompt.students.clip import CLIPStudent
from trainer_contract import build


@pytest.fixture
def student(clip_folders):
    return CLIPStudent(load_clip(clip_folders[0]))


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("class_specific", [False, True])
def test_coop_s_prompts_stand_behind_the_boosting_ones(student, clips, class_specific):
    boost = noise(3, 32)
    method = CoOpMethod(student, hand.NAMES, 2, class_specific=class_specific, boost=boost)
    own = method.prompt_learner.ctx.detach()
    shared = boost if not class_specific else boost.expand(len(hand.NAMES), -1, -1)
    wanted = by_hand.prompted_texts(clips[0], hand.NAMES, "X X X X X", torch.cat([shared, own], dim=-2).double())
    texts = method.encode_text()
    assert (texts.double() - wanted).norm() <= 1e-5 * wanted.norm()
    texts.sum().backward()
    assert method.prompt_learner.ctx.grad.abs().sum() > 0 and not method.prompt_learner.boost.requires_grad
    assert {"ctx", "boost"} <= method.prompt_learner.state_dict().keys()


def test_coop_without_boosting_prompts_is_what_it_was(student):
    method = CoOpMethod(student, hand.NAMES, 2)
    assert "boost" not in method.prompt_learner.state_dict()
    assert method.prompt_learner() is method.prompt_learner.ctx


def test_words_stay_the_start_of_the_learned_context(student):
    torch.manual_seed(0)
    plain = CoOpMethod(student, hand.NAMES, ctx_init="a photo")
    boosted = CoOpMethod(student, hand.NAMES, ctx_init="a photo", boost=noise(3, 32))
    assert boosted.prompt_learner.ctx.equal(plain.prompt_learner.ctx)
    assert boosted.prompt_learner().shape == (5, 32)


def test_promptsrc_s_in_both_towers(student):
    """The same features as of one set of prompts that holds both, in every block."""
    sizes = {"depth_text": 2, "depth_vision": 2, "ctx_init": ""}
    boost = PromptSRCMethod(student, hand.NAMES, n_ctx_text=2, n_ctx_vision=3, **sizes).prompts
    method = PromptSRCMethod(student, hand.NAMES, n_ctx_text=1, n_ctx_vision=2, boost=boost, **sizes)
    whole = PromptSRCMethod(student, hand.NAMES, n_ctx_text=3, n_ctx_vision=5, **sizes)
    state = whole.prompts.state_dict()
    for key, value in method.prompts.state_dict().items():
        if not key.startswith("boost."):
            state[key] = torch.cat([method.prompts.boost.state_dict()[key], value])
    whole.prompts.load_state_dict(state)
    images = noise(2, 3, 32, 32)
    torch.testing.assert_close(method.encode_text(), whole.encode_text())
    torch.testing.assert_close(method.encode_image(images), whole.encode_image(images))
    (method.encode_text().sum() + method.encode_image(images).sum()).backward()
    for key, weight in method.prompts.named_parameters():
        assert (weight.grad is None) == key.startswith("boost."), key


def test_what_does_not_fit_is_refused(student):
    boost = PromptSRCMethod(student, hand.NAMES, depth_text=2, depth_vision=1, ctx_init="").prompts
    with pytest.raises(ValueError, match="PROMPT_DEPTH_VISION is 1 there, 2 here"):
        PromptSRCMethod(student, hand.NAMES, depth_text=2, depth_vision=2, boost=boost)
    with pytest.raises(ValueError, match="of another CLIP"):
        CoOpMethod(student, hand.NAMES, 2, boost=noise(3, 48))


@pytest.mark.parametrize(("name", "node"), [("CoOp", "COOP"), ("PromptSRC", "PROMPTSRC")])
def test_both_stages(train_args, tmp_path, name, node):
    """The second stage leaves the first one's prompts alone, and is evaluated with them."""
    sizes = ("TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", 2, "TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", 2)
    sizes += ("TRAINER.PROMPTSRC.PREC", "fp32", "OPTIM.MAX_EPOCH", 1)
    first = build(train_args(f"{name}DHO", "TRAINER.DHO.OBJECTIVE", "kd", *sizes, output=tmp_path / "first"))
    first.train()
    second = build(train_args(name, f"TRAINER.{node}.BOOST", tmp_path / "first", *sizes, output=tmp_path / "second"))
    before = {key: value.clone() for key, value in second.model.state_dict().items() if "boost" in key}
    second.train()
    after = second.model.state_dict()
    assert before and all(after[key].equal(value) for key, value in before.items())
    (folder,) = (name for name in second.get_model_names())
    saved = load_checkpoint(str(tmp_path / "second" / folder / "model.pth.tar-1"))["state_dict"]
    assert any("boost" in key for key in saved)
    accuracy = json.loads((tmp_path / "second" / "results.json").read_text())["accuracy"]["test"]
    arguments = train_args(name, f"TRAINER.{node}.BOOST", tmp_path / "first", *sizes, output=tmp_path / "again")
    again = build(arguments)
    again.load_model(str(tmp_path / "second"), 1)
    again.test()
    assert json.loads((tmp_path / "again" / "evaluation.json").read_text())["accuracy"]["test"] == accuracy
    with pytest.raises(ValueError, match="BOOST takes a run of"):
        build(train_args(name, f"TRAINER.{node}.BOOST", tmp_path / "second", *sizes, output=tmp_path / "third"))


def test_other_files_are_refused(tmp_path):
    torch.save({"state_dict": {"ctx": torch.zeros(5, 2, 32)}, "epoch": 1}, tmp_path / "csc.pth")
    for read in (read_context, read_prompts):
        with pytest.raises(ValueError, match="csc.pth holds no .*BOOST takes a run of"):
            read(str(tmp_path / "csc.pth"))
        with pytest.raises(FileNotFoundError):
            read(str(tmp_path / "none.pth"))
