"""PromptSRC against a plain float64 restatement on all positions, and its checkpoints."""

import copy

import open_clip
import pytest
import torch

from dho_prompt.clip.loading import load_clip
from dho_prompt.clip.templates import PROMPTSRC
from dho_prompt.engine import load_strictly
from dho_prompt.methods.deep_prompts import prompt_settings
from dho_prompt.methods.promptsrc import PromptSRCMethod
from dho_prompt.students.clip import CLIPStudent

NAMES = ["tench", "great_white_shark", "sunglasses"]
SMALL = {"depth_text": 2, "depth_vision": 2}  # the small towers have two blocks
TEMPLATES = ["a photo of a {}.", "art of the {}.", "{}"]


@pytest.fixture
def clip(student_clip):
    return load_clip(student_clip)


def in_double(clip):
    clip = copy.copy(clip)
    clip.model = copy.deepcopy(clip.model).double()
    return clip


def run_blocks(blocks, x, replace, mask=None):
    """open_clip's own blocks; before block i >= 1 ``replace(x, i)`` writes that block's prompts."""
    for index, block in enumerate(blocks):
        x = block(replace(x, index) if index else x, attn_mask=mask)
    return x


def restated_text(clip, prompts, names, words):
    """All positions; the context's places are written anew before each prompted block."""
    model, n = clip.model, len(prompts["prompt_learner.ctx"])
    ids = clip.tokenizer([f"{words} {name.replace('_', ' ')}." for name in names])

    def put(x, vectors):
        return torch.cat([x[:, :1], vectors.expand(len(names), -1, -1), x[:, 1 + n :]], dim=1)

    def replace(x, index):
        key = f"text_encoder.transformer.resblocks.{index}.VPT_shallow"
        return put(x, prompts[key]) if key in prompts else x

    x = put(model.token_embedding(ids), prompts["prompt_learner.ctx"]) + model.positional_embedding
    x = model.ln_final(run_blocks(model.transformer.resblocks, x, replace, model.attn_mask))
    features = x[torch.arange(len(names)), ids.argmax(1)] @ model.text_projection
    return features / features.norm(dim=1, keepdim=True)


def restated_image(clip, prompts, images):
    """The visual prompts stand behind the patches and are written anew before each prompted block."""
    tower, batch = clip.model.visual, len(images)
    patches = tower.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat([tower.class_embedding.expand(batch, 1, -1), patches], dim=1) + tower.positional_embedding
    n = len(prompts.get("image_encoder.VPT", ()))
    if n:
        x = torch.cat([x, prompts["image_encoder.VPT"].expand(batch, -1, -1)], dim=1)

    def replace(x, index):
        key = f"image_encoder.transformer.resblocks.{index}.VPT_shallow"
        return torch.cat([x[:, :-n], prompts[key].expand(batch, -1, -1)], dim=1) if key in prompts else x

    x = run_blocks(tower.transformer.resblocks, tower.ln_pre(x), replace)
    features = tower.ln_post(x[:, 0]) @ tower.proj
    return features / features.norm(dim=1, keepdim=True)


def restated_loss(clip, prompts, names, words, images, labels, weights):
    """Cross-entropy and the three terms, each written out as sums."""
    scale = clip.model.logit_scale.exp()
    text, image = restated_text(clip, prompts, names, words), restated_image(clip, prompts, images)
    with torch.no_grad():
        frozen_text = 0
        for template in TEMPLATES:
            texts = [template.replace("{}", name.replace("_", " ")) for name in names]
            frozen_text = frozen_text + clip.model.encode_text(clip.tokenizer(texts)) / len(TEMPLATES)
        frozen_text = frozen_text / frozen_text.norm(dim=1, keepdim=True)
        frozen_image = restated_image(clip, {}, images)
        frozen = (scale * frozen_image @ frozen_text.t()).softmax(1)
    logits = scale * image @ text.t()
    prompted = logits.softmax(1)
    terms = {
        "loss_scl_text": weights[0] * (text - frozen_text).abs().sum() / text.numel(),
        "loss_scl_image": weights[1] * (image - frozen_image).abs().sum() / image.numel(),
        "loss_scl_logits": (frozen * (frozen.log() - prompted.log())).sum() / prompted.numel(),
    }
    return -prompted[range(len(labels)), labels].log().mean(), terms, logits


@pytest.mark.parametrize(
    "options, words",
    [
        ({}, "a photo of a"),
        ({"n_ctx_text": 2, "n_ctx_vision": 3}, "a photo of a"),  # "of a" stay words
        ({"n_ctx_text": 5, "depth_text": 1, "depth_vision": 1}, "X X X X X"),
        ({"ctx_init": "", "depth_vision": 0}, "X X X X"),
    ],
)
def test_loss_and_gradients_are_the_published_ones(clip, options, words):
    torch.manual_seed(0)
    options = {**SMALL, **options}
    method = PromptSRCMethod(CLIPStudent(clip), NAMES, **options, text_weight=7, image_weight=3, templates=TEMPLATES)
    exact = in_double(clip)
    images, labels = torch.randn(6, 3, 32, 32), torch.tensor([0, 2, 1, 1])
    prompts = {key: value.detach().double().requires_grad_() for key, value in method.prompts.state_dict().items()}
    ce, terms, logits = restated_loss(exact, prompts, NAMES, words, images[:4].double(), labels, (7, 3))
    wanted = torch.autograd.grad(ce + sum(terms.values()), prompts.values())

    output = method(images, labelled=4)
    loss = torch.nn.functional.cross_entropy(output.logits, labels) + sum(output.extra.values())
    names, weights = zip(*method.prompts.named_parameters())
    actual = dict(zip(names, torch.autograd.grad(loss, weights)))
    assert output.features.shape == (6, 32) and list(output.extra) == list(terms)
    torch.testing.assert_close(output.logits.double(), logits, rtol=1e-5, atol=1e-5)
    for name, term in terms.items():
        torch.testing.assert_close(output.extra[name].double(), term, rtol=1e-5, atol=1e-7)
    for name, gradient in zip(prompts, wanted):
        assert gradient.norm() > 0
        assert (actual[name] - gradient).norm() < 1e-5 * gradient.norm(), name


def test_deeper_prompts_and_longer_contexts_start_from_noise_of_std_002(clip):
    torch.manual_seed(0)
    words = clip.model.token_embedding(torch.tensor(clip.tokenizer.encode("a photo of a")[:4]))
    prompts = PromptSRCMethod(clip, NAMES, **SMALL, n_ctx_vision=50).prompts
    assert torch.equal(prompts.context, words)
    noise = [
        *prompts.vision(),
        *prompts.deep_text(),
        PromptSRCMethod(clip, NAMES, **SMALL, n_ctx_text=40).prompts.context,
    ]
    for values in noise:
        assert abs(values.std() - 0.02) < 4e-3 and abs(values.mean()) < 4e-3


def test_terms_belong_to_training_and_to_the_labelled_images(clip, monkeypatch):
    method = PromptSRCMethod(CLIPStudent(clip), NAMES, **SMALL, templates=TEMPLATES)
    calls = []
    encode = method.text_encoder.forward
    monkeypatch.setattr(method.text_encoder, "forward", lambda *args: calls.append(1) or encode(*args))
    images = torch.randn(5, 3, 32, 32)
    both, alone = method(images, labelled=2), method(images[:2])
    assert len(calls) == 2  # once a step
    for name, term in both.extra.items():
        torch.testing.assert_close(term, alone.extra[name])
    with torch.no_grad():
        assert method(images).extra == {} and method(images).logits.shape == (5, 3)
        assert len(calls) == 3
        method.prompts.context.add_(1)
        method(images)
        assert len(calls) == 4  # kept for as long as the prompts stay the same


def test_nothing_but_the_prompts_is_trained_and_saved(clip):
    method = PromptSRCMethod(CLIPStudent(clip), NAMES, **SMALL, templates=TEMPLATES)
    output = method(torch.randn(2, 3, 32, 32))
    (output.logits.sum() + sum(output.extra.values())).backward()
    assert all(weight.grad is None for weight in clip.model.parameters())
    assert all(weight.grad is not None for weight in method.prompts.parameters())
    assert {key: tuple(value.shape) for key, value in method.prompts.state_dict().items()} == {
        "prompt_learner.ctx": (4, 32),
        "text_encoder.transformer.resblocks.1.VPT_shallow": (4, 32),
        "image_encoder.VPT": (4, 32),
        "image_encoder.transformer.resblocks.1.VPT_shallow": (4, 32),
    }
    assert list(method.trainable()) == ["VLPromptLearner"]


def test_the_templates_are_the_sixty_of_the_published_code(clip):
    assert len(set(PROMPTSRC)) == 60 and all(template.count("{}") == 1 for template in PROMPTSRC)
    for template in ("a bad photo of a {}.", "itap of the {}.", "a photo of a {}.", "the toy {}."):
        assert template in PROMPTSRC
    for template in ("a photo of the small {}.", "a tattoo of the {}.", "itap of a {}."):  # of CLIP's other twenty
        assert template not in PROMPTSRC
    assert PromptSRCMethod(CLIPStudent(clip), NAMES, **SMALL).templates == PROMPTSRC


def published(method, clip):
    """A checkpoint in the published format: the whole model in half precision, keys of the family's own modules."""
    state = {f"image_encoder.{key}": value for key, value in clip.model.visual.state_dict().items()}
    state.update(
        {f"prompt_learner.ZS_image_encoder.{key}": value for key, value in clip.model.visual.state_dict().items()}
    )
    state.update({f"text_encoder.{key}": value for key, value in clip.model.transformer.state_dict().items()})
    state["logit_scale"], state["text_encoder.positional_embedding"] = torch.ones(()), clip.model.positional_embedding
    state["prompt_learner.token_prefix"], state["prompt_learner.token_suffix"] = (
        torch.ones(9, 1, 32),
        torch.ones(9, 72, 32),
    )
    state.update(method.prompts.state_dict())
    return {key: value.half() for key, value in state.items()}


def test_a_published_checkpoint_of_other_classes_loads(clip):
    source = PromptSRCMethod(CLIPStudent(clip), NAMES, **SMALL)
    target = PromptSRCMethod(CLIPStudent(clip), ["cat", "dog"], **SMALL)
    state = published(source, clip)
    load_strictly(target.prompts, {"state_dict": state}, "file")
    for key, value in target.prompts.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, state[key].float()), key
    assert prompt_settings(state) == {
        "N_CTX_TEXT": 4, "PROMPT_DEPTH_TEXT": 2, "N_CTX_VISION": 4, "PROMPT_DEPTH_VISION": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    "change, parts",
    [
        ({"depth_text": 1}, ["PROMPT_DEPTH_TEXT is 2 there, 1 here"]),
        ({"depth_vision": 1, "n_ctx_text": 3}, ["N_CTX_TEXT is 4 there, 3", "PROMPT_DEPTH_VISION is 2 there, 1 here"]),
        ({"depth_vision": 0}, ["PROMPT_DEPTH_VISION is 2 there, 0 here"]),
    ],
)
def test_a_checkpoint_of_other_settings_names_them(clip, change, parts):
    state = published(PromptSRCMethod(CLIPStudent(clip), NAMES, **SMALL), clip)
    target = PromptSRCMethod(CLIPStudent(clip), NAMES, **{**SMALL, **change})
    with pytest.raises(ValueError, match="file does not fit") as caught:
        load_strictly(target.prompts, state, "file")
    for part in parts:
        assert part in str(caught.value)


def test_a_checkpoint_of_another_method_or_clip_is_refused(clip):
    prompts = PromptSRCMethod(CLIPStudent(clip), NAMES, **SMALL).prompts
    other = {key: torch.zeros(4, 40) for key in prompts.state_dict()}
    with pytest.raises(ValueError, match="vectors of 40 there, 32 here: another CLIP"):
        load_strictly(prompts, other, "file")
    with pytest.raises(ValueError, match="no prompt_learner.ctx but ctx, token_prefix: it is of another method"):
        load_strictly(prompts, {"ctx": torch.zeros(4, 32), "token_prefix": torch.zeros(5, 1, 32)}, "file")
    maple = {**prompts.state_dict(), "prompt_learner.compound_prompts_text.0": torch.zeros(4, 32)}
    with pytest.raises(ValueError, match="compound_prompts_text.0"):
        load_strictly(prompts, maple, "file")


def test_depths_and_towers_without_room_are_refused(clip):
    with pytest.raises(ValueError, match=r"depth of the text prompts is 9; the text tower has 2 blocks \(1-2\)"):
        PromptSRCMethod(CLIPStudent(clip), NAMES)
    with pytest.raises(ValueError, match="depth of the visual prompts is 9; the image tower has 2 blocks"):
        PromptSRCMethod(CLIPStudent(clip), NAMES, depth_text=2)
    with pytest.raises(ValueError, match="depth of the text prompts is 0"):
        PromptSRCMethod(CLIPStudent(clip), NAMES, depth_text=0)
    resnet = copy.copy(clip)
    resnet.model = copy.deepcopy(clip.model)
    resnet.model.visual = open_clip.modified_resnet.ModifiedResNet([1, 1, 1, 1], 32, 4, image_size=32, width=8)
    with pytest.raises(ValueError, match="vision transformer"):
        PromptSRCMethod(CLIPStudent(resnet), NAMES, **SMALL)
