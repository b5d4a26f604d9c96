"""The prompted text encoder against the full 77-token computation, restated here through open_clip's own modules."""

import copy

import open_clip
import pytest
import torch
import torch.nn.functional as F

from dho_prompt.clip.layout import RowLayout
from dho_prompt.clip.loading import cpu_runs_float16
from dho_prompt.clip.prompts import PromptTokens
from dho_prompt.clip.text import PromptedTextEncoder, embed_context, encode_texts
from dho_prompt.clip.tower import full_text_features
from tiny_clips import RESNET, tiny_clip, tiny_config

MIXED = ["cat", "golden_retriever", "Yorkshire Terrier", "tench", "eastern hog-nosed snake", "iPod", "cat"]
EQUAL = ["cat", "dog", "bird"]
N_CTX = 5


def restated(model, tokenizer, names, ctx, position):
    """All 77 positions: embed the text, splice the context in, run the tower, take the end token, project."""
    tower = getattr(model, "text", model)
    n_ctx = ctx.shape[-2]
    names = [name.replace("_", " ") for name in names]
    ids = tokenizer([" ".join(["X"] * n_ctx) + " " + name + "." for name in names])
    embedded = tower.token_embedding(ids)
    rows = []
    for i, name in enumerate(names):
        vectors = ctx if ctx.dim() == 2 else ctx[i]
        after = embedded[i, 1 + n_ctx :]
        length = len(tokenizer.encode(name))
        half = n_ctx // 2
        middle = {
            "end": [vectors, after],
            "middle": [vectors[:half], after[:length], vectors[half:], after[length:]],
            "front": [after[:length], vectors, after[length:]],
        }[position]
        rows.append(torch.cat([embedded[i, :1], *middle]))
    x = torch.stack(rows) + tower.positional_embedding
    x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask))
    return x[torch.arange(len(names)), ids.argmax(dim=1)] @ tower.text_projection


def context(classes, specific, dtype=torch.float32, n_ctx=N_CTX):
    shape = (classes, n_ctx, 48) if specific else (n_ctx, 48)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype).mul(0.2).requires_grad_()


def features_and_gradient(compute, ctx):
    features = compute(ctx)
    weight = torch.linspace(-1, 1, features.numel(), dtype=features.dtype).view_as(features)
    (gradient,) = torch.autograd.grad((features * weight).sum(), ctx)
    return features.detach(), gradient


def assert_equal(ours, wanted, tolerance):
    difference = (ours.double() - wanted.double()).abs().max()
    assert difference <= tolerance * wanted.abs().max(), f"{difference:.1e} against {wanted.abs().max():.1e}"


TOWERS = {
    "vit-quick-gelu": lambda: tiny_clip(),
    "vit-gelu": lambda: tiny_clip(quick_gelu=False),
    "resnet": lambda: tiny_clip(RESNET),
    "custom-text": lambda: tiny_clip(kind=open_clip.CustomTextCLIP),
    "layer-scale": lambda: tiny_clip(ls_init_value=0.3),
}


@pytest.fixture(scope="module", params=TOWERS)
def model(request):
    return TOWERS[request.param]()


@pytest.mark.parametrize("specific", [False, True], ids=["generic", "csc"])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_equals_the_full_computation(model, tokenizer, position, specific):
    encoder = PromptedTextEncoder(model, tokenizer, MIXED, N_CTX, position)
    ctx = context(len(MIXED), specific)
    features, gradient = features_and_gradient(encoder, ctx)
    wanted, wanted_gradient = features_and_gradient(lambda c: restated(model, tokenizer, MIXED, c, position), ctx)
    assert features.shape == (len(MIXED), 24)
    assert_equal(features, wanted, 1e-6)
    assert_equal(gradient, wanted_gradient, 1e-5)


@pytest.mark.parametrize("names", [MIXED, EQUAL, ["snow_leopard"]], ids=["mixed", "equal", "single"])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_equals_the_full_computation_in_float64(tokenizer, names, position):
    model = tiny_clip().double()
    for specific in (False, True):
        encoder = PromptedTextEncoder(model, tokenizer, names, N_CTX, position)
        ctx = context(len(names), specific, torch.float64)
        ours = features_and_gradient(encoder, ctx)
        wanted = features_and_gradient(lambda c: restated(model, tokenizer, names, c, position), ctx)
        assert_equal(ours[0], wanted[0], 1e-13)
        assert_equal(ours[1], wanted[1], 1e-12)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_full_pass_is_the_restated_one(vit, tokenizer, position):
    slots = PromptTokens(tokenizer, MIXED, N_CTX, position).slots
    for specific in (False, True):
        ctx = context(len(MIXED), specific)
        ours = features_and_gradient(lambda c: full_text_features(vit, tokenizer, slots, c), ctx)
        wanted = features_and_gradient(lambda c: restated(vit, tokenizer, MIXED, c, position), ctx)
        assert_equal(ours[0], wanted[0], 1e-6)
        assert_equal(ours[1], wanted[1], 1e-5)


def test_one_context_vector_and_a_prompt_of_exactly_77_tokens(vit, tokenizer):
    for n_ctx in (1, 73):  # start, 73 vectors, cat, full stop, end
        encoder = PromptedTextEncoder(vit, tokenizer, ["cat", "dog"], n_ctx)
        ctx = context(2, False, n_ctx=n_ctx)
        assert_equal(encoder(ctx).detach(), restated(vit, tokenizer, ["cat", "dog"], ctx, "end").detach(), 1e-6)


def test_only_needed_tokens_are_computed(tokenizer):
    prompts = PromptTokens(tokenizer, MIXED, N_CTX)
    own = sum(len(tokenizer.encode(name.replace("_", " "))) + 2 for name in MIXED)
    assert RowLayout(prompts.slots, class_specific=False).token_ids.numel() == 1 + N_CTX + own
    specific = RowLayout(prompts.slots, class_specific=True)
    assert specific.shared == 1
    assert specific.token_ids.numel() == 1 + len(MIXED) * N_CTX + own


def test_encoder_has_no_state_and_touches_no_weight(vit, tokenizer):
    before = copy.deepcopy(vit.state_dict())
    encoder = PromptedTextEncoder(vit, tokenizer, EQUAL, N_CTX)
    encoder(context(3, False)).sum().backward()
    assert list(encoder.parameters()) == [] and encoder.state_dict() == {}
    assert all(weight.grad is None for weight in vit.parameters())
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())


def test_weights_are_shared(tokenizer):
    model = tiny_clip()
    encoder = PromptedTextEncoder(model, tokenizer, EQUAL, N_CTX)
    ctx = context(3, False)
    model.text_projection.data.mul_(2)
    assert_equal(encoder(ctx).detach(), restated(model, tokenizer, EQUAL, ctx, "end").detach(), 1e-6)


@pytest.mark.parametrize("shape", [(4, 48), (5, 40), (2, 5, 48), (5, 48, 1)])
def test_wrong_context_shape_names_the_right_ones(vit, tokenizer, shape):
    encoder = PromptedTextEncoder(vit, tokenizer, EQUAL, N_CTX)
    with pytest.raises(ValueError, match=r"\(5, 48\).*\(3, 5, 48\)"):
        encoder(torch.zeros(shape))


class TestTowersThatAreNotCausal:
    @pytest.mark.parametrize(
        "text",
        [
            {"no_causal_mask": True},
            {"pool_type": "last"},
            {"pool_type": "eos", "eos_id": 7},
            {"embed_cls": True},
            {"qk_norm": True},
        ],
        ids=["no-mask", "last", "other-eos", "coca-token", "qk-norm"],
    )
    def test_full_pass_with_one_warning(self, tokenizer, text):
        model = tiny_clip(kind=open_clip.CustomTextCLIP, **text)
        with pytest.warns(UserWarning, match="full-length pass") as caught:
            encoder = PromptedTextEncoder(model, tokenizer, MIXED, N_CTX)
        # the context as the embedding of real words must give what the tower says of the text itself
        ctx = embed_context(model, tokenizer, "this is a nice photo").requires_grad_()
        features = encoder(ctx)
        texts = [f"this is a nice photo {name.replace('_', ' ')}." for name in MIXED]
        wanted = model.encode_text(tokenizer(texts))
        if text.get("pool_type") != "eos":  # pools a token that no text has
            assert_equal(features.detach(), wanted, 1e-6)
            (gradient,) = torch.autograd.grad(features.sum(), ctx)
            assert gradient.abs().min() > 0
        assert len(caught) == 1
        assert_equal(encode_texts(model, tokenizer, texts), wanted, 1e-6)

    def test_eos_pooling_with_the_tokenizers_end_is_causal(self, tokenizer, recwarn):
        model = tiny_clip(kind=open_clip.CustomTextCLIP, pool_type="eos", eos_id=tokenizer.eot_token_id)
        encoder = PromptedTextEncoder(model, tokenizer, MIXED, N_CTX)
        ctx = context(len(MIXED), False)
        assert_equal(encoder(ctx).detach(), restated(model, tokenizer, MIXED, ctx, "end").detach(), 1e-6)
        assert not recwarn.list


@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(torch.float16, marks=pytest.mark.skipif(not cpu_runs_float16(), reason="torch too old")),
        torch.bfloat16,
    ],
)
def test_half_precision_is_close(tokenizer, dtype):
    exact = tiny_clip()
    half = open_clip.CLIP(**tiny_config(), cast_dtype=dtype)
    half.load_state_dict(exact.state_dict())
    open_clip.model.convert_weights_to_lp(half, dtype)
    half.eval().requires_grad_(False)
    ctx = context(len(MIXED), False)
    features, gradient = features_and_gradient(PromptedTextEncoder(half, tokenizer, MIXED, N_CTX), ctx)
    wanted, wanted_gradient = features_and_gradient(PromptedTextEncoder(exact, tokenizer, MIXED, N_CTX), ctx)
    assert features.dtype == dtype and gradient.dtype == torch.float32
    assert F.cosine_similarity(features.float(), wanted).min() > 0.999
    assert F.cosine_similarity(gradient.flatten(), wanted_gradient.flatten(), dim=0) > 0.99


def test_autocast_is_close(vit, tokenizer):
    encoder = PromptedTextEncoder(vit, tokenizer, MIXED, N_CTX)
    ctx = context(len(MIXED), False)
    with torch.autocast("cpu", torch.bfloat16):
        features, gradient = features_and_gradient(encoder, ctx)
    wanted, wanted_gradient = features_and_gradient(encoder, ctx)
    assert F.cosine_similarity(features.float(), wanted).min() > 0.999
    assert F.cosine_similarity(gradient.flatten(), wanted_gradient.flatten(), dim=0) > 0.99


def test_plain_texts_equal_open_clip(vit, tokenizer):
    texts = ["a photo of a cat.", "a photo of a golden retriever, a type of pet.", "two dogs", ""]
    assert_equal(encode_texts(vit, tokenizer, texts), vit.encode_text(tokenizer(texts)), 1e-6)
    with pytest.raises(ValueError, match="reads 77"):
        encode_texts(vit, tokenizer, ["cat " * 80])


def test_context_from_words_gives_the_features_of_the_text(vit, tokenizer):
    ctx = embed_context(vit, tokenizer, "a_photo of a")
    assert ctx.shape == (4, 48)
    encoder = PromptedTextEncoder(vit, tokenizer, MIXED, 4, prefix="a photo of a")
    texts = [f"a photo of a {name.replace('_', ' ')}." for name in MIXED]
    assert_equal(encoder(ctx), vit.encode_text(tokenizer(texts)), 1e-6)


def test_words_of_several_tokens_shift_the_rest_behind_the_context(vit, tokenizer):
    words = "handwrittenish photo"
    assert len(tokenizer.encode(words)) > 2
    encoder = PromptedTextEncoder(vit, tokenizer, EQUAL, 2, prefix=words)
    texts = [f"{words} {name}." for name in EQUAL]
    wanted = vit.encode_text(tokenizer(texts))
    assert_equal(encoder(embed_context(vit, tokenizer, words)), wanted, 1e-6)
