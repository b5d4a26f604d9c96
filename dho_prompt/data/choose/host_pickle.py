"""CoOp's few-shot pickles, read without running anything that stands in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NamedTuple


class Named(NamedTuple):
    """An image as a host's pickle has it: its path, on the machine that wrote it, and its label."""

    path: str
    label: int


def read_few_shot(path: Path) -> dict[str, list[Named]]:
    """The images of a host's ``split_fewshot/shot_<K>-seed_<S>.pkl``: ``{"train": [...], "val": [...]}``.

    A pickle can name any function to be called. This reader knows plain containers, texts, numbers and Dassl's class
    for an image, in whose place it puts an inert record; any other name stops it before anything is made of it.

    Args:
        path: the pickle; CoOp's class for ImageNet writes no ``val``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it asks for something else, is damaged, or holds no list ``train`` of images.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no few-shot pickle {path}")
    try:
        with open(path, "rb") as file:
            content = _Reader(file).load()
        if not isinstance(content, dict) or not content.get("train"):
            raise _Refused("it has no list 'train' of images")
        parts = {part: [_named(record) for record in content[part]] for part in ("train", "val") if part in content}
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        why = str(error) if isinstance(error, _Refused) else f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{path} is no few-shot pickle of CoOp's, {{'train': [images], 'val': [images]}}, and is not read: {why}"
        ) from error
    return parts


class _Refused(Exception):
    """The file holds what it must not."""


class _Record:
    """Stands in for Dassl's Datum, and keeps what is stored of it."""

    __slots__ = ("stored",)

    def __setstate__(self, stored: Any) -> None:
        self.stored = stored


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if name == "Datum" and module.partition(".")[0] == "dassl":
            return _Record
        raise _Refused(f"it asks for {module}.{name}, which images do not need; such a file may run code when loaded")


def _named(record: Any) -> Named:
    stored = record.stored if isinstance(record, _Record) else None
    path, label = (stored.get("_impath"), stored.get("_label")) if isinstance(stored, dict) else (None, None)
    if not isinstance(path, str) or type(label) is not int or label < 0:
        raise _Refused("it holds something other than images with a path and a label")
    return Named(path, label)
