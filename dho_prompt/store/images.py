"""The images of a store: an order that every run finds again, and a hash by which it knows them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

from dho_prompt.data.choose.splits import namer
from dho_prompt.files import PathLike
from dho_prompt.files.checksums import sha256_of

READ = 64  # images whose content is in the hash


class StoredImages:
    """All training images of a data set, in the order of their names.

    Args:
        items: objects with ``impath``; one that is listed twice counts once.
        root: the folder that names are relative to.

    Attributes:
        paths: of the images, in order.
        names: relative to ``root``.
    """

    def __init__(self, items: Sequence[Any], root: PathLike) -> None:
        self._name = namer(root)
        named = sorted({self._name(item.impath): item.impath for item in items}.items())
        self.names, self.paths = [name for name, _ in named], [path for _, path in named]
        self._places = {name: place for place, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def place(self, impath: PathLike) -> int:
        """The number of an image.

        Raises:
            ValueError: it is none of the training images.
        """
        place = self._places.get(self._name(impath))
        if place is None:
            raise ValueError(f"{impath} is none of the {len(self)} training images that a store is made of")
        return place

    def hash(self) -> str:
        """SHA-256 of all names and sizes in bytes, and of the content of 64 images spread over them.

        Raises:
            FileNotFoundError: an image is not there.
        """
        digest = hashlib.sha256()
        for name, path in zip(self.names, self.paths):
            digest.update(f"{name}\t{os.stat(path).st_size}\n".encode("utf-8", "surrogateescape"))
        step = max(1, len(self) // READ)
        for path in self.paths[::step]:
            digest.update(sha256_of(path).encode())
        return digest.hexdigest()
