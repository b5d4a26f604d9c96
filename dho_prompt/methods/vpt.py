"""VPT: learned tokens among the image patches (Jia et al., Visual Prompt Tuning, ECCV 2022)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dho_prompt.clip.prompted_vision import PromptedVisionEncoder
from dho_prompt.config import HEAD_STARTS, HEADS, PRECISIONS, Setting, declare
from dho_prompt.config.ranges import BLOCKS, TEXT, TOKENS
from dho_prompt.methods.base import Method
from dho_prompt.students.clip import CLIPStudent

declare(
    "TRAINER.VPT",
    {
        "N_CTX_VISION": Setting(2, "prompt tokens of a block", TOKENS),
        "PROMPT_DEPTH_VISION": Setting(1, "blocks with prompts of their own (VPT-3, VPT-9 in Table 13)", BLOCKS),
        "CTX_INIT": Setting("a photo of a", "words before the class names of HEAD text", TEXT),
        "PREC": Setting("fp16", "fp32, fp16, bf16 (weights) or amp (autocast)", PRECISIONS),
        "HEAD": Setting(
            "linear",
            "linear or cosine, as of LINEAR_PROBE; text: CLIP's zero-shot classifier, not trained (MaPLe's VPT)",
            (*HEADS, "text"),
        ),
        "HEAD_INIT": Setting(
            "language", "language (class text features), language_unit (at length 1) or kaiming", HEAD_STARTS
        ),
    },
)

FROZEN = ("image_encoder.", "text_encoder.", "logit_scale")  # beginnings of MaPLe's keys, which hold the whole model
PROMPTS = ("VPT", "VPT_shallow")  # last parts of the keys of prompts


class VisualPrompts(nn.Module):
    """The prompts, under the checkpoint keys of MaPLe's VPT trainer, from normal noise of std 0.02 as there.

    ``image_encoder.VPT`` stands before the first block, ``image_encoder.transformer.resblocks.<i>.VPT_shallow`` before
    block i. They are kept in float32 whatever the precision of the tower. MaPLe's checkpoints hold the frozen towers
    too: those weights are passed over when loading; prompts that find no place are an error.

    Args:
        n_ctx: tokens of a block.
        depth: number of blocks with prompts.
        width: length of a token.
    """

    def __init__(self, n_ctx: int, depth: int, width: int) -> None:
        super().__init__()
        first, *others = (nn.Parameter(torch.empty(n_ctx, width).normal_(std=0.02)) for _ in range(depth))
        blocks = {str(index): _holder(VPT_shallow=prompts) for index, prompts in enumerate(others, start=1)}
        self.image_encoder = _holder(VPT=first, transformer=_holder(resblocks=nn.ModuleDict(blocks)))

    def forward(self) -> list[Tensor]:
        """The prompts of each block, (n_ctx, width) float32."""
        return list(self.parameters())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for key in list(state_dict):
            if key.startswith(tuple(prefix + name for name in FROZEN)) and key.split(".")[-1] not in PROMPTS:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args)


class VPTMethod(Method):
    """A frozen CLIP image tower with learned visual prompts, and a head on its features.

    Args:
        student: the CLIP, frozen; its image tower is a vision transformer.
        head: (batch, d) un-normalised features -> (batch, classes) logits; see :func:`dho_prompt.heads.make_head`. A
            head without trainable parameters is not registered for training.
        n_ctx: prompt tokens of a block, at least 1.
        depth: blocks with prompts of their own, from the first on: 1 is shallow, VPT-n of Table 13 is n.

    Raises:
        ValueError: the tower takes no visual prompts or has fewer blocks than ``depth``, or ``n_ctx`` is below 1.
    """

    def __init__(self, student: CLIPStudent, head: nn.Module, n_ctx: int = 2, depth: int = 1) -> None:
        super().__init__(student)
        if n_ctx < 1:
            raise ValueError(f"the number of visual prompt tokens is {n_ctx}; it must be at least 1")
        self.image_encoder = PromptedVisionEncoder(student.clip.model, n_ctx, depth)
        self.prompt_learner = VisualPrompts(n_ctx, depth, self.image_encoder.width)
        self.head = head
        self.class_bound = ("ce_head",) if any(weight.requires_grad for weight in head.parameters()) else ()

    def trainable(self) -> dict[str, nn.Module]:
        return {"prompt_learner": self.prompt_learner, **({"ce_head": self.head} if self.class_bound else {})}

    def encode_image(self, images: Tensor) -> Tensor:
        """(batch, 3, size, size) -> (batch, d) un-normalised image features; their gradient goes to the prompts."""
        return self.image_encoder(images, self.prompt_learner())

    def logits(self, features: Tensor) -> Tensor:
        return self.head(features)


def _holder(**parts: Any) -> nn.Module:
    """A module that is nothing but a level in the names of its parts."""
    module = nn.Module()
    for name, part in parts.items():
        setattr(module, name, part)
    return module
