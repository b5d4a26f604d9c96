"""Trained prompts on a frozen CLIP as teacher, read from checkpoints of CoOp, PromptSRC and IVLP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dho_prompt.clip.loading import LoadedCLIP
from dho_prompt.engine import load_checkpoint, load_strictly
from dho_prompt.methods.base import TextPromptMethod
from dho_prompt.methods.coop import CoOpMethod
from dho_prompt.methods.deep_prompts import CONTEXT, prompt_settings
from dho_prompt.methods.promptsrc import PromptSRCMethod
from dho_prompt.students.clip import CLIPStudent
from dho_prompt.teachers.base import Teacher

TEACHERS = "give a checkpoint of CoOp, PromptSRC or IVLP, e.g. prompt_learner/model.pth.tar-<epoch>"
PROMPT_FOLDERS = ("prompt_learner", "VLPromptLearner")  # of CoOp's and PromptSRC's checkpoints


class PromptTeacher(Teacher):
    """A CLIP with trained prompts as teacher.

    Args:
        method: the trained method, e.g. of :func:`load_prompts`.
        zeta: temperature > 0 of its cosine logits, or None for the model's own ``1 / exp(logit_scale)``.
    """

    def __init__(self, method: TextPromptMethod, zeta: float | None = None) -> None:
        super().__init__()
        self.method = method.requires_grad_(False).eval()
        self.clip, self.views = method.clip, (method.student.view,)
        self.zeta = float(zeta) if zeta else 1 / self.clip.logit_scale

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        features = self.method.encode_image(images)
        return self.method.logits(features) / (self.clip.logit_scale * self.zeta)


def load_prompts(clip: LoadedCLIP, classnames: Sequence[str], path: str) -> TextPromptMethod:
    """The method that a checkpoint of CoOp, PromptSRC or IVLP was trained by, on ``clip``, with its prompts.

    Number and kind of the prompts are read off the checkpoint. What it does not say is taken to be the default: the
    class name stands at the end (CoOp), and the words "a photo of a" were the start (PromptSRC).

    Args:
        clip: the CLIP that the prompts were trained on.
        classnames: one name per class.
        path: a checkpoint file, ours or the method's published one, or the output folder of a run (its last
            checkpoint).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of another method, another CLIP, or of other classes where the prompts belong to classes.
    """
    path = checkpoint_file(path)
    checkpoint = load_checkpoint(path, weights=True)
    weights: dict[str, Tensor] = checkpoint.get("state_dict", {})
    if any("meta_net" in key or "compound_prompts" in key for key in weights):
        raise ValueError(f"{path} is of CoCoOp or MaPLe, which cannot teach; {TEACHERS}")
    student = CLIPStudent(clip)
    if "ctx" in weights:
        method: TextPromptMethod = _coop(student, classnames, checkpoint, path)
    elif CONTEXT in weights and any(key.startswith("boost.") for key in weights):
        raise ValueError(f"{path} is of PromptSRC with boosting prompts before its own, which cannot teach; {TEACHERS}")
    elif CONTEXT in weights:
        sizes = prompt_settings(weights)
        method = PromptSRCMethod(
            student,
            classnames,
            n_ctx_text=sizes["N_CTX_TEXT"],
            depth_text=sizes["PROMPT_DEPTH_TEXT"],
            n_ctx_vision=sizes["N_CTX_VISION"],
            depth_vision=sizes["PROMPT_DEPTH_VISION"],
        )
    else:
        raise ValueError(
            f"{path} holds no prompts that can teach: its entries are {', '.join(sorted(weights)[:5]) or 'none'}; "
            f"{TEACHERS}"
        )
    for module in method.trainable().values():
        load_strictly(module, checkpoint, path)
    return method


def _coop(student: CLIPStudent, classnames: Sequence[str], checkpoint: dict[str, Any], path: str) -> CoOpMethod:
    ctx = checkpoint["state_dict"]["ctx"]
    if ctx.dim() == 3:
        saved = checkpoint.get("trainer", {}).get("extra", {}).get("classnames", list(classnames))
        if len(ctx) != len(classnames) or list(saved) != list(classnames):
            raise ValueError(
                f"{path} has prompts of its own for each of {len(ctx)} classes, which are not the {len(classnames)} of "
                "this data set; only prompts that all classes share can teach other classes"
            )
    boost = checkpoint["state_dict"].get("boost")
    return CoOpMethod(student, classnames, ctx.shape[-2], class_specific=ctx.dim() == 3, boost=boost)


def checkpoint_file(path: str) -> str:
    """The file itself, or the last checkpoint in a run's output folder or in one model's folder."""
    if not Path(path).is_dir():
        return path
    for folder in (Path(path), *(Path(path) / name for name in PROMPT_FOLDERS)):
        pointer = folder / "checkpoint"
        if pointer.is_file():
            return str(folder / pointer.read_text(encoding="utf-8").strip())
    raise FileNotFoundError(f"{path} has no checkpoint in {' or '.join(PROMPT_FOLDERS)}; name a checkpoint file")
