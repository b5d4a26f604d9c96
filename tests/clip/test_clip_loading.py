"""Loading from folders, state dicts and OpenAI's archives; precisions; what the errors say."""

import gzip
import json
import time

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from dho_prompt.clip import names as names_module
from dho_prompt.clip.loading import build_model, cpu_runs_float16, load_clip
from dho_prompt.clip.names import OPENAI_NAMES, resolve_name
from dho_prompt.clip.text import PromptedTextEncoder
from dho_prompt.clip.weights import find_weights
from tiny_clips import RESNET, tiny_clip, tiny_config


def write_folder(folder, model=None, **config):
    folder.mkdir(parents=True, exist_ok=True)
    content = {"model_cfg": {**tiny_config(), **config}, "preprocess_cfg": {"mean": [0.1] * 3, "std": [0.2] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    if model is not None:
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, vit):
    return write_folder(tmp_path_factory.mktemp("model"), vit)


@pytest.fixture
def no_weights(tmp_path):
    return write_folder(tmp_path / "bare")


def same_features(clip, model, tokenizer):
    images = torch.randn(2, 3, 32, 32)
    texts = tokenizer(["a cat", "a dog"])
    return torch.equal(clip.encode_image(images), model.encode_image(images)) and torch.equal(
        clip.model.encode_text(texts), model.encode_text(texts)
    )


def test_folder(folder, vit, tokenizer):
    clip = load_clip(folder)
    assert same_features(clip, vit, tokenizer)
    assert (clip.image_size, clip.embed_dim, clip.mean, clip.std) == (32, 24, (0.1,) * 3, (0.2,) * 3)
    assert clip.logit_scale == pytest.approx(1 / 0.07)
    assert clip.weights_source.endswith("open_clip_model.safetensors")
    assert clip.tokenizer.encode("a cat") == tokenizer.encode("a cat") and clip.tokenizer.context_length == 77
    assert not clip.model.training and not any(weight.requires_grad for weight in clip.model.parameters())


def test_folder_with_its_own_merges(tmp_path):
    model = tiny_clip(vocab_size=512 + 2 + 2)
    path = write_folder(tmp_path, model, text_cfg={**tiny_config()["text_cfg"], "vocab_size": 516})
    (tmp_path / "bpe.txt.gz").write_bytes(gzip.compress(b"#version\nc a\nca t</w>"))
    clip = load_clip(path)
    assert len(clip.tokenizer.encode("cat")) == 1 and len(clip.tokenizer.encode("dog")) == 3
    assert clip.tokenizer.eot_token_id == 515
    (tmp_path / "bpe.txt.gz").unlink()
    with pytest.raises(ValueError, match="49408 tokens, the text tower only 516"):
        load_clip(path)


@pytest.mark.parametrize("wrap", [dict, lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}])
def test_state_dict_file(tmp_path, no_weights, vit, tokenizer, wrap):
    torch.save(wrap(vit.state_dict()), tmp_path / "weights.pt")
    assert same_features(load_clip(no_weights, str(tmp_path / "weights.pt")), vit, tokenizer)


def test_state_dict_for_a_tower_under_text(tmp_path, vit, tokenizer):
    name = write_folder(tmp_path / "custom", custom_text=True)
    torch.save(vit.state_dict(), tmp_path / "weights.pt")
    clip = load_clip(name, str(tmp_path / "weights.pt"))
    assert isinstance(clip.model, open_clip.CustomTextCLIP)
    assert same_features(clip, vit, tokenizer)


@pytest.mark.filterwarnings("ignore")  # torch.jit announces its end, tracing its constants
def test_openai_archive(tmp_path, no_weights, tokenizer):
    original = tiny_clip(seed=3)
    traced = open_clip.CLIP(**tiny_config()).eval()
    traced.load_state_dict(original.state_dict())
    for name, value in (("input_resolution", 32), ("context_length", 77), ("vocab_size", 49408)):
        if hasattr(traced, name):
            delattr(traced, name)
        traced.register_buffer(name, torch.tensor(value))
    archive = torch.jit.trace(traced, (torch.zeros(1, 3, 32, 32), tokenizer(["a cat"])), check_trace=False)
    archive.half().save(str(tmp_path / "tiny.pt"))
    clip = load_clip(no_weights, str(tmp_path / "tiny.pt"))
    assert all(weight.dtype == torch.float32 for weight in clip.model.parameters())
    texts = tokenizer(["a cat", "a dog"])
    assert torch.allclose(clip.model.encode_text(texts), original.encode_text(texts), atol=1e-2)
    wanted = original.visual.conv1.weight.half().float()
    assert torch.equal(clip.model.visual.conv1.weight, wanted)
    with pytest.raises(ValueError, match="need QuickGELU"):
        load_clip(write_folder(tmp_path / "gelu", quick_gelu=False), str(tmp_path / "tiny.pt"))


@pytest.mark.parametrize("vision", [None, RESNET], ids=["vit", "resnet"])
@pytest.mark.parametrize(
    "precision",
    [pytest.param("fp16", marks=pytest.mark.skipif(not cpu_runs_float16(), reason="torch too old")), "bf16", "amp"],
)
def test_precisions_run_on_the_cpu_and_stay_close(tmp_path, vision, precision):
    model = tiny_clip(vision)
    name = write_folder(tmp_path, model, vision_cfg=tiny_config(vision)["vision_cfg"])
    clip = load_clip(name, precision=precision)
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "amp": torch.float32}[precision]
    assert clip.dtype == dtype
    assert clip.model.transformer.resblocks[0].mlp.c_fc.weight.dtype == dtype
    assert clip.model.ln_final.weight.dtype == torch.float32
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert F.cosine_similarity(clip.encode_image(images).float(), model.encode_image(images)).min() > 0.99
    encoder = PromptedTextEncoder(clip.model, clip.tokenizer, ["cat", "dog"], 4)
    ctx = 0.1 * torch.randn(4, 48, generator=torch.Generator().manual_seed(0))
    exact = PromptedTextEncoder(model, clip.tokenizer, ["cat", "dog"], 4)(ctx)
    assert F.cosine_similarity(encoder(ctx).float(), exact).min() > 0.99


def test_coops_names_mean_quick_gelu():
    for name, model in OPENAI_NAMES.items():
        spec = resolve_name(name)
        assert spec.architecture["quick_gelu"] is True, name
        assert "openaipublic" in spec.pretrained["url"], name
        assert spec.architecture == open_clip.get_model_config(model)
    assert resolve_name("open_clip:ViT-B-16:openai").architecture["quick_gelu"] is True
    spec = resolve_name("ViT-B/16")
    spec.architecture["vision_cfg"].update(layers=1, width=64)
    spec.architecture["text_cfg"].update(layers=1, width=64, heads=1)
    model = build_model(spec)
    for block in [*model.transformer.resblocks, *model.visual.transformer.resblocks]:
        assert isinstance(block.mlp.gelu, open_clip.transformer.QuickGELU)
    assert resolve_name("open_clip:ViT-B-16:laion2b_s34b_b88k").architecture.get("quick_gelu", False) is False


def test_the_papers_teacher_is_known_without_a_connection():
    spec = resolve_name("hf-hub:apple/DFN5B-CLIP-ViT-H-14-378")
    assert spec.architecture["vision_cfg"]["image_size"] == 378
    assert spec.architecture["quick_gelu"] is True


def test_bundled_names_are_folders_in_the_package(monkeypatch, tmp_path, vit):
    monkeypatch.setattr(names_module, "BUNDLED_FOLDER", tmp_path)
    write_folder(tmp_path / "digits-teacher", vit)
    assert load_clip("digits-teacher").embed_dim == 24
    with pytest.raises(FileNotFoundError, match="digits-student"):
        load_clip("digits-student")


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "near"),
        [("ViT-B16", "ViT-B/16"), ("rn-50", "RN50"), ("open_clip:ViT-B-15:openai", "open_clip:ViT-B-16"),
         ("hf-hub:apple/DFN5B-CLIP-ViT-H-14-379", "hf-hub:apple/DFN5B-CLIP-ViT-H-14-378"),
         ("digit-teacher", "digits-teacher")],
    )  # fmt: skip
    def test_unknown_names_get_their_neighbours(self, name, near):
        with pytest.raises(ValueError, match="unknown CLIP model") as caught:
            load_clip(name)
        assert f"{near}," in str(caught.value) or f"{near}." in str(caught.value)

    def test_unknown_tag_lists_the_known(self):
        with pytest.raises(ValueError, match="openai, laion400m_e31"):
            load_clip("open_clip:ViT-B-16:laion3b")

    def test_unreachable_weights_fail_at_once_and_say_what_to_do(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.delenv(proxy, raising=False)
        start = time.monotonic()
        with pytest.raises(
            FileNotFoundError, match=r"ViT-L/14@336px.*ViT-L-14-336px\.pt.*as the weights file"
        ) as caught:
            load_clip("ViT-L/14@336px")
        assert time.monotonic() - start < 10
        assert caught.value.__suppress_context__

    def test_damaged_openai_file_in_the_cache(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / ".cache/clip").mkdir(parents=True)
        (tmp_path / ".cache/clip/RN50.pt").write_bytes(b"half a file")
        with pytest.raises(ValueError, match=r"RN50\.pt.*checksum differs"):
            load_clip("RN50")

    def test_no_tag_and_no_file(self):
        with pytest.raises(FileNotFoundError, match="names no weights"):
            load_clip("open_clip:ViT-B-16")

    def test_missing_file_and_missing_folder_parts(self, no_weights, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"gone\.pt of .* does not exist"):
            load_clip(no_weights, str(tmp_path / "gone.pt"))
        with pytest.raises(FileNotFoundError, match=r"no open_clip_model\.safetensors"):
            load_clip(no_weights)
        (tmp_path / "empty").mkdir()
        with pytest.raises(FileNotFoundError, match=r"no open_clip_config\.json"):
            load_clip(str(tmp_path / "empty"))
        (tmp_path / "empty/open_clip_config.json").write_text('{"model_cfg": {}}')
        with pytest.raises(ValueError, match="lacks embed_dim, text_cfg, vision_cfg"):
            load_clip(str(tmp_path / "empty"))

    @pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
    def test_damaged_files(self, no_weights, tmp_path, vit, suffix):
        path = tmp_path / f"weights{suffix}"
        (save_file if suffix == ".safetensors" else torch.save)(vit.state_dict(), path)
        whole = path.read_bytes()
        for damaged in (whole[: len(whole) // 2], b"<html>not found</html>", b""):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match="damaged or of another kind"):
                load_clip(no_weights, str(path))

    def test_pickled_objects_are_refused(self, no_weights, tmp_path, vit):
        torch.save(vit, tmp_path / "whole_model.pt")
        with pytest.raises(ValueError, match="damaged or of another kind"):
            load_clip(no_weights, str(tmp_path / "whole_model.pt"))
        torch.save({"epoch": 3}, tmp_path / "other.pt")
        with pytest.raises(ValueError, match="holds no state dict"):
            load_clip(no_weights, str(tmp_path / "other.pt"))

    def test_another_models_weights(self, no_weights, tmp_path):
        torch.save(tiny_clip(layers=2).state_dict(), tmp_path / "fewer.pt")
        with pytest.raises(ValueError, match=r"resblocks\.2\..* is missing.* and \d+ more"):
            load_clip(no_weights, str(tmp_path / "fewer.pt"))
        torch.save(tiny_clip(width=96).state_dict(), tmp_path / "wider.pt")
        with pytest.raises(ValueError, match=r"is \(77, 96\), the model's is \(77, 48\)"):
            load_clip(no_weights, str(tmp_path / "wider.pt"))

    def test_unknown_precision(self, folder):
        with pytest.raises(ValueError, match="fp32, fp16, bf16, amp"):
            load_clip(folder, precision="fp8")


def test_a_given_file_with_openais_name_and_other_content_is_noted(tmp_path, capsys):
    for name in ("RN50.pt", "own.pt"):
        (tmp_path / name).write_bytes(b"other weights")
        assert find_weights(resolve_name("RN50"), str(tmp_path / name)) == tmp_path / name
        assert ("not its SHA-256: other weights" in capsys.readouterr().out) == (name == "RN50.pt")
