"""Atomic files: a reader finds the old content or the new one, never half of either."""

import errno
import json
import os
import tempfile
from pathlib import Path
from typing import IO, Any, Callable, Union

PathLike = Union[str, "os.PathLike[str]"]


def atomic_write(path: PathLike, write: Callable[[IO[bytes]], Any]) -> Path:
    """Write a file by a temporary neighbour that replaces it in one step.

    Args:
        path: the file to write; missing parent folders are made.
        write: called with an open binary file.

    Returns:
        The path written.

    Raises:
        OSError: the disk is full or the folder is not writable. What stood at ``path`` is untouched, and the
            message names the folder and what to do.

    Example:
        >>> atomic_write("out/model.pt", lambda file: torch.save(state, file))
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if _is_disk_full(error):
            raise OSError(
                errno.ENOSPC,
                f"no space left to write {path} (what was there before is kept). Free space in {path.parent}, "
                "or set another output folder, and run the same command again: it resumes",
            ) from error
        raise
    return path


def write_json(path: PathLike, content: Any) -> Path:
    """Write ``content`` as indented JSON, atomically (see :func:`atomic_write`)."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return atomic_write(path, lambda file: file.write(text.encode("utf-8")))


def read_json(path: PathLike) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: the file is not valid JSON; the message names it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); delete it to have it made anew") from error


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # torch's zip writer reports a failed write as a RuntimeError, raised while the OSError is handled
    seen = error.__context__
    return isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
