"""Loading CLIP models through open_clip: frozen, in evaluation mode, with their tokenizer and image statistics."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from open_clip.model import convert_weights_to_lp, get_cast_dtype
from open_clip.transformer import LayerNormFp32
from torch import Tensor, nn

from .frozen_vision import frozen_image_features
from .names import OPENAI_NAMES, ModelSpec, resolve_name
from .shapes import architecture_of
from .weights import find_weights, put_weights, read_state_dict

PRECISIONS = ("fp32", "fp16", "bf16", "amp")


@dataclass
class LoadedCLIP:
    """A frozen CLIP.

    Attributes:
        model: open_clip's model (``CLIP``, ``CustomTextCLIP`` or ``CoCa``).
        tokenizer: called with texts it gives a token matrix; OpenAI's kind also has ``encode``, ``sot_token_id``,
            ``eot_token_id`` and ``context_length``, which learned prompts need.
        name: the model name as given.
        weights_source: the file that the weights came from.
        image_size: side of the (square) input image in pixels.
        mean, std: of the image channels, for pixels in [0, 1].
        embed_dim: length of image and text features.
        logit_scale: exp of the learned scale, 1 / zeta in the DHO paper; 100 for OpenAI's models.
    """

    model: nn.Module
    tokenizer: Any
    name: str
    weights_source: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    embed_dim: int
    logit_scale: float

    def encode_image(self, images: Tensor) -> Tensor:
        """(batch, 3, image_size, image_size) -> (batch, embed_dim) un-normalised features."""
        return self.model.encode_image(images.to(self.dtype))

    def frozen_image_features(self, images: Tensor) -> Tensor:
        """:meth:`encode_image` without gradient and without waste, equal up to rounding."""
        return frozen_image_features(self.model, images.to(self.dtype))

    @property
    def dtype(self) -> torch.dtype:
        """The type of the image tower's weights: images are cast to it."""
        return next(weight.dtype for weight in self.model.visual.parameters() if weight.dim() == 4)

    def to(self, device: torch.device | str) -> LoadedCLIP:
        """Move the model in place."""
        self.model.to(device)
        return self


def load_clip(name: str, weights: str = "", precision: str = "fp32", device: torch.device | str = "cpu") -> LoadedCLIP:
    """Load a CLIP model, frozen and in evaluation mode.

    Args:
        name: ``ViT-B/16`` and CoOp's other spellings (OpenAI's weights, QuickGELU), ``open_clip:<model>:<tag>``,
            ``hf-hub:<owner>/<model>``, a bundled model (``digits-teacher``, ...), or a folder with
            ``open_clip_config.json`` and ``open_clip_model.safetensors`` (and ``bpe.txt.gz`` for its own merges).
        weights: a file to take the weights from: OpenAI's ``.pt`` archive or a state dict.
        precision: ``fp32``; ``fp16`` or ``bf16`` (linear, convolution and projection weights halved, normalisations
            kept in float32); ``amp`` keeps float32 weights, the trainer autocasts.
        device: where the model goes.

    Raises:
        ValueError: unknown name or precision, or one that this torch cannot run on the device; weights that are
            damaged or belong to another model.
        FileNotFoundError: the weights are nowhere to be found; the message says what to put where.
    """
    _check_precision(precision, device)
    spec = resolve_name(name)
    path = find_weights(spec, weights)
    state = read_state_dict(path, "" if weights else spec.weights_digest)
    if "input_resolution" in state and not spec.architecture.get("quick_gelu", False):
        raise ValueError(
            f"{path} is an archive of OpenAI's, whose models need QuickGELU, but {name} runs GELU: name the model by "
            f"one of {', '.join(OPENAI_NAMES)}"
        )
    return _loaded(spec, state, str(path), precision, device)


def clip_of_weights(state: dict[str, Tensor], name: str, source: str, device: torch.device | str = "cpu") -> LoadedCLIP:
    """A CLIP of whatever size its weights have, frozen, in float32 and in evaluation mode, with OpenAI's tokenizer.

    Args:
        state: weights in OpenAI's format; they are not changed.
        name: what it is called.
        source: where the weights are from, for messages.
        device: where the model goes.

    Raises:
        ValueError: they are of another format.
    """
    return _loaded(ModelSpec(name, architecture_of(state), {}), state, source, "fp32", device)


def _loaded(
    spec: ModelSpec, state: dict[str, Tensor], source: str, precision: str, device: torch.device | str
) -> LoadedCLIP:
    model = build_model(spec, precision)
    put_weights(model, state, f"{source} (for {spec.name})")
    size = model.visual.image_size
    return LoadedCLIP(
        model=model.to(device).eval().requires_grad_(False),
        tokenizer=_tokenizer(spec),
        name=spec.name,
        weights_source=source,
        image_size=size[0] if isinstance(size, (tuple, list)) else size,
        mean=spec.mean,
        std=spec.std,
        embed_dim=spec.architecture["embed_dim"],
        logit_scale=model.logit_scale.detach().float().exp().item(),
    )


def _check_precision(precision: str, device: torch.device | str) -> None:
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; allowed are {', '.join(PRECISIONS)}")
    if precision == "fp16" and torch.device(device).type == "cpu" and not cpu_runs_float16():
        raise ValueError(
            f"fp16 does not run on the CPU with torch {torch.__version__}; use fp32, amp or bf16, a GPU, or a newer "
            "torch"
        )


def cpu_runs_float16() -> bool:
    """Whether this torch has float16 convolutions and matrix products for the CPU (2.1 has not)."""
    try:
        half = torch.zeros(1, 1, 4, 4, dtype=torch.float16)
        torch.nn.functional.conv2d(half, half)
        torch.nn.functional.linear(half[0, 0], half[0, 0], half[0, 0, 0])
    except RuntimeError:
        return False
    return True


def build_model(spec: ModelSpec, precision: str = "fp32") -> nn.Module:
    """The architecture of a model with random weights, in the given precision."""
    config = {key: value for key, value in spec.architecture.items() if key != "custom_text"}
    text, vision = dict(config["text_cfg"]), dict(config["vision_cfg"])
    custom = spec.architecture.get("custom_text", False) or "hf_model_name" in text
    if "hf_model_name" in text:
        text["hf_model_pretrained"] = False
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    config.update(text_cfg=text, vision_cfg=vision)
    kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP if custom else open_clip.CLIP
    dtype = get_cast_dtype(precision)
    try:
        model = kind(**config, cast_dtype=dtype)
    except (TypeError, ImportError, RuntimeError) as error:
        raise ValueError(f"open_clip cannot build {spec.name}: {error}") from None
    if dtype is not None:
        if "timm_model_name" in vision:  # open_clip's conversion knows only its own layers
            model.visual.to(dtype)
        convert_weights_to_lp(model, dtype)
        for module in model.modules():
            if isinstance(module, LayerNormFp32):
                module.float()
    return model


def _tokenizer(spec: ModelSpec) -> Any:
    text = spec.architecture["text_cfg"]
    merges = spec.folder / "bpe.txt.gz" if spec.folder else None
    if text.get("hf_tokenizer_name") or "siglip" in spec.name.lower():
        try:
            return open_clip.get_tokenizer(spec.tokenizer_name)
        except (OSError, ImportError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise ValueError(
                f"the tokenizer of {spec.name} could not be loaded ({first_line}); it needs the package transformers "
                "and its files from the Hugging Face hub"
            ) from None
    options = {"context_length": text.get("context_length", 77), **text.get("tokenizer_kwargs", {})}
    if merges is not None and merges.is_file():
        options["bpe_path"] = str(merges)
    try:
        tokenizer = open_clip.SimpleTokenizer(**options)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise ValueError(
            f"the merges of {spec.name}, {options.get('bpe_path', 'those of open_clip')}, are damaged ({error}); take "
            "them from where they came from again"
        ) from error
    vocabulary = text.get("vocab_size", 49408)
    if tokenizer.vocab_size > vocabulary:
        raise ValueError(
            f"{spec.name}: the tokenizer has {tokenizer.vocab_size} tokens, the text tower only {vocabulary}; "
            "bpe.txt.gz does not belong to this model"
        )
    return tokenizer
