"""Unpack archives from the network into one folder and nowhere else, and not beyond what they may hold."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tqdm import tqdm

DAMAGE = (tarfile.ReadError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, OSError)

# Archives of images grow by a few percent. SUN397, the largest of them, takes 40 GB in 110,000 files
MOST_BYTES = 200 * 10**9
MOST_FILES = 2_000_000
MOST_TIMES = 20  # the archive's own size, where that is more than FREE_BYTES
FREE_BYTES = 100 * 10**6
BLOCK = 4096  # what a file takes at least
LONGEST_READ = 16 << 20  # tarfile reads data in small pieces, but a header, which may claim any size, at once


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar (of any compression) or zip file.

    Members with absolute names or ``..`` are refused, and so are devices, and links that lead out of the folder (all
    links where Python's tarfile has no filters, and in zip files). An archive that expands to more than 20 times its
    size (above 100 MB), to 200 GB or two million files is refused where it passes the limit. On any failure the folder
    is removed.

    Args:
        archive: the file.
        folder: made anew; must not exist.

    Raises:
        ValueError: the archive is damaged or cut short, encrypted or of an unknown compression, or it is refused.
        OSError: the disk is full, or ``folder`` cannot be written.
    """
    folder.mkdir(parents=True)
    try:
        limit = _Limit(archive)
        if zipfile.is_zipfile(archive):
            _unzip(archive, folder, limit)
        else:
            _untar(archive, folder, limit)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, DAMAGE) and getattr(error, "errno", None) is None:
            raise ValueError(f"{archive} is cut short or damaged ({error})") from error
        if isinstance(error, RuntimeError):  # zipfile's for encryption and for a compression that it has not
            raise ValueError(f"{archive} cannot be unpacked: {error}; unpack it with a program that can") from error
        raise


class _Limit:
    """Counts what is written, and stops an archive made to fill the disk."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.bytes = self.files = 0
        self.most = min(MOST_BYTES, max(FREE_BYTES, MOST_TIMES * archive.stat().st_size))

    def add(self, size: int) -> None:
        """Count a member before it is written."""
        self.files += 1
        self.bytes += max(size, BLOCK)
        if self.bytes > self.most or self.files > MOST_FILES:
            raise ValueError(
                f"{self.archive} is refused: it expands to more than {self.most / 1e6:,.0f} MB or {MOST_FILES:,} files "
                f"({self.archive.stat().st_size / 1e6:,.1f} MB packed), as no archive of images does. If you trust it, "
                "unpack it by hand"
            )


def _untar(archive: Path, folder: Path, limit: _Limit) -> None:
    with _decompressed(archive) as content, tarfile.open(fileobj=_InPieces(archive, content), mode="r:") as tar:
        for member in tqdm(tar, desc=f"unpacking {archive.name}", unit=" files"):
            _refuse_escape(archive, member.name)
            limit.add(member.size)
            if hasattr(tarfile, "data_filter"):
                try:
                    tar.extract(member, folder, filter="data")
                except tarfile.FilterError as error:
                    raise ValueError(f"{archive} is refused: {error}") from error
            elif member.isfile() or member.isdir():
                member.mode = 0o755 if member.isdir() else 0o644
                tar.extract(member, folder)
            else:
                raise ValueError(f"{archive} is refused: its member {member.name!r} is a link or a device")


def _decompressed(archive: Path) -> IO[bytes]:
    with open(archive, "rb") as file:
        start = file.read(6)
    for mark, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if start.startswith(mark):
            return opener(archive, "rb")
    return open(archive, "rb")


class _InPieces:
    """A file that does not give more than a few megabytes at once."""

    def __init__(self, archive: Path, content: Any) -> None:
        self.archive, self.content = archive, content
        self.seek, self.tell = content.seek, content.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LONGEST_READ:
            raise ValueError(f"{self.archive} is refused: it has a header of {size:,} bytes")
        return self.content.read(size)


def _unzip(archive: Path, folder: Path, limit: _Limit) -> None:
    with zipfile.ZipFile(archive) as content:
        for member in tqdm(content.infolist(), desc=f"unpacking {archive.name}", unit=" files"):
            _refuse_escape(archive, member.filename)
            limit.add(member.file_size)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise ValueError(f"{archive} is refused: its member {member.filename!r} is a link")
            target = folder / member.filename
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with content.open(member) as source, open(target, "wb") as copy:
                shutil.copyfileobj(source, copy)


def _refuse_escape(archive: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
        raise ValueError(f"{archive} is refused: its member {name!r} lies outside the folder")
