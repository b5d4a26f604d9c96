"""Prompt vectors of a CLIP's two towers under the checkpoint keys of IVLP and PromptSRC."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

CONTEXT, FIRST_VISION, DEEP = "prompt_learner.ctx", "image_encoder.VPT", "VPT_shallow"
# what the family saves beside the prompts, and what depends on the class names: its checkpoints hold the whole model
FROZEN = ("image_encoder.", "text_encoder.", "prompt_learner.ZS_image_encoder.", "prompt_learner.token_", "logit_scale")


class VisionLanguagePrompts(nn.Module):
    """The prompts of both towers, in float32 whatever the precision of the towers.

    Its state dict holds what is trained and nothing else: ``prompt_learner.ctx``, ``image_encoder.VPT`` and
    ``{text_encoder,image_encoder}.transformer.resblocks.<block>.VPT_shallow``. It reads the published checkpoints of
    the whole model too, whose frozen weights are left out.

    Args:
        ctx: (n_ctx_text, text width) to start the context of the first text block from.
        depth_text: text blocks with a context of their own, at least 1.
        n_ctx_vision, vision_width: shape of the visual prompts of a block.
        depth_vision: image blocks with prompts of their own, 0 for none.
        boost: prompts that stand before these and are not trained, of as many blocks; None for none.

    Raises:
        ValueError: ``boost`` is of other blocks or another CLIP.
    """

    def __init__(
        self,
        ctx: Tensor,
        depth_text: int,
        n_ctx_vision: int,
        vision_width: int,
        depth_vision: int,
        boost: VisionLanguagePrompts | None = None,
    ) -> None:
        super().__init__()
        self.boost = None if boost is None else boost.requires_grad_(False)
        self.prompt_learner = nn.ParameterDict({"ctx": nn.Parameter(ctx.detach().float().clone())})
        self.text_encoder = _blocks(depth_text, *ctx.shape)
        self.image_encoder = _blocks(depth_vision, n_ctx_vision, vision_width)
        if depth_vision:
            self.image_encoder.VPT = _noise(n_ctx_vision, vision_width)
        if boost is not None:
            _refuse_other_blocks(boost.state_dict(), self.state_dict())

    @property
    def context(self) -> Tensor:
        """(n_ctx_text, text width), the first block's; all methods have ``boost``'s vectors in front."""
        own = self.prompt_learner["ctx"]
        return own if self.boost is None else torch.cat([self.boost.context, own])

    def deep_text(self) -> list[Tensor]:
        """(n_ctx_text, text width) for the second block and so on."""
        own = _deep(self.text_encoder)
        return own if self.boost is None else _joined(self.boost.deep_text(), own)

    def vision(self) -> list[Tensor]:
        """(n_ctx_vision, vision width) for the first block and so on."""
        own = [self.image_encoder.VPT, *_deep(self.image_encoder)]
        return own if self.boost is None else _joined(self.boost.vision(), own)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        given = {key[len(prefix) :]: value for key, value in state_dict.items() if key.startswith(prefix)}
        own = self.state_dict()
        _check(given, own)
        for key in given:
            if key not in own and key.startswith(FROZEN):
                del state_dict[prefix + key]
        super()._load_from_state_dict(state_dict, prefix, *args)


def prompt_settings(state_dict: dict[str, Tensor]) -> dict[str, int]:
    """Numbers of tokens and depths of the prompts in a checkpoint, by their configuration keys.

    Raises:
        ValueError: it has no context for the text tower, so it is of another method.
    """
    if CONTEXT not in state_dict:
        raise ValueError(f"it has no {CONTEXT} but {', '.join(sorted(state_dict)[:4])}: it is of another method")
    deep = {tower: [key for key in state_dict if key.startswith(tower) and key.endswith(DEEP)] for tower in FROZEN[:2]}
    vision = state_dict.get(FIRST_VISION)
    return {
        "N_CTX_TEXT": len(state_dict[CONTEXT]),
        "PROMPT_DEPTH_TEXT": 1 + len(deep["text_encoder."]),
        "N_CTX_VISION": 0 if vision is None else len(vision),
        "PROMPT_DEPTH_VISION": 0 if vision is None else 1 + len(deep["image_encoder."]),
    }


def _check(given: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Raise PyTorch's error for weights that do not fit, a RuntimeError, but in the words of the configuration."""
    try:
        before, now = prompt_settings(given), prompt_settings(own)
    except ValueError as error:
        raise RuntimeError(f"Prompts do not fit:\n{error}") from None
    differences = [f"TRAINER.PROMPTSRC.{key} is {before[key]} there, {now[key]} here" for key in now]
    differences = [line for line, key in zip(differences, now) if before[key] != now[key]]
    if not differences:
        for key in (CONTEXT, FIRST_VISION):
            if key in own and given[key].shape != own[key].shape:
                widths = (given[key].shape[1], own[key].shape[1])
                differences.append(f"{key} has vectors of {widths[0]} there, {widths[1]} here: another CLIP")
    if differences:
        raise RuntimeError("Prompts do not fit:\n" + "\n".join(differences))


def _refuse_other_blocks(boost: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    theirs, ours = prompt_settings(boost), prompt_settings(own)
    wrong = [
        f"TRAINER.PROMPTSRC.{key} is {theirs[key]} there, {ours[key]} here"
        for key in ("PROMPT_DEPTH_TEXT", "PROMPT_DEPTH_VISION")
        if theirs[key] != ours[key]
    ]
    wrong += [
        f"{key} has vectors of {boost[key].shape[1]} there, {own[key].shape[1]} here: another CLIP"
        for key in (CONTEXT, FIRST_VISION)
        if not wrong and key in own and boost[key].shape[1] != own[key].shape[1]
    ]
    if wrong:
        raise ValueError(f"the boosting prompts do not fit: {'; '.join(wrong)}")


def _joined(first: list[Tensor], second: list[Tensor]) -> list[Tensor]:
    return [torch.cat(pair) for pair in zip(first, second)]


def _blocks(depth: int, n_ctx: int, width: int) -> nn.ModuleDict:
    blocks = nn.ModuleDict({str(block): nn.ParameterDict({DEEP: _noise(n_ctx, width)}) for block in range(1, depth)})
    return nn.ModuleDict({"transformer": nn.ModuleDict({"resblocks": blocks})})


def _deep(tower: nn.ModuleDict) -> list[Tensor]:
    return [prompts[DEEP] for prompts in tower["transformer"]["resblocks"].values()]


def _noise(n_ctx: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(n_ctx, width).normal_(std=0.02))
