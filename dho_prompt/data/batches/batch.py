"""What a training step reads: the labelled images and the unlabelled ones as one batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dho_prompt.data.batches.views import SharedCrop, View


class Batch:
    """A batch of Dassl's (a dict of tensors), labelled images first, unlabelled ones behind them (Alg. 1 line 7).

    Args:
        content: ``img``, ``label`` and the views of ``crop``, (labelled, ...) each; those of the unlabelled images, if
            there are any, under the same keys with ``_u`` at the end. ``index`` and ``index_u`` say which images of
            the labelled set and of the pool they are; with a store ``place`` and ``view`` say which of its records.
        crop: made the views.
        device: where :attr:`labels` and :meth:`images` go.
    """

    def __init__(self, content: dict[str, Any], crop: SharedCrop, device: torch.device) -> None:
        self.content, self.crop, self.device = content, crop, device
        self.labels: Tensor = content["label"].to(device, non_blocking=True)

    @property
    def labelled(self) -> int:
        """How many of the images are labelled."""
        return len(self.labels)

    def parts(self, count: int) -> list[Batch]:
        """Cut into ``count`` batches, each with its share of the labelled and of the unlabelled images.

        Raises:
            ValueError: they cannot be shared out equally, so the mean of the parts' losses is not the batch's.
        """
        if count == 1:
            return [self]
        unlabelled = len(self.content["index_u"]) if "index_u" in self.content else 0
        if self.labelled % count or unlabelled % count:
            fitting = [n for n in range(1, 65) if self.labelled % n == 0 and unlabelled % n == 0]
            raise ValueError(
                f"OPTIM.ACCUMULATE is {count}, but a step has {self.labelled} labelled and {unlabelled} unlabelled "
                f"images, which {count} parts do not share equally; it may be {', '.join(map(str, fitting))} with "
                "these batch sizes"
            )
        size, size_u = self.labelled // count, unlabelled // count
        sizes = {key: size_u if key.endswith("_u") else size for key in self.content}
        cut = [
            {key: value[i * sizes[key] : (i + 1) * sizes[key]] for key, value in self.content.items()}
            for i in range(count)
        ]
        return [Batch(content, self.crop, self.device) for content in cut]

    def images(self, view: View | None = None) -> Tensor:
        """(labelled + unlabelled, 3, size, size) as ``view`` has them, normalised; default: the student's."""
        key = "img" if view is None else self.crop.key_of(view)
        parts = [self.content[name] for name in (key, f"{key}_u") if name in self.content]
        pixels = torch.cat([part.to(self.device, non_blocking=True) for part in parts])
        return self.crop.finished(pixels, self.crop.views[key])

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Which records of a store the images are: (labelled + unlabelled,) images and views."""
        keys = [("place", "view"), ("place_u", "view_u")]
        found = [[np.asarray(self.content[key]) for key in pair] for pair in keys if pair[0] in self.content]
        images, views = (np.concatenate(parts) for parts in zip(*found))
        return images, views
