"""A teacher whose words were stored: it reads what it would say of a batch, and has no tower."""

from __future__ import annotations

import torch
from torch import Tensor

from dho_prompt.data.batches.batch import Batch
from dho_prompt.store.rows import StoredRows
from dho_prompt.teachers.base import Teacher
from dho_prompt.teachers.zeroshot import cosine_logits


class StoredTeacher(Teacher):
    """Image features or logits of a store, for batches whose crops are the store's.

    It wants to see no image, so :attr:`views` is empty.

    Args:
        rows: a teacher's store.
        zeta: temperature > 0 of its cosine logits, or None for the one that it was stored with.
    """

    def __init__(self, rows: StoredRows, zeta: float | None = None) -> None:
        super().__init__()
        self.rows, self.views = rows, ()
        self.zeta = float(zeta or rows.manifest.zeta)
        text = rows.text_features()
        self.has_features = text is not None
        if text is not None:
            self.register_buffer("text_features", torch.from_numpy(text))

    def classify(self, features: Tensor) -> Tensor:
        return cosine_logits(features, self.text_features, self.zeta)

    @torch.no_grad()
    def forward(self, batch: Batch) -> Tensor:
        said = stored_rows(self.rows, batch)
        return self.classify(said) if self.has_features else said

    @torch.no_grad()
    def with_features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if not self.has_features:
            raise ValueError(
                f"the store {self.rows.folder} holds the teacher's logits, and this objective needs its image "
                "features; make one of a zero-shot CLIP with --holds features"
            )
        features = stored_rows(self.rows, batch)
        return self.classify(features), features


def stored_rows(rows: StoredRows, batch: Batch, count: int | None = None) -> Tensor:
    """(labelled + unlabelled, width) float32 rows of a batch, or of its first ``count`` images, on its device."""
    images, views = batch.places()
    found = torch.from_numpy(rows.read(images[:count], views[:count])["row"])
    return found.to(batch.device, non_blocking=True).float()
