"""Atomic files: a reader finds the old content or the new one, never half of either."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Callable, Union

from dho_prompt.files.seal import seal, unseal
from dho_prompt.files.unwritable import unwritable

PathLike = Union[str, "os.PathLike[str]"]
ANEW = "delete it to have it made anew"


def atomic_write(path: PathLike, write: Callable[[IO[bytes]], Any], sync: bool = True) -> Path:
    """Write a file by a temporary neighbour that replaces it in one step.

    Args:
        path: the file to write; missing parent folders are made.
        write: called with an open binary file.
        sync: wait until the content is on the disk, where a power cut cannot undo it; False for one of many files
            that a last one declares complete.

    Returns:
        The path written.

    Raises:
        OSError: it cannot be written: the disk is full, the folder is read-only, a file stands in its place, ... What
            stood at ``path`` is untouched, and the message names it and what to do.

    Example:
        >>> atomic_write("out/model.pt", lambda file: torch.save(state, file))
    """
    path = Path(path)
    temporary, writing = None, False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            writing = True
            write(file)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        writing = False
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        explained = unwritable(path, error, writing)
        if explained is None:
            raise
        raise explained from error
    return path


def write_json(path: PathLike, content: Any) -> Path:
    """Write ``content`` as indented JSON, atomically (see :func:`atomic_write`); a mapping with a checksum in it.

    Raises:
        ValueError: it holds numbers that JSON has not: infinite, or not a number.
    """
    content = seal(content) if isinstance(content, dict) else content
    try:
        data = _json(content, ensure_ascii=False)
    except UnicodeEncodeError:  # a path whose bytes mean nothing in this locale
        data = _json(content, ensure_ascii=True)
    except ValueError as error:
        raise ValueError(f"{path} is not written: it would hold numbers that are infinite or no numbers") from error
    return atomic_write(path, lambda file: file.write(data))


def _json(content: Any, ensure_ascii: bool) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=ensure_ascii, allow_nan=False) + "\n").encode("utf-8")


def read_json(path: PathLike, entries: Mapping[str, Any] | None = None, remedy: str = ANEW) -> Any:
    """Read a JSON file and, where it has one, compare its checksum, which is left out of what is returned.

    Args:
        path: the file.
        entries: names that it must hold, and the types of their values (what ``isinstance`` takes); None for any
            content.
        remedy: what the reader of the message can do about a damaged file.

    Raises:
        ValueError: the file is not valid JSON, does not match its checksum, or is of another form; the message names
            it and the remedy.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); {remedy}") from error
    try:
        content = unseal(content) if isinstance(content, dict) else content
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged or was edited ({error}); {remedy}. If the edit was meant, remove that entry"
        ) from error
    wrong = [] if entries is None else _wrong_entries(content, entries)
    if wrong:
        raise ValueError(f"{path} is not of the form that it should have ({'; '.join(wrong)}); {remedy}")
    return content


def _wrong_entries(content: Any, entries: Mapping[str, Any]) -> list[str]:
    if not isinstance(content, dict):
        return [f"it holds {_kind(content)} instead of named entries"]
    missing = [f"no {name!r}" for name in entries if name not in content]
    return missing + [
        f"{name!r} is {_kind(content[name])}"
        for name, kind in entries.items()
        if name in content and not _is(content[name], kind)
    ]


def _is(value: Any, kind: Any) -> bool:
    """``isinstance``, but True and False are no numbers."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
