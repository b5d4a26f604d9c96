"""The weights of a checkpoint that pickles live objects, as Dassl's do after a warm-up, without running any of them."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

_STORAGE_TYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Inert:
    """Stands in for whatever else is in the file: it can be made and given a state, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass


class _TensorUnpickler(pickle.Unpickler):
    """Rebuilds tensors, ordered dicts and plain values; every other name in the file is :class:`Inert`."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(archive.open(f"{folder}/data.pkl"))
        self.archive, self.folder = archive, folder
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGE_TYPES:
            return _STORAGE_TYPES[name]
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        }
        return known.get((module, name), Inert)

    def persistent_load(self, saved: Any) -> Tensor:
        _, dtype, key, _, count = saved
        if key not in self.storages:
            content = bytearray(self.archive.read(f"{self.folder}/data/{key}"))
            self.storages[key] = torch.frombuffer(content, dtype=dtype, count=count) if count else torch.empty(0)
        return self.storages[key]


def _rebuild(storage: Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)


def read_weights(path: str) -> dict[str, Any]:
    """``{"state_dict": ..., "epoch": ...}`` of a checkpoint in torch's zip format (torch 1.6 and later).

    No code in the file is run: names other than those of tensors and ordered dicts are replaced by :class:`Inert`.
    What hangs on such objects (optimiser, schedule) is left out.

    Raises:
        ValueError: it is not such a file, or has no ``state_dict`` of tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (listing,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            content = _TensorUnpickler(archive, listing.rsplit("/", 1)[0]).load()
    except Exception as error:  # a damaged pickle or archive can raise nearly anything
        raise ValueError(f"{path} is no readable checkpoint ({type(error).__name__}: {error})") from error
    state_dict = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state_dict, dict) or not all(isinstance(value, Tensor) for value in state_dict.values()):
        raise ValueError(f"{path} has no state_dict of tensors")
    epoch = content.get("epoch")
    return {"state_dict": state_dict, "epoch": epoch if isinstance(epoch, int) else 0}
