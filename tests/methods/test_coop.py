"""CoOp against a plain restatement on the full 77 positions, and its checkpoints."""

import pytest
import torch

from dho_prompt.clip.loading import load_clip
from dho_prompt.methods.coop import CoOpMethod
from dho_prompt.students.clip import CLIPStudent

NAMES = ["tench", "great_white_shark", "sunglasses"]


@pytest.fixture
def clip(student_clip):
    return load_clip(student_clip)


def restated_logits(clip, ctx, words, images):
    """The published method, one class after the other: embeddings spliced, all positions, arg-max token, cosine."""
    model, tokenizer = clip.model, clip.tokenizer
    text = []
    for name in NAMES:
        ids = tokenizer(f"{words} {name.replace('_', ' ')}.")
        x = model.token_embedding(ids)
        x = torch.cat([x[:, :1], ctx[None], x[:, 1 + len(ctx) :]], dim=1) + model.positional_embedding
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask))
        feature = x[0, ids.argmax()] @ model.text_projection
        text.append(feature / feature.norm())
    image = model.encode_image(images)
    return model.logit_scale.exp() * (image / image.norm(dim=-1, keepdim=True)) @ torch.stack(text).t()


@pytest.mark.parametrize("ctx_init, n_ctx", [("", 3), ("a photo of a", 16)])
def test_logits_and_gradient_are_the_published_ones(clip, ctx_init, n_ctx):
    torch.manual_seed(0)
    method = CoOpMethod(CLIPStudent(clip), NAMES, n_ctx, ctx_init)
    words = ctx_init or " ".join("X" * n_ctx)
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 2, 1, 1])
    ctx = method.prompt_learner.ctx
    assert len(ctx) == (4 if ctx_init else 3)
    logits = method(images).logits
    expected = restated_logits(clip, ctx, words, images)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    loss = torch.nn.functional.cross_entropy
    (actual,) = torch.autograd.grad(loss(logits, labels), ctx)
    (wanted,) = torch.autograd.grad(loss(expected, labels), ctx)
    assert (actual - wanted).norm() < 1e-5 * wanted.norm()


def test_words_start_from_their_embedding(clip):
    method = CoOpMethod(CLIPStudent(clip), NAMES, ctx_init="a_photo_of_a")
    ids = torch.tensor(clip.tokenizer.encode("a photo of a")[:4])
    assert torch.equal(method.prompt_learner.ctx, clip.model.token_embedding(ids))


@pytest.mark.parametrize("class_specific", [False, True])
def test_without_words_it_starts_from_noise_of_std_002(clip, class_specific):
    torch.manual_seed(0)
    ctx = CoOpMethod(clip, ["tench"] * 6, 60, class_specific=class_specific).prompt_learner.ctx
    assert ctx.shape == ((6,) if class_specific else ()) + (60, 32)
    assert abs(ctx.std() - 0.02) < 1e-3 and abs(ctx.mean()) < 1e-3


def test_checkpoint_has_coops_keys_and_shapes(clip):
    method = CoOpMethod(CLIPStudent(clip), NAMES, 3)
    state = method.prompt_learner.state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == {
        "ctx": (3, 32),
        "token_prefix": (3, 1, 32),
        "token_suffix": (3, 77 - 1 - 3, 32),
    }
    ids = clip.tokenizer("X X X great white shark.")
    torch.testing.assert_close(state["token_suffix"][1], clip.model.token_embedding(ids)[0, 4:])
    assert list(dict(method.prompt_learner.named_parameters())) == ["ctx"]


def test_a_checkpoint_of_other_classes_and_precision_loads(clip):
    source, target = CoOpMethod(CLIPStudent(clip), NAMES, 3), CoOpMethod(CLIPStudent(clip), ["cat", "dog"], 3)
    state = {key: value.half() for key, value in source.prompt_learner.state_dict().items()}
    target.prompt_learner.load_state_dict(state)  # strict
    torch.testing.assert_close(target.prompt_learner.ctx, source.prompt_learner.ctx, rtol=1e-3, atol=1e-4)
    assert target.prompt_learner.ctx.dtype == torch.float32
    with pytest.raises(RuntimeError, match="Unexpected key"):
        target.prompt_learner.load_state_dict({**state, "meta_net.weight": torch.zeros(1)})


def test_text_features_are_computed_once_per_context(clip, monkeypatch):
    method = CoOpMethod(CLIPStudent(clip), NAMES, 3)
    calls = []
    forward = method.text_encoder.forward
    monkeypatch.setattr(method.text_encoder, "forward", lambda ctx: calls.append(1) or forward(ctx))
    with torch.no_grad():
        first = method.text_features()
        assert method.text_features() is first and len(calls) == 1
        method.prompt_learner.load_state_dict(CoOpMethod(CLIPStudent(clip), NAMES, 3).prompt_learner.state_dict())
        assert not torch.equal(method.text_features(), first) and len(calls) == 2
    method.text_features()
    method.text_features()
    assert len(calls) == 4  # with gradient: never kept


def test_nothing_but_the_context_is_trained(clip):
    method = CoOpMethod(CLIPStudent(clip), NAMES, 3)
    assert [name for name, parameter in method.named_parameters() if parameter.requires_grad] == ["prompt_learner.ctx"]
    method(torch.randn(2, 3, 32, 32)).logits.sum().backward()
    assert all(parameter.grad is None for parameter in clip.model.parameters())
