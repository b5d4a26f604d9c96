"""What is the host's own: its transform, its methods, its checkpoints' entries, its state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from dho_prompt.data.batches.views import SHARED_TRANSFORMS, SharedCrop
from dho_prompt.engine.rng import untouched_rng

IGNORED_BY_HOSTS = ("token_prefix", "token_suffix")  # CoOp's family saves these and does not load them


def check_same_view(crop: SharedCrop, transform: Callable[[Image.Image], Any]) -> None:
    """Make sure that the student's view of ``crop`` is, bit for bit and draw for draw, what ``transform`` gives.

    Raises:
        ValueError: it is not, so that using ``crop`` in its place would change the host's images.
    """
    for width, height in ((67, 50), (40, 90)):
        pixels = (torch.arange(3 * height * width) * 7919 % 251).to(torch.uint8).reshape(height, width, 3)
        image = Image.fromarray(pixels.numpy())
        seen = []
        for view in (transform, lambda image: crop(image)["img"]):
            with untouched_rng():
                torch.manual_seed(0)
                seen.append((view(image) if callable(view) else None, torch.get_rng_state()))
        (theirs, their_draws), (ours, our_draws) = seen
        same = isinstance(theirs, Tensor) and theirs.shape == ours.shape and torch.equal(theirs, ours)
        if not same or not torch.equal(their_draws, our_draws):
            raise ValueError(
                f"the training transform is {transform}, which is not a crop that student and teacher can share; "
                f"INPUT.TRANSFORMS must be {SHARED_TRANSFORMS} (random_flip and normalize may be missing)"
            )


def defines(host: type, method: str) -> bool:
    """Whether a method is the host's, not the engine's."""
    defined = next((cls for cls in host.__mro__ if method in vars(cls)), None)
    return defined is not None and not is_engines(defined)


def is_engines(part: Any) -> bool:
    """Whether a class or function is the engine's (or Python's own), not a host's."""
    module = getattr(part, "__module__", "") or ""
    return module.startswith(("dassl.", "dho_prompt.engine", "dho_prompt.runs")) or module == "builtins"


def report_skipped(model: nn.Module, weights: dict[str, Tensor], path: str) -> None:
    """Hosts load what fits and are silent about the rest."""
    own = set(model.state_dict())
    given = set(weights)
    ignored = {key for key in own | given if key.endswith(IGNORED_BY_HOSTS)}
    if not (own & given) - ignored:
        raise ValueError(
            f"{path} has nothing for {type(model).__name__}: it holds {', '.join(sorted(given)[:4])}, the model "
            f"{', '.join(sorted(own)[:4])}; it is of another method"
        )
    for keys, where in ((own - given - ignored, "not in the file"), (given - own - ignored, "not in the model")):
        if keys:
            print(f"Warning: {path}: {len(keys)} entries are {where}: {', '.join(sorted(keys)[:6])}")


def on_device(device: torch.device, value: Any) -> Any:
    """Tensors, also in dicts, lists and tuples, moved to a device; other values as they are."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return type(value)((key, on_device(device, entry)) for key, entry in value.items())
    return type(value)(on_device(device, entry) for entry in value) if isinstance(value, (list, tuple)) else value
