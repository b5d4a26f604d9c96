"""What a training step reads: the labelled images and the unlabelled ones as one batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dho_prompt.data.batches.views import SharedCrop, View


class Batch:
    """A batch of Dassl's (a dict of tensors), labelled images first, unlabelled ones behind them (Alg. 1 line 7).

    Args:
        content: ``img``, ``label`` and the views of ``crop``, (labelled, ...) each; those of the unlabelled images, if
            there are any, under the same keys with ``_u`` at the end. ``index`` and ``index_u`` say which images of
            the labelled set and of the pool they are.
        crop: made the views.
        device: where :attr:`labels` and :meth:`images` go.
    """

    def __init__(self, content: dict[str, Any], crop: SharedCrop, device: torch.device) -> None:
        self.content, self.crop, self.device = content, crop, device
        self.labels: Tensor = content["label"].to(device)

    @property
    def labelled(self) -> int:
        """How many of the images are labelled."""
        return len(self.labels)

    def images(self, view: View | None = None) -> Tensor:
        """(labelled + unlabelled, 3, size, size) as ``view`` has them; default: the student's."""
        key = "img" if view is None else self.crop.key_of(view)
        parts = [self.content[name] for name in (key, f"{key}_u") if name in self.content]
        return torch.cat([part.to(self.device, non_blocking=True) for part in parts])
