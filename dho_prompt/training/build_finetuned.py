"""From the configuration to students that are trained in full."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dho_prompt.data.batches.views import View
from dho_prompt.heads import student_head
from dho_prompt.students.base import Student
from dho_prompt.students.network_weights import network_weights, put_network_weights
from dho_prompt.students.networks import NetworkStudent, build_network, has_batch_statistics, parse_network
from dho_prompt.students.trained_clip import TrainedCLIPStudent
from dho_prompt.training.build import build_student, check_student, prompt_templates


def check_finetuned_student(cfg: Any) -> None:
    """Refuse names that :func:`build_finetuned_student` cannot build, before anything is loaded; nothing is fetched.

    Raises:
        FileNotFoundError, ValueError: an unknown network or CLIP, or files of MODEL that are not there.
    """
    node = cfg.MODEL.BACKBONE
    if parse_network(node.NAME) is None:
        check_student(cfg)
        if cfg.TRAINER.FINETUNE.DROP_PATH:
            raise ValueError(
                f"TRAINER.FINETUNE.DROP_PATH is {cfg.TRAINER.FINETUNE.DROP_PATH:g}, but {node.NAME} is a CLIP, whose "
                "tower takes none; set it to 0 or take one of timm's networks"
            )
        return
    for key, path in (("MODEL.BACKBONE.WEIGHTS", node.WEIGHTS), ("MODEL.INIT_WEIGHTS", cfg.MODEL.INIT_WEIGHTS)):
        if path and not Path(path).expanduser().is_file():
            raise FileNotFoundError(f"there is no file {path} ({key})")
    head = cfg.TRAINER.FINETUNE
    heads = [("TRAINER.FINETUNE", head.HEAD, head.HEAD_INIT)]
    heads += [("TRAINER.DHO", cfg.TRAINER.DHO.HEAD, cfg.TRAINER.DHO.HEAD_INIT)]
    for where, kind, start in heads:
        if kind != "nonlinear" and start != "kaiming":
            raise ValueError(
                f"{where}.HEAD_INIT is {start}, but {node.NAME} has no text tower to start a head from; set it to "
                "kaiming"
            )


def build_finetuned_student(cfg: Any, device: torch.device) -> Student:
    """The network or the CLIP of MODEL.BACKBONE with all weights trained.

    Raises:
        FileNotFoundError, ValueError: weights are missing or do not fit, or INPUT.SIZE is not what it takes.
    """
    node, settings = cfg.MODEL.BACKBONE, cfg.TRAINER.FINETUNE
    name = parse_network(node.NAME)
    if name is None:
        student: Student = TrainedCLIPStudent(build_student(cfg, "fp32", device).clip)
    else:
        student = _network_student(cfg, name, node.WEIGHTS, settings.DROP_PATH).to(device)
    if settings.CHECKPOINT_ACTIVATIONS:
        for network in student.trainable().values():
            _checkpoint_activations(network, node.NAME)
    return student


def _network_student(cfg: Any, name: Any, weights: str, drop_path: float) -> NetworkStudent:
    side, other = cfg.INPUT.SIZE
    if side != other:
        raise ValueError(f"INPUT.SIZE is {tuple(cfg.INPUT.SIZE)}; networks take square images here")
    origin = weights or name.tag or "from scratch"
    print(f"Building {name.package}'s {name.model} ({origin})")
    network, features = build_network(name, side, drop_path)
    state = network_weights(name, weights)
    if state is not None:
        put_network_weights(network, state, f"{origin} (for {name.model})")
    view = View(side, tuple(cfg.INPUT.PIXEL_MEAN), tuple(cfg.INPUT.PIXEL_STD))
    return NetworkStudent(network, view, features)


def _checkpoint_activations(network: nn.Module, name: str) -> None:
    if has_batch_statistics(network):
        raise ValueError(
            f"TRAINER.FINETUNE.CHECKPOINT_ACTIVATIONS is True, but {name} keeps batch statistics, which a second "
            "forward pass would update twice; set it to False"
        )
    if not hasattr(network, "set_grad_checkpointing"):
        raise ValueError(
            f"TRAINER.FINETUNE.CHECKPOINT_ACTIVATIONS is True, which {name} does not offer; set it to False"
        )
    network.set_grad_checkpointing(True)


def ce_head(cfg: Any, student: Student, classnames: Sequence[str]) -> nn.Module:
    """The CE head of TRAINER.FINETUNE on the student's features."""
    node, dho = cfg.TRAINER.FINETUNE, cfg.TRAINER.DHO
    return student_head(
        student,
        classnames,
        prompt_templates(cfg),
        node.HEAD,
        node.HEAD_INIT,
        hidden=dho.HEAD_HIDDEN,
        dropout=dho.HEAD_DROPOUT,
    )
