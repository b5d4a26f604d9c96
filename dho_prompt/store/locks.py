"""Several processes that write one store: who has a shard, and whether anybody is at work."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import IO

from dho_prompt.files import PathLike

try:
    import fcntl
except ImportError:  # Windows has no such locks: two processes there would make the same shards twice
    fcntl = None

WRITING = ".writing"


class Lock:
    """The operating system's lock on a file; it ends with its process, however that ends.

    Args:
        path: of the file, which is made.
        shared: others may have it too, if they share it.

    Attributes:
        held: whether it was free; True where files cannot be locked.
    """

    def __init__(self, path: PathLike, shared: bool = False) -> None:
        self.path = Path(path)
        self._file: IO[str] | None = None
        self.held = True
        if fcntl is None:
            return
        self._file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 (open means locked)
        try:
            fcntl.flock(self._file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            self.held = False
            self._file.close()
        except OSError as error:
            print(f"Note: {self.path} cannot be locked ({error}); processes may make the same shards")

    def release(self, remove: bool = False) -> None:
        if remove and self.held:
            with suppress(OSError):
                self.path.unlink()
        if self._file is not None:
            self._file.close()


def say_writing(folder: PathLike) -> Lock:
    """Held by every process that writes in ``folder``."""
    lock = Lock(Path(folder) / WRITING, shared=True)
    with suppress(OSError):
        lock.path.write_text(f"process {os.getpid()} on {platform.node()}\n", encoding="utf-8")
    return lock


def writer_of(folder: PathLike) -> str:
    """A process that is writing in ``folder``, in words; "" if there is none or it cannot be told."""
    path = Path(folder) / WRITING
    if fcntl is None or not path.is_file():
        return ""
    with suppress(OSError), open(path, encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or "another process"
    return ""
