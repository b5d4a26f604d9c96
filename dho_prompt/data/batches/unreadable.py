"""Training images that cannot be read: named, counted, replaced up to a limit, never silently."""

from __future__ import annotations

from typing import Any, Callable

import torch


class Replacements:
    """Reads the samples of one training set and puts the next readable image in the place of a broken one.

    What replaces an image follows from the set's order alone, so a resumed run sees the same batches. The count is
    shared by all worker processes that a loader starts, so every file is named once and counted once in a run.

    Args:
        size: number of images in the set.
        limit: unreadable images allowed (DATALOADER.MAX_UNREADABLE); the next one stops the run.

    Example:
        >>> replacements = Replacements(len(paths), limit=10)
        >>> image, index = replacements.read(7, lambda index: (read_image(paths[index]), index), paths.__getitem__)
    """

    def __init__(self, size: int, limit: int) -> None:
        if limit < 0:
            raise ValueError(f"DATALOADER.MAX_UNREADABLE is {limit}; it must be 0 or more")
        self.limit = limit
        self.broken = torch.zeros(size, dtype=torch.bool).share_memory_()

    def read(self, index: int, sample: Callable[[int], Any], path: Callable[[int], str]) -> Any:
        """``sample(index)``, or that of the first image after it that can be read.

        Args:
            index: of the image.
            sample: index -> sample; an OSError says that the image cannot be read.
            path: index -> file name for messages.

        Raises:
            OSError: more than ``limit`` images of the set, or all, cannot be read.
        """
        size = len(self.broken)
        for step in range(size):
            candidate = (index + step) % size
            if self.broken[candidate]:
                continue
            try:
                return sample(candidate)
            except OSError as error:
                self.note(candidate, path, error)
        raise OSError(f"none of the {size} training images can be read, e.g. {path(index)}")

    def note(self, index: int, path: Callable[[int], str], error: OSError) -> None:
        self.broken[index] = True
        broken = self.broken.nonzero().flatten().tolist()
        name = path(index)
        why = str(error) if name in str(error) else f"{name}: {error}"
        if len(broken) > self.limit:
            raise OSError(
                f"{len(broken)} of {len(self.broken)} training images cannot be read, more than "
                f"DATALOADER.MAX_UNREADABLE {self.limit} allows: {', '.join(path(other) for other in broken[:10])}. "
                f"Replace them or take them out of the data set (the last one: {why})"
            ) from error
        print(
            f"Warning: a training image cannot be read and another takes its place ({len(broken)} so far, at most "
            f"{self.limit}: DATALOADER.MAX_UNREADABLE): {why}",
            flush=True,
        )
