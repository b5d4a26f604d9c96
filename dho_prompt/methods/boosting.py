"""CasPL's boosting prompts (Wu et al., Cascade Prompt Learning, ECCV 2024): read from the run that made them.

Its first stage learns prompts from a teacher on unlabelled images alone; its second keeps them and learns further ones
on labels. Here the first stage is a run with TRAINER.DHO.OBJECTIVE kd, the second one with BOOST set to it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dho_prompt.engine import load_checkpoint, load_strictly
from dho_prompt.methods.deep_prompts import CONTEXT, FIRST_VISION, VisionLanguagePrompts, prompt_settings


def read_context(path: str) -> Tensor:
    """CoOp's context, (n_ctx, width), of a checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no context, or one for each class.
    """
    weights = load_checkpoint(path, weights=True).get("state_dict", {})
    if "ctx" not in weights or weights["ctx"].dim() != 2 or weights.get("boost") is not None:
        raise ValueError(
            f"{path} holds no context that all classes share; TRAINER.COOP.BOOST takes a run of CoOpDHO with "
            "TRAINER.DHO.OBJECTIVE kd"
        )
    return weights["ctx"]


def read_prompts(path: str) -> VisionLanguagePrompts:
    """PromptSRC's prompts of both towers, of a checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds other prompts.
    """
    checkpoint = load_checkpoint(path, weights=True)
    weights = checkpoint.get("state_dict", {})
    if CONTEXT not in weights or any(key.startswith("boost.") for key in weights):
        raise ValueError(
            f"{path} holds no prompts of PromptSRC; TRAINER.PROMPTSRC.BOOST takes a run of PromptSRCDHO with "
            "TRAINER.DHO.OBJECTIVE kd"
        )
    sizes = prompt_settings(weights)
    vision = weights.get(FIRST_VISION, torch.zeros(0, 0))
    prompts = VisionLanguagePrompts(
        weights[CONTEXT], sizes["PROMPT_DEPTH_TEXT"], *vision.shape, sizes["PROMPT_DEPTH_VISION"]
    )
    load_strictly(prompts, checkpoint, path)
    return prompts
