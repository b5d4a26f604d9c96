"""Deep text prompts against all 77 positions computed in float64, restated here from the blocks' weights."""

import open_clip
import pytest
import torch
import torch.nn.functional as F

from dho_prompt.clip.text import PromptedTextEncoder
from dho_prompt.clip.tower import full_text_features
from tiny_clips import tiny_clip

NAMES = ["cat", "golden_retriever", "Yorkshire Terrier", "tench", "eastern hog-nosed snake", "iPod", "cat"]
N_CTX, WIDTH, LAYERS = 3, 48, 3


def restated(model, tokenizer, ctx, deep):
    """One class after the other, in float64: before every prompted block the context's places are written anew."""
    weights = {key: value.double() for key, value in model.state_dict().items()}

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    def linear(x, name):
        return x @ weights[f"{name}.weight"].t() + weights[f"{name}.bias"]

    features = []
    for name in NAMES:
        ids = tokenizer(" ".join(["X"] * N_CTX) + f" {name.replace('_', ' ')}.")[0]
        x = weights["token_embedding.weight"][ids]
        x = torch.cat([x[:1], ctx, x[1 + N_CTX :]]) + weights["positional_embedding"]
        for layer in range(LAYERS):
            if 1 <= layer <= len(deep):
                x = torch.cat([x[:1], deep[layer - 1], x[1 + N_CTX :]])
            block = f"transformer.resblocks.{layer}"
            packed = norm(x, f"{block}.ln_1") @ weights[f"{block}.attn.in_proj_weight"].t()
            packed = packed + weights[f"{block}.attn.in_proj_bias"]
            heads = []
            for q, k, v in zip(*(part.split(16, dim=1) for part in packed.split(WIDTH, dim=1))):
                scores = (q @ k.t() / 4).masked_fill(torch.ones(77, 77).triu(1).bool(), float("-inf"))
                heads.append(scores.softmax(1) @ v)
            x = x + linear(torch.cat(heads, 1), f"{block}.attn.out_proj")
            hidden = linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
            x = x + linear(hidden * torch.sigmoid(1.702 * hidden), f"{block}.mlp.c_proj")
        features.append(norm(x, "ln_final")[ids.argmax()] @ weights["text_projection"])
    return torch.stack(features)


def prompts(depth, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(N_CTX, WIDTH, generator=draw).mul(0.2).requires_grad_() for _ in range(depth)]


def features_and_gradients(compute, vectors):
    features = compute(vectors[0], vectors[1:])
    weight = torch.linspace(-1, 1, features.numel(), dtype=features.dtype).view_as(features)
    return features.detach(), torch.autograd.grad((features * weight).sum(), vectors)


def assert_same(ours, wanted, value=1e-6, gradient=1e-5):
    assert (ours[0] - wanted[0]).abs().max() <= value * wanted[0].abs().max()
    for actual, expected in zip(ours[1], wanted[1]):
        assert expected.abs().max() > 0
        assert (actual - expected).norm() <= gradient * expected.norm()


@pytest.mark.parametrize("depth", range(1, LAYERS + 1))
def test_equals_the_full_computation(vit, tokenizer, depth):
    vectors = prompts(depth)
    wanted = features_and_gradients(
        lambda ctx, deep: restated(vit, tokenizer, ctx, deep),
        [vector.detach().double().requires_grad_() for vector in vectors],
    )
    encoder = PromptedTextEncoder(vit, tokenizer, NAMES, N_CTX)
    assert encoder.layers == LAYERS
    assert_same(features_and_gradients(encoder, vectors), wanted)
    slots = encoder.prompts.slots
    full = features_and_gradients(lambda ctx, deep: full_text_features(vit, tokenizer, slots, ctx, deep), vectors)
    assert_same(full, wanted)


@pytest.mark.parametrize("position", ["middle", "front"])
def test_names_elsewhere_equal_the_towers_own_pass(vit, tokenizer, position):
    vectors = prompts(3)
    encoder = PromptedTextEncoder(vit, tokenizer, NAMES, N_CTX, position)
    slots = encoder.prompts.slots
    wanted = features_and_gradients(lambda ctx, deep: full_text_features(vit, tokenizer, slots, ctx, deep), vectors)
    assert_same(features_and_gradients(encoder, vectors), wanted)


def test_a_tower_that_is_not_causal_takes_the_full_pass(tokenizer):
    model = tiny_clip(kind=open_clip.CustomTextCLIP, no_causal_mask=True)
    with pytest.warns(UserWarning, match="full-length pass"):
        encoder = PromptedTextEncoder(model, tokenizer, NAMES, N_CTX)
    features, gradients = features_and_gradients(encoder, prompts(3))
    assert not torch.allclose(features, encoder(*prompts(1)))
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_words_behind_the_context_stay_words(vit, tokenizer):
    encoder = PromptedTextEncoder(vit, tokenizer, ["cat"], 2, prefix="a photo of a")
    ids = torch.tensor(tokenizer.encode("a photo"))
    wanted = vit.encode_text(tokenizer(["a photo of a cat."]))
    torch.testing.assert_close(encoder(vit.token_embedding(ids)), wanted, rtol=1e-5, atol=1e-6)


def test_what_does_not_fit_is_refused(vit, tokenizer):
    encoder = PromptedTextEncoder(vit, tokenizer, NAMES, N_CTX)
    ctx, deep = prompts(1)[0], prompts(3)
    with pytest.raises(ValueError, match="3 blocks behind the first are given, the text tower has 2"):
        encoder(ctx, deep)
    with pytest.raises(ValueError, match=r"each be of shape \(3, 48\)"):
        encoder(ctx, [torch.zeros(N_CTX + 1, WIDTH)])
    with pytest.raises(ValueError, match=r"each be of shape \(3, 48\)"):
        encoder(torch.zeros(len(NAMES), N_CTX, WIDTH), deep[:1])
