"""Tensors out of PyTorch's zip archives, TorchScript's included, without running anything that is in them."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dho_prompt.files import PathLike

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
# lists and type tags of TorchScript's pickles
_PLAIN = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")


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


class ScriptModule(Inert):
    """The attributes of a TorchScript module; its code stays text.

    Attributes:
        script_name: dotted name of its class, such as ``__torch__.clip.model.CLIP``.
        attributes: by name; those that are modules are of this class too. None if the module has a ``__setstate__``
            of its own, which alone could read its state and is not run.
    """

    script_name = ""
    attributes: dict[str, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.attributes = state


class _Unpickler(pickle.Unpickler):
    """Rebuilds tensors, ordered dicts, plain values and TorchScript's attributes; other names are :class:`Inert`."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(archive.open(f"{folder}/data.pkl"))
        self.archive, self.folder = archive, folder
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGE_TYPES:
            return _STORAGE_TYPES[name]
        if module.split(".")[0] == "__torch__":
            return type(name, (ScriptModule,), {"script_name": f"{module}.{name}"})
        if module == "torch.jit._pickle" and name in _PLAIN:
            return lambda value, *_: value
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        }
        return known.get((module, name), Inert)

    def persistent_load(self, saved: Any) -> Tensor:
        kind, dtype, key, _, count = saved
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(count, int) or count < 0:
            raise ValueError(f"an entry is no storage of a known type: {saved!r:.80}")
        if key not in self.storages:
            record = self.archive.getinfo(f"{self.folder}/data/{key}")
            if record.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"the record {record.filename} is compressed, which PyTorch's archives are not")
            content = bytearray(self.archive.read(record))  # compares the checksum
            self.storages[key] = torch.frombuffer(content, dtype=dtype, count=count) if count else torch.empty(0)
        if self.storages[key].dtype != dtype and count:
            raise ValueError(f"the storage {key} is used as {self.storages[key].dtype} and as {dtype}")
        return self.storages[key]


def _rebuild(storage: Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> Tensor:
    numbers = [offset, *size, *stride]
    whole = len(size) == len(stride) and all(isinstance(number, int) and number >= 0 for number in numbers)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride)) if whole else 0
    if not whole or (0 not in size and last >= len(storage)):
        raise ValueError(
            f"a tensor of size {size}, stride {stride} and offset {offset} does not lie within its "
            f"{len(storage)} values"
        )
    return storage.as_strided(size, stride, offset)


def is_script_archive(path: PathLike) -> bool:
    """Whether a file is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def read_archive(path: PathLike) -> Any:
    """What the pickle of an archive in torch's zip format (torch 1.6 and later) holds, tensors on the CPU.

    Names other than those of tensors, ordered dicts and TorchScript modules are replaced by :class:`Inert`: nothing in
    the file is imported or called.

    Raises:
        ValueError: the file is damaged or no such archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (listing,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            return _Unpickler(archive, listing.rsplit("/", 1)[0]).load()
    except OSError:
        raise
    except Exception as error:  # a damaged pickle or archive can raise nearly anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ValueError(f"{path} is damaged or no archive of PyTorch's ({reason})") from error


def read_script_weights(path: PathLike) -> dict[str, Tensor]:
    """Parameters and buffers of a TorchScript archive by their dotted names: its ``state_dict()``, without TorchScript.

    Loading such a file by ``torch.jit.load`` runs the ``__setstate__`` that it brings along, which can write files.
    Here the code is only read as text, for which attributes are parameters and buffers.

    Raises:
        ValueError: the file is damaged or no such archive.
    """
    content = read_archive(path)
    if not isinstance(content, ScriptModule):
        raise ValueError(f"{path} is no TorchScript archive of a module")
    with zipfile.ZipFile(path) as archive:
        stored = {name: archive.read(name).decode("utf-8", "replace") for name in archive.namelist() if _is_code(name)}
    return dict(_weights(content, _named_weights(stored), ""))


def _is_code(name: str) -> bool:
    return "/code/" in name and name.endswith(".py")


_CLASS = re.compile(r"^class (\w+)\(Module\):\n(.*?)(?=^\S|\Z)", re.DOTALL | re.MULTILINE)
_NAMES = re.compile(r"^  __(?:parameters|buffers)__ = \[(.*?)\]$", re.MULTILINE)


def _named_weights(code: dict[str, str]) -> dict[str, set[str]]:
    """Dotted name of each class in the files of an archive's code -> names of its parameters and buffers."""
    found = {}
    for file, text in code.items():
        module = file.split("/code/", 1)[1][: -len(".py")].replace("/", ".")
        for name, body in _CLASS.findall(text):
            lists = _NAMES.findall(body)
            found[f"{module}.{name}"] = {entry for names in lists for entry in re.findall(r'"([^"]*)"', names)}
    return found


def _weights(module: ScriptModule, named: dict[str, set[str]], prefix: str) -> Iterator[tuple[str, Tensor]]:
    if module.attributes is None:
        raise ValueError(f"its module {module.script_name} keeps its state in a way that only its own code could read")
    names = named.get(module.script_name, set())
    for name, value in module.attributes.items():
        if isinstance(value, ScriptModule):
            yield from _weights(value, named, f"{prefix}{name}.")
        elif isinstance(value, Tensor) and name in names:
            yield f"{prefix}{name}", value
