"""Why a file could not be written, and what to do about it."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

# number of the system's error -> what is wrong, what to do. While the content is written:
_CONTENT = {
    errno.ENOSPC: ("no space left to write {path}", "Free space in {folder}"),
    errno.EDQUOT: ("no space left in your quota to write {path}", "Free space in {folder}"),
    errno.EFBIG: ("{path} is larger than this process may write", "Raise the limit (ulimit -f unlimited)"),
    errno.EIO: ("an error of the disk while {path} was written", "Check the disk of {folder}"),
}
# when the folders and the file are made, and when it is put in its place:
_PLACE = {
    errno.EROFS: ("{path} is on a read-only file system", "Mount it writable"),
    errno.EACCES: ("{folder} is not writable for this user, so {path} is not written", "Make it writable"),
    errno.EPERM: ("{folder} is not writable for this user, so {path} is not written", "Make it writable"),
    errno.ENOENT: ("{folder} was removed while {path} was written", "Keep other processes out of it"),
    errno.ENOTDIR: ("{path} needs a folder where there is the file {file}", "Move that file away"),
    errno.EEXIST: ("{path} needs a folder where there is the file {file}", "Move that file away"),
    errno.EISDIR: ("{path} is a folder, where a file is to be written", "Move that folder away"),
    errno.ENAMETOOLONG: ("a name in {path} is longer than the file system takes (mostly 255 bytes)", "Shorten it"),
}


def unwritable(path: Path, error: BaseException, writing: bool) -> OSError | None:
    """The error to raise instead of one that stopped a file from being written.

    Args:
        path: the file.
        error: what was raised.
        writing: whether its content was being written, and not its folders and name made.

    Returns:
        With the number of the system's error and a message that names the path and the remedy; None if ``error`` has
        another cause.
    """
    if isinstance(error, UnicodeEncodeError) and not writing:
        return OSError(
            errno.EILSEQ,
            f"the path {ascii(os.fspath(path))} has letters that cannot be written in the locale's "
            f"{sys.getfilesystemencoding()}. Set a UTF-8 locale (LC_ALL=C.UTF-8), or another output folder",
        )
    cause = _system_error(error)
    known = _CONTENT if writing else {**_CONTENT, **_PLACE}
    if cause is None or cause.errno not in known:
        return None
    file = _file_among(path.parent) if cause.errno in (errno.ENOTDIR, errno.EEXIST) else None
    what, remedy = (words.format(path=path, folder=path.parent, file=file) for words in known[cause.errno])
    return OSError(
        cause.errno,
        f"{what} (what was there before is kept). {remedy}, or set another output folder, and run the same command "
        "again: it resumes",
    )


def _system_error(error: BaseException) -> OSError | None:
    if isinstance(error, OSError):
        return error
    # torch's zip writer reports a failed write as a RuntimeError, raised while the OSError is handled
    hidden = error.__context__ if isinstance(error, RuntimeError) else None
    return hidden if isinstance(hidden, OSError) else None


def _file_among(folder: Path) -> Path:
    """The part of a folder's path that is a file."""
    return next((part for part in (folder, *folder.parents) if part.is_file()), folder)
