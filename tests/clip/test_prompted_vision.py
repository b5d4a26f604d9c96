"""The prompted vision tower against the tower itself and a plain float64 restatement of the published formula."""

import copy

import open_clip
import pytest
import torch

from dho_prompt.clip.blocks import is_plain_block
from dho_prompt.clip.prompted_vision import PromptedVisionEncoder
from tiny_clips import RESNET, VIT, tiny_clip

DEEP = {**VIT, "layers": 4}
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(5))


def random_prompts(n_ctx, depth, width=64, seed=1):
    prompts = 0.5 * torch.randn(depth, n_ctx, width, generator=torch.Generator().manual_seed(seed))
    return prompts.requires_grad_()


def restated(model, images, prompts):
    """One image after the other, all tokens in every block, prompts replaced behind the patches; float64."""
    tower = copy.deepcopy(model.visual).double()
    norm = lambda layer, x: torch.nn.functional.layer_norm(x, x.shape[-1:], layer.weight, layer.bias, layer.eps)  # noqa: E731
    identity = torch.nn.Identity
    quick = type(tower.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"
    features = []
    for image in images.double():
        patches = tower.conv1(image[None])[0].flatten(1).t()
        x = torch.cat([tower.class_embedding[None], patches]) + tower.positional_embedding
        x = torch.cat([x, prompts[0].double()])
        x = x if isinstance(tower.ln_pre, identity) else norm(tower.ln_pre, x)
        for index, block in enumerate(tower.transformer.resblocks):
            if 1 <= index < len(prompts):
                x = torch.cat([x[: len(x) - len(prompts[index])], prompts[index].double()])
            h, heads = norm(block.ln_1, x), []
            qkv = h @ block.attn.in_proj_weight.t() + block.attn.in_proj_bias
            for q, k, v in zip(*(part.split(block.attn.head_dim, dim=1) for part in qkv.chunk(3, dim=1))):
                heads.append(torch.softmax(q @ k.t() / block.attn.head_dim**0.5, dim=1) @ v)
            x = x + block.ls_1(block.attn.out_proj(torch.cat(heads, dim=1)))
            h = block.mlp.c_fc(norm(block.ln_2, x))
            h = h * torch.sigmoid(1.702 * h) if quick else torch.nn.functional.gelu(h)
            x = x + block.ls_2(block.mlp.c_proj(h))
        feature = norm(tower.ln_post, x[0])
        features.append(feature if tower.proj is None else feature @ tower.proj)
    return torch.stack(features)


TOWERS = {
    "quickgelu": dict(vision=DEEP),
    "gelu": dict(vision=DEEP, quick_gelu=False),
    "layer scale": dict(vision={**DEEP, "ls_init_value": 0.3}),
    "no ln_pre": dict(vision={**DEEP, "no_ln_pre": True}),
    "fixed positions": dict(vision={**DEEP, "pos_embed_type": "sin_cos_2d"}),
    "patch dropout": dict(vision={**DEEP, "patch_dropout": 0.5}),
    "tokens too": dict(vision={**DEEP, "output_tokens": True}),
    "norm after pool": dict(vision={**DEEP, "final_ln_after_pool": True}),
    "custom text": dict(vision=DEEP, kind=open_clip.CustomTextCLIP),
}


@pytest.mark.parametrize("which", TOWERS)
def test_without_prompts_it_is_the_tower(which):
    model = tiny_clip(**TOWERS[which])
    with torch.no_grad():
        expected = model.visual(IMAGES)
        expected = expected[0] if isinstance(expected, tuple) else expected
        for depth in (1, 3, 4):
            actual = PromptedVisionEncoder(model, 0, depth)(IMAGES, torch.zeros(depth, 0, 64))
            torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())


@pytest.mark.parametrize("which", TOWERS)
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_value_and_gradient_are_the_published_ones(which, depth):
    model = tiny_clip(**TOWERS[which])
    prompts = random_prompts(3, depth)
    weights = torch.randn(3, 24, generator=torch.Generator().manual_seed(7))
    features = PromptedVisionEncoder(model, 3, depth)(IMAGES, prompts)
    expected = restated(model, IMAGES, prompts)
    assert (features - expected).norm() < 1e-6 * expected.norm()
    (actual,) = torch.autograd.grad((features * weights).sum(), prompts)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), prompts)
    assert (actual - wanted).norm() < 1e-5 * wanted.norm()
    assert all(layer.norm() > 0 for layer in actual)


def test_a_tower_without_projection_and_one_with_a_single_block():
    model = tiny_clip(vision={**VIT, "layers": 1})
    model.visual.proj = None
    prompts = random_prompts(2, 1)
    torch.testing.assert_close(
        PromptedVisionEncoder(model, 2)(IMAGES, prompts).double(),
        restated(model, IMAGES, prompts),
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_list_of_prompts_is_the_stacked_one_and_shapes_are_checked():
    model = tiny_clip(vision=DEEP)
    encoder, prompts = PromptedVisionEncoder(model, 3, 2), random_prompts(3, 2)
    assert torch.equal(encoder(IMAGES, list(prompts)), encoder(IMAGES, prompts))
    for wrong in (prompts[:1], prompts[:, :2], prompts[..., :5]):
        with pytest.raises(ValueError, match=r"takes 2 of \(3, 64\)"):
            encoder(IMAGES, wrong)


@pytest.mark.parametrize("how", ["bf16 weights", "autocast"])
def test_lower_precision_stays_near_float32(how):
    from open_clip.model import convert_weights_to_lp

    model = tiny_clip(vision=DEEP)
    prompts = random_prompts(3, 3)
    expected = restated(model, IMAGES, prompts)
    if how == "bf16 weights":
        model = open_clip.CLIP(**_config(), cast_dtype=torch.bfloat16).eval().requires_grad_(False)
        model.load_state_dict(tiny_clip(vision=DEEP).state_dict())
        convert_weights_to_lp(model, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        features = PromptedVisionEncoder(model, 3, 3)(IMAGES, prompts)
    assert features.dtype == torch.bfloat16
    assert (features - expected).norm() < 0.03 * expected.norm()
    features.float().sum().backward()
    assert prompts.grad.dtype == torch.float32 and torch.isfinite(prompts.grad).all()


def _config():
    from tiny_clips import tiny_config

    return tiny_config(DEEP)


def test_only_prompts_get_gradients_and_nothing_is_saved_before_them():
    model = tiny_clip(vision=DEEP)
    encoder = PromptedVisionEncoder(model, 3, 2)
    assert not list(encoder.parameters()) and not encoder.state_dict()
    shapes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: shapes.append(tuple(x.shape)) or x, lambda x: x):
        encoder(IMAGES, random_prompts(3, 2)).sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert IMAGES.shape not in shapes


@pytest.mark.parametrize(
    "vision, said",
    [
        (RESNET, "ModifiedResNet"),
        ({**VIT, "attentional_pool": True}, "attentional pool"),
        ({**VIT, "pool_type": "avg"}, "averages its tokens"),
        ({**VIT, "qk_norm": True}, "non-standard transformer blocks"),
    ],
)
def test_other_towers_are_refused(vision, said):
    with pytest.raises(ValueError, match=said) as caught:
        PromptedVisionEncoder(tiny_clip(vision=vision), 2)
    assert "ViT-B/16" in str(caught.value)


def test_a_block_with_further_parts_is_not_plain():
    assert is_plain_block(open_clip.transformer.ResidualAttentionBlock(16, 2))
    assert not is_plain_block(open_clip.transformer.ResidualAttentionBlock(16, 2, is_cross_attention=True))


def test_a_depth_beyond_the_tower_is_refused():
    with pytest.raises(ValueError, match="is 5; the image tower has 4 blocks"):
        PromptedVisionEncoder(tiny_clip(vision=DEEP), 2, 5)
    with pytest.raises(ValueError, match="is 0; the image tower"):
        PromptedVisionEncoder(tiny_clip(vision=DEEP), 2, 0)
