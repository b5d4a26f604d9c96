"""One process at a time in an output folder."""

from __future__ import annotations

import errno
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from dho_prompt.files import PathLike

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None

LOCK = ".lock"
_TEMPORARY = re.compile(r"\..+\.\w{8}\.tmp")  # what atomic_write leaves when the process is killed
_held: dict[str, IO[str]] = {}  # by real path of the folder
_REMEDIES = {
    errno.EEXIST: "move that file away",
    errno.ENOTDIR: "move the file away that is in its place",
    errno.ENAMETOOLONG: "shorten it",
}


@contextmanager
def one_process(folder: PathLike) -> Iterator[None]:
    """Keep other processes out of an output folder while inside; temporary files of killed ones are removed.

    The lock is the operating system's: it ends with its process, however that ends, and processes that it starts do
    not have it. Within one process it may be taken again.

    Raises:
        ValueError: another process has the folder; the message names it.
        OSError: the folder cannot be written.
    """
    try:
        os.fspath(folder).encode()  # event files hold the name as UTF-8
        Path(folder).mkdir(parents=True, exist_ok=True)
        key = os.path.realpath(folder)
    except (OSError, UnicodeEncodeError) as error:  # the latter where the locale has no such letters
        raise _unusable(folder, error) from error
    if key in _held:
        yield
        return
    file = _lock(Path(folder))
    if file is not None:
        _held[key] = file
    try:
        remove_temporary(folder)
        yield
    finally:
        if _held.pop(key, None) is not None:
            with suppress(FileNotFoundError):
                os.unlink(file.name)  # while it is ours, see _lock
            file.close()


def _lock(folder: Path) -> IO[str] | None:
    """The open lock file; None where files cannot be locked."""
    path = folder / LOCK
    while True:
        try:
            file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (open means locked)
        except OSError as error:
            raise _unusable(folder, error) from error
        if fcntl is None:
            file.close()
            return None
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # POSIX allows either
            file.seek(0)
            owner = file.read().strip() or "another process"
            file.close()
            raise ValueError(
                f"{folder} is in use by {owner}. Wait for it to end or stop it, or choose another output folder "
                "(scripts: TAG=name or OUTPUT=folder)"
            ) from None
        except OSError as error:
            file.close()
            print(f"Note: {folder} cannot be locked ({error}); take care that no other process uses it")
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                break
        file.close()  # its last owner removed it in between
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
    file.flush()
    return file


def _unusable(folder: PathLike, error: OSError | UnicodeEncodeError) -> OSError:
    if isinstance(error, UnicodeEncodeError):
        reason, remedy = "it has letters that the locale has not", "set a UTF-8 locale (LC_ALL=C.UTF-8)"
    else:
        reason, remedy = error.strerror, _REMEDIES.get(error.errno, "make it writable")
    return OSError(
        f"the output folder {os.fspath(folder)!r} cannot be written ({reason}); {remedy}, or choose another "
        "with --output-dir (scripts: OUTPUT=folder)"
    )


def remove_temporary(folder: PathLike) -> None:
    """Remove half-written files of killed runs from an output folder and the folders of its models."""
    for parent in (Path(folder), *(Path(entry) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))):
        for entry in os.scandir(parent):
            if _TEMPORARY.fullmatch(entry.name):
                os.unlink(entry)
