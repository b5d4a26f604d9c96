"""The weights of a checkpoint that pickles live objects, as Dassl's do after a warm-up, without running any of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dho_prompt.files.torch_archive import read_archive


def read_weights(path: str) -> dict[str, Any]:
    """``{"state_dict": ..., "epoch": ...}`` of a checkpoint, without what hangs on live objects (optimiser, schedule).

    Raises:
        ValueError: it is no archive of torch's (1.6 and later), or has no ``state_dict`` of tensors.
    """
    content = read_archive(path)
    state_dict = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state_dict, dict) or not all(isinstance(value, Tensor) for value in state_dict.values()):
        raise ValueError(f"{path} has no state_dict of tensors")
    epoch = content.get("epoch")
    return {"state_dict": state_dict, "epoch": epoch if isinstance(epoch, int) else 0}
