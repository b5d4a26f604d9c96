"""What a store is of, told from a configuration without loading a model, and whether a run agrees with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dho_prompt.clip.names import meant, resolve_name
from dho_prompt.clip.weights import local_weights
from dho_prompt.config import differences
from dho_prompt.files.checksums import hub_digest, sha256_of
from dho_prompt.runs.folder import CONFIG, MIX, binding, read_config
from dho_prompt.store.images import StoredImages
from dho_prompt.store.layout import Manifest
from dho_prompt.teachers.tip_adapter import FILE, is_tip_adapter
from dho_prompt.training.build import prompt_templates
from dho_prompt.training.build_teacher import of_seed
from dho_prompt.training.loaders import shared_crop
from dho_prompt.training.trained_teacher import is_own_run, is_run

NOT_HERE = "not on this machine"


def teacher_of(cfg: Any, classnames: Sequence[str], images: StoredImages) -> dict[str, Any]:
    """What a run's teacher store must be of."""
    node = cfg.TRAINER.DHO.TEACHER
    path = of_seed(node.CHECKPOINT, cfg)
    model = _clip(node.NAME, node.WEIGHTS) if not (path and not is_tip_adapter(path) and is_own_run(path)) else {}
    if path:
        model["checkpoint"] = _digest_of_run(path)
    if node.ALSO:
        others = [of_seed(name, cfg) for name in node.ALSO]
        model["also"] = [_digest_of_run(name) if is_run(name) else _clip(name, "") for name in others]
        model.update(shares=list(node.SHARES), average=node.AVERAGE)
    zero_shot = not path or any(not is_run(of_seed(name, cfg)) for name in node.ALSO)
    templates = _digest(prompt_templates(cfg)) if zero_shot else ""
    texts = {"classes": _digest(list(classnames)), "templates": templates, "zeta": cfg.TRAINER.DHO.ZETA}
    return {"model": model, **_shown(cfg, images), **texts}


def student_of(cfg: Any, images: StoredImages) -> dict[str, Any]:
    """What a run's student store must be of."""
    node = cfg.MODEL.BACKBONE
    return {"model": _clip(node.NAME, node.WEIGHTS), **_shown(cfg, images)}


def _shown(cfg: Any, images: StoredImages) -> dict[str, Any]:
    crop = shared_crop(cfg)
    crops = {
        "crop": crop.crop,
        "flip": crop.flip,
        "normalize": crop.normalize,
        "interpolation": cfg.INPUT.INTERPOLATION,
    }
    crops["fast"] = crop.fast
    crops["scale"] = list(crop.scale) if crop.crop else []
    return {"crops": crops, "images": {"count": len(images), "hash": images.hash()}}


def _clip(name: str, weights: str) -> dict[str, Any]:
    path = local_weights(resolve_name(name), weights)
    digest = NOT_HERE if path is None else hub_digest(path) or sha256_of(path)
    return {"name": meant(name), "weights": digest}


def _digest_of_run(path: str) -> str:
    """Of a checkpoint's file, or of all that a run's folder teaches by."""
    folder = Path(path)
    if not folder.exists():
        return NOT_HERE
    if folder.is_file():
        return sha256_of(folder)
    files = [folder / FILE, folder / MIX, *sorted(folder.glob("model*.pth.tar*")), folder / "checkpoint"]
    files += sorted(folder.glob("*/model*.pth.tar*"))
    told = [binding(read_config(folder)) if (folder / CONFIG).is_file() else {}]
    return _digest([*told, *((file.name, sha256_of(file)) for file in files if file.is_file())])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()


def refuse_another(folder: str, key: str, manifest: Manifest, kind: str, of: dict[str, Any]) -> list[str]:
    """Compare a store with what a run needs.

    Args:
        folder: of the store.
        key: the configuration key that names it.
        manifest: of the store.
        kind: teacher or student.
        of: :func:`teacher_of` or :func:`student_of`.

    Returns:
        Keys of what could not be compared, because the files are not on this machine.

    Raises:
        ValueError: it is of something else; the message lists the differences.
    """
    if manifest.kind != kind:
        raise ValueError(f"{folder} is a store of a {manifest.kind}, and {key} takes one of a {kind}")
    lines = differences(manifest.of, of)
    unknown = [line.partition(":")[0] for line in lines if repr(NOT_HERE) in line]
    changed = [line for line in lines if repr(NOT_HERE) not in line]
    if changed:
        shown = "\n  ".join(changed)
        raise ValueError(
            f"{key} is {folder}, which is of something else (what it is of -> this run's):\n  {shown}\n"
            "Make a store for this run in another folder (python -m dho_prompt.store), or leave the key empty"
        )
    return unknown
