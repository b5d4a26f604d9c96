"""Model names: which architecture, which weights, which preprocessing a name means."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

from dho_prompt.files import read_json

# CoOp's spellings mean OpenAI's weights, which were trained with QuickGELU
OPENAI_NAMES = {
    "RN50": "RN50-quickgelu",
    "RN101": "RN101-quickgelu",
    "RN50x4": "RN50x4-quickgelu",
    "RN50x16": "RN50x16-quickgelu",
    "RN50x64": "RN50x64-quickgelu",
    "ViT-B/32": "ViT-B-32-quickgelu",
    "ViT-B/16": "ViT-B-16-quickgelu",
    "ViT-L/14": "ViT-L-14-quickgelu",
    "ViT-L/14@336px": "ViT-L-14-336-quickgelu",
}
BUNDLED = ("digits-teacher", "digits-student", "digit-pairs-teacher", "digit-pairs-student")
BUNDLED_FOLDER = Path(__file__).parent.parent / "models"
CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"


@dataclass
class ModelSpec:
    """What a model name means.

    Attributes:
        name: the name as given.
        architecture: open_clip's model configuration (embed_dim, vision_cfg, text_cfg, ...).
        pretrained: open_clip's entry of the weights (addresses, mean, std); empty when there is none.
        folder: the folder of a local model; None otherwise.
        preprocess: mean and std of a local model's configuration; may be empty.
        tokenizer_name: what ``open_clip.get_tokenizer`` takes, for towers with a Hugging Face tokenizer.
        weights_digest: SHA-256 of a local model's weights file; empty where its configuration does not say.
    """

    name: str
    architecture: dict[str, Any]
    pretrained: dict[str, Any]
    folder: Path | None = None
    preprocess: dict[str, Any] | None = None
    tokenizer_name: str = ""
    weights_digest: str = ""

    @property
    def mean(self) -> tuple[float, ...]:
        return tuple((self.preprocess or self.pretrained).get("mean", OPENAI_DATASET_MEAN))

    @property
    def std(self) -> tuple[float, ...]:
        return tuple((self.preprocess or self.pretrained).get("std", OPENAI_DATASET_STD))


def resolve_name(name: str) -> ModelSpec:
    """Read a model name; nothing is fetched.

    Names are: CoOp's spellings of OpenAI's models (``ViT-B/16``); ``open_clip:<model>:<pretrained tag>`` for any model
    of open_clip (``open_clip:ViT-B-16:laion2b_s34b_b88k``; without a tag the weights must be given as a file);
    ``hf-hub:<owner>/<model>`` for the hub models that open_clip lists (``hf-hub:apple/DFN5B-CLIP-ViT-H-14-378``); the
    bundled ``digits-teacher``, ``digits-student``, ``digit-pairs-teacher`` and ``digit-pairs-student``; or a folder
    with ``open_clip_config.json``.

    Raises:
        ValueError: the name is unknown; the message names the nearest known ones.
        FileNotFoundError: a bundled model or a folder's configuration is missing.
    """
    if name in OPENAI_NAMES:
        return _from_registry(name, OPENAI_NAMES[name], "openai")
    if name in BUNDLED:
        return _from_folder(name, BUNDLED_FOLDER / name)
    if name.startswith("open_clip:"):
        model, _, tag = name[len("open_clip:") :].partition(":")
        return _from_registry(name, model.replace("/", "-"), tag)
    if name.startswith("hf-hub:"):
        return _from_hub(name)
    if Path(name).is_dir():
        return _from_folder(name, Path(name))
    raise _unknown(name, [*OPENAI_NAMES, *BUNDLED, *(f"open_clip:{model}" for model in open_clip.list_models())])


def _from_registry(name: str, model: str, tag: str) -> ModelSpec:
    architecture = open_clip.get_model_config(model)
    if architecture is None:
        raise _unknown(name, [f"open_clip:{known}" for known in open_clip.list_models()])
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag and tag not in tags:
        raise ValueError(f"open_clip's {model} has no weights {tag!r}; known are: {', '.join(tags) or 'none'}")
    pretrained = open_clip.get_pretrained_cfg(model, tag) if tag else {}
    if pretrained.get("quick_gelu"):  # belongs to the weights: open_clip's plain ViT-B-16 would run OpenAI's with GELU
        architecture["quick_gelu"] = True
    return ModelSpec(name, architecture, pretrained, tokenizer_name=model)


def _from_hub(name: str) -> ModelSpec:
    """Hub models through open_clip's own list, so that their architecture is known without a connection."""
    wanted = name[len("hf-hub:") :].rstrip("/")
    known = {}
    for model, tag in open_clip.list_pretrained():
        address = (open_clip.get_pretrained_cfg(model, tag).get("hf_hub") or "").rsplit("/", 1)[0]
        known.setdefault(f"hf-hub:{address}", (model, tag))
    if f"hf-hub:{wanted}" not in known:
        raise _unknown(name, list(known))
    return _from_registry(name, *known[f"hf-hub:{wanted}"])


def _from_folder(name: str, folder: Path) -> ModelSpec:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"the model folder {folder} has no {CONFIG_FILE}; a local model needs it")
    config = read_json(path, {"model_cfg": dict}, "take it from the model's source again")
    architecture, preprocess = config["model_cfg"], config.get("preprocess_cfg") or {}
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(architecture)
    if missing:
        raise ValueError(f"the model_cfg of {path} lacks {', '.join(sorted(missing))}")
    if not isinstance(preprocess, dict):
        raise ValueError(f"the preprocess_cfg of {path} is {preprocess!r}, not a mapping with mean and std")
    digest = str(config.get("weights_sha256", ""))
    return ModelSpec(name, architecture, {}, folder, preprocess, f"local-dir:{folder}", digest)


def meant(name: str) -> str:
    """One spelling for each CLIP; a folder may have moved, so its own name stands for it."""
    if name in OPENAI_NAMES:
        return f"open_clip:{OPENAI_NAMES[name]}:openai"
    return name if name.startswith(("open_clip:", "hf-hub:")) else Path(name).name


def _unknown(name: str, known: list[str]) -> ValueError:
    simple = {_simplified(option): option for option in reversed(known)}
    near = difflib.get_close_matches(_simplified(name), simple, n=4, cutoff=0.5)
    nearest = ", ".join(simple[option] for option in near) or ", ".join(OPENAI_NAMES)
    return ValueError(
        f"unknown CLIP model {name!r}; nearest are: {nearest}. Other models: open_clip:<model>:<pretrained tag>, "
        f"hf-hub:<owner>/<model>, or a folder with {CONFIG_FILE} and {WEIGHTS_FILE}"
    )


def _simplified(name: str) -> str:
    """A name without prefix, tag and case, for comparison."""
    return re.sub(r"^(open_clip|hf-hub):", "", name).split(":")[0].lower().replace("/", "-")
