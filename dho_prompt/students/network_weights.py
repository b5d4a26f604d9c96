"""Weights of image networks: fetched by name or read from a file, and put into the network without leftovers."""

from __future__ import annotations

import os
import urllib.error
from pathlib import Path

import torch
from torch import Tensor, nn

from dho_prompt.clip.weights import read_state_dict, refuse_misfits
from dho_prompt.students.networks import DINO, NetworkName

DINO_URL = "https://dl.fbaipublicfiles.com/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth"
CLASSIFIER_KEYS = ("fc.", "classifier.", "head.", "heads.")
PREFIXES = ("module.", "backbone.", "encoder_q.", "model.")  # what trainers put before a network's own names


def network_weights(name: NetworkName, weights: str = "") -> dict[str, Tensor] | None:
    """State dict for a network; None where it starts from scratch.

    Args:
        name: of the network.
        weights: a file given by the user; wins over what the name says.

    Raises:
        FileNotFoundError: the file is not there, or nothing could be fetched; the message says what to put where.
        ValueError: the file is damaged or holds no weights.
    """
    if weights:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"the weights file {path} of {name.model} does not exist")
        return read_state_dict(path, kind=f"weights of {name.model}")
    if not name.tag:
        return None
    return _from_timm(name) if name.package == "timm" else _from_torchvision(name)


def _from_torchvision(name: NetworkName) -> dict[str, Tensor]:
    from torchvision import models

    url = DINO_URL if name.tag == DINO else models.get_model_weights(name.model)[name.tag].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not path.is_file():
        # torchvision puts the first digits of the SHA-256 into its file names
        prefix = None if name.tag == DINO else path.stem.rpartition("-")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix)
        except (OSError, urllib.error.URLError, RuntimeError) as error:
            raise FileNotFoundError(
                f"the weights {name.tag} of {name.model} are not on this machine and could not be fetched ({error}). "
                f"Fetch {url} on another machine and put it at {path}, or give its path as the weights file"
            ) from error
    return read_state_dict(path, kind=f"weights of {name.model}")


def _from_timm(name: NetworkName) -> dict[str, Tensor]:
    import timm

    try:
        return timm.create_model(f"{name.model}.{name.tag}", pretrained=True, num_classes=0).state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise FileNotFoundError(
            f"the weights {name.tag} of timm's {name.model} are not on this machine and could not be fetched "
            f"({first}); give a file with them as the weights file{_offline()}"
        ) from error


def _offline() -> str:
    return " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""


def put_network_weights(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load a state dict; only a classifier may be left over, which is named.

    Raises:
        ValueError: weights are missing, left over or of another shape, so the file belongs to another network.
    """
    expected = network.state_dict()
    state = _without_prefix(state, expected)
    dropped = [key for key in state if key.startswith(CLASSIFIER_KEYS) and key not in expected]
    state = {key: value for key, value in state.items() if key not in dropped}
    counters = [key for key in expected if key.endswith("num_batches_tracked")]  # older files have none
    state = {**{key: expected[key] for key in counters}, **state}
    refuse_misfits(state, expected, source, "network")
    network.load_state_dict(state)
    if dropped:
        print(f"Left out of {source}: {', '.join(dropped)} (its classifier; the heads here are new)")


def _without_prefix(state: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take prefixes away as long as that makes more names known."""
    for prefix in PREFIXES:
        if not set(state) & set(expected) and any(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state
