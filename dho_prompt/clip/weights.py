"""Weights: finding their file, reading it safely, and putting it into a model without leftovers."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import torch
from open_clip.convert import convert_state_dict
from open_clip.pretrained import download_pretrained
from safetensors.torch import load_file
from torch import Tensor, nn

from dho_prompt.files.checksums import hub_digest, records_match, sha256_of
from dho_prompt.files.torch_archive import is_script_archive, read_script_weights

from .names import WEIGHTS_FILE, ModelSpec

# entries of OpenAI's archives, and of old Hugging Face text towers, that are no weights
NO_WEIGHTS = (
    "attn_mask",
    "input_resolution",
    "context_length",
    "vocab_size",
    "text.transformer.embeddings.position_ids",
)
PROBE_SECONDS = 8.0


def find_weights(spec: ModelSpec, weights: str = "") -> Path:
    """The file that holds a model's weights; fetched when it is neither given nor cached.

    Args:
        spec: the model.
        weights: a file given by the user; wins over everything else.

    Raises:
        FileNotFoundError: there is no file and none can be fetched; the message says what to put where.
        ValueError: OpenAI's file in CoOp's cache folder is damaged.
    """
    if weights:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"the weights file {path} of {spec.name} does not exist")
        if path.name == _openai_name(spec) and not _is_openais(spec, path):
            print(f"Note: {path} has the name of OpenAI's file for {spec.name}, but not its SHA-256: other weights")
        return path
    if spec.folder is not None:
        path = spec.folder / WEIGHTS_FILE
        if not path.is_file():
            raise FileNotFoundError(f"the model folder {spec.folder} has no {WEIGHTS_FILE}; put the weights there")
        return path
    if not spec.pretrained:
        raise FileNotFoundError(
            f"{spec.name} names no weights: write open_clip:<model>:<pretrained tag>, or give a weights file"
        )
    return _openai_cache(spec) or _hub_cache(spec) or _fetch(spec)


def local_weights(spec: ModelSpec, weights: str = "") -> Path | None:
    """:func:`find_weights`, or None where they would have to be fetched or are missing."""
    if weights or spec.folder is not None:
        path = Path(weights).expanduser() if weights else spec.folder / WEIGHTS_FILE
        return path if path.is_file() else None
    return (_openai_cache(spec) or _hub_cache(spec)) if spec.pretrained else None


def _openai_name(spec: ModelSpec) -> str:
    """File name of OpenAI's archive of a model, or ""."""
    url = spec.pretrained.get("url") or ""
    return url.rsplit("/", 1)[-1] if "openaipublic" in url else ""


def _is_openais(spec: ModelSpec, path: Path) -> bool:
    """Whether a file has the SHA-256 that stands in the address of OpenAI's archive."""
    return sha256_of(path) == spec.pretrained["url"].split("/")[-2]


def _openai_cache(spec: ModelSpec) -> Path | None:
    """OpenAI's archive where CoOp and its relatives keep it."""
    path = Path("~/.cache/clip").expanduser() / _openai_name(spec)
    if not _openai_name(spec) or not path.is_file():
        return None
    if not _is_openais(spec, path):
        url = spec.pretrained["url"]
        raise ValueError(f"{path} is not OpenAI's file (its checksum differs): delete it, or fetch it again from {url}")
    return path


def _hub_file(spec: ModelSpec) -> tuple[str, list[str]]:
    repository, _, filename = (spec.pretrained.get("hf_hub") or "").rpartition("/")
    named = [f"{Path(filename).with_suffix('.safetensors')}", filename] if filename else []
    return repository, named or [WEIGHTS_FILE, "open_clip_pytorch_model.bin"]


def _hub_cache(spec: ModelSpec) -> Path | None:
    repository, filenames = _hub_file(spec)
    if not repository:
        return None
    from huggingface_hub import try_to_load_from_cache

    for filename in filenames:
        path = try_to_load_from_cache(repository, filename)
        if isinstance(path, str):
            return Path(path)
    return None


def _fetch(spec: ModelSpec) -> Path:
    """Download by open_clip, but only after one short look whether the server answers: its retries take a minute."""
    repository, filenames = _hub_file(spec)
    url = spec.pretrained.get("url") or ""
    server = os.environ.get("HF_ENDPOINT", "https://huggingface.co") if repository else url
    try:
        if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
            raise OSError("HF_HUB_OFFLINE is set")
        _probe(server)
        return Path(download_pretrained(spec.pretrained))
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    choices = []
    if repository:
        choices.append(f"{filenames[0]} from {server}/{repository}")
    if "openaipublic" in url:
        choices.append(f"{url.rsplit('/', 1)[-1]} from {url} (found by itself in ~/.cache/clip)")
    elif url:
        choices.append(url)
    raise FileNotFoundError(
        f"the weights of {spec.name} are not on this machine and could not be fetched ({reason}). Fetch on another "
        f"machine {' or '.join(choices)}, and give its path as the weights file"
    ) from None


def _probe(server: str) -> None:
    try:
        urllib.request.urlopen(urllib.request.Request(server, method="HEAD"), timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise


def read_state_dict(path: Path, digest: str = "", kind: str = "CLIP weights") -> dict[str, Tensor]:
    """Tensors of a weights file: ``.safetensors``, a state dict saved by torch, or OpenAI's TorchScript archive.

    The file is compared with the checksums it has: ``digest``, the hub's, those in torch's archives. One that has none
    is named in a note.

    Args:
        path: the file.
        digest: its SHA-256, if somebody has written it down.
        kind: what it should hold, for messages.

    Raises:
        ValueError: the file is damaged or holds something else.
    """
    digest = digest or hub_digest(path)
    if digest and sha256_of(path) != digest:
        raise ValueError(f"{path} is damaged, or another file than it was: its SHA-256 is not {digest}. Fetch it again")
    try:
        checked = bool(digest) or (path.suffix != ".safetensors" and records_match(path))
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        elif is_script_archive(path):
            state = read_script_weights(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers' errors about damaged files share no type
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ValueError(
            f"{path} cannot be read as {kind}: it is damaged or of another kind ({first_line}). Fetch it again; "
            "allowed are OpenAI's .pt archives, state dicts (.pt, .pth, .bin) and .safetensors"
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict (a mapping from names to tensors)")
    if not checked:
        print(f"Note: {path} has no checksums, so damage in it would not be noticed")
    return {name.removeprefix("module."): value for name, value in state.items()}


def put_weights(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load a state dict into an open_clip model; every weight must find its place.

    Raises:
        ValueError: weights are missing, left over or of another shape, so the file belongs to another model.
    """
    state = convert_state_dict(model, {name: value for name, value in state.items() if name not in NO_WEIGHTS})
    expected = model.state_dict()
    if hasattr(model, "text") and "text_projection" in state:
        text_parts = ("text_projection", "positional_embedding", "token_embedding.", "transformer.", "ln_final.")
        state = {f"text.{name}" if name.startswith(text_parts) else name: value for name, value in state.items()}
    for name in ("logit_scale", "logit_bias"):  # some files keep the number in a vector of one
        if name in state and name in expected and state[name].numel() == expected[name].numel():
            state[name] = state[name].reshape(expected[name].shape)

    refuse_misfits(state, expected, source, "model")
    model.load_state_dict(state)


def refuse_misfits(state: dict[str, Tensor], expected: dict[str, Tensor], source: str, what: str) -> None:
    """Refuse weights of which one is missing, left over or of another shape.

    Args:
        state: the weights.
        expected: the model's own.
        source: where they are from, for the message.
        what: the model, in a word.

    Raises:
        ValueError: names what does not fit.
    """
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{name} is left over" for name in state if name not in expected]
    problems += [
        f"{name} is {tuple(value.shape)}, the {what}'s is {tuple(expected[name].shape)}"
        for name, value in state.items()
        if name in expected and value.shape != expected[name].shape
    ]
    if problems:
        shown = "; ".join(problems[:4]) + (f"; and {len(problems) - 4} more" if len(problems) > 4 else "")
        raise ValueError(f"{source} does not fit the {what}, it holds another one's weights: {shown}")
