"""From the configuration to the CLIPs of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dho_prompt.clip.loading import LoadedCLIP, load_clip
from dho_prompt.clip.names import resolve_name
from dho_prompt.clip.templates import templates_for
from dho_prompt.clip.weights import find_weights
from dho_prompt.store.layout import read_manifest
from dho_prompt.students.clip import CLIPStudent

AUTO = "auto"  # a store that is made where there is none


def prompt_templates(cfg: Any) -> list[str]:
    """The templates of the teacher and of heads that start from text: the configured ones, else the data set's."""
    return list(cfg.TRAINER.DHO.TEACHER.TEMPLATES) or templates_for(cfg.DATASET.NAME)


def check_student(cfg: Any) -> None:
    """Refuse names that :func:`build_student` cannot load, before anything is; nothing is fetched.

    Raises:
        FileNotFoundError, ValueError: an unknown model, or files of MODEL that are not there.
    """
    check_clip("MODEL.BACKBONE", cfg.MODEL.BACKBONE)
    is_store("MODEL.BACKBONE.STORE", cfg.MODEL.BACKBONE.STORE)
    if cfg.MODEL.INIT_WEIGHTS and not Path(cfg.MODEL.INIT_WEIGHTS).is_file():
        raise FileNotFoundError(f"there is no checkpoint {cfg.MODEL.INIT_WEIGHTS} (MODEL.INIT_WEIGHTS)")


def build_student(cfg: Any, precision: str, device: torch.device) -> CLIPStudent:
    """The CLIP of MODEL.BACKBONE, frozen.

    Args:
        precision: fp32, fp16, bf16 or amp, of the run.

    Raises:
        FileNotFoundError, ValueError: its weights are missing or do not fit, or INPUT.SIZE is not what it takes.
    """
    name = cfg.MODEL.BACKBONE.NAME
    print(f"Loading CLIP (backbone: {name})")
    student = CLIPStudent(load_named("MODEL.BACKBONE", cfg.MODEL.BACKBONE, weight_precision(precision), device))
    size = student.view.size
    if tuple(cfg.INPUT.SIZE) != (size, size):
        raise ValueError(f"INPUT.SIZE is {tuple(cfg.INPUT.SIZE)}, but {name} takes images of ({size}, {size})")
    return student


def weight_precision(precision: str) -> str:
    """The precision of the frozen weights for a value of PREC: amp keeps float32 weights."""
    return "fp32" if precision == "amp" else precision


def is_store(key: str, path: str) -> bool:
    """Whether a key names a store that is there, and not none or ``auto``.

    Raises:
        FileNotFoundError, ValueError: there is none, or its manifest is damaged.
    """
    if path in ("", AUTO):
        return False
    try:
        read_manifest(path)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{error} (set by {key})") from error
    return True


def check_clip(key: str, node: Any, needed: bool = True) -> None:
    """Refuse NAME and WEIGHTS of a node that name no model, as far as that can be told without a connection.

    Args:
        needed: whether it will be loaded, so that its files have to be there.
    """
    if not node.NAME:
        raise ValueError(f"{key}.NAME is empty; it names a CLIP model, such as ViT-B/16 (flag: --backbone)")
    with _naming(key, node):
        spec = resolve_name(node.NAME)
        if not needed:
            return
        if node.WEIGHTS or spec.folder is not None or not spec.pretrained:  # else they may have to be fetched
            find_weights(spec, node.WEIGHTS)


def find_named(key: str, node: Any) -> None:
    """See that the weights of NAME and WEIGHTS of a node are on this machine; they are fetched where they are not.

    Raises:
        FileNotFoundError, ValueError: they are not, and cannot be.
    """
    with _naming(key, node):
        find_weights(resolve_name(node.NAME), node.WEIGHTS)


def load_named(key: str, node: Any, precision: str, device: torch.device) -> LoadedCLIP:
    """:func:`~dho_prompt.clip.loading.load_clip` for NAME and WEIGHTS of a node."""
    with _naming(key, node):
        return load_clip(node.NAME, node.WEIGHTS, precision, device)


@contextmanager
def _naming(key: str, node: Any) -> Iterator[None]:
    """Errors name the keys of the node."""
    try:
        yield
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{error} (set by {key}.NAME {node.NAME!r} and {key}.WEIGHTS {node.WEIGHTS!r})") from error
