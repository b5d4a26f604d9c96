"""Unpack archives from the network into one folder and nowhere else."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

DAMAGE = (tarfile.ReadError, zipfile.BadZipFile, EOFError, zlib.error, OSError)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar (of any compression) or zip file.

    Members with absolute names or ``..`` are refused, and so are devices, and links that lead out of the folder (all
    links where Python's tarfile has no filters, and in zip files). On any failure the folder is removed.

    Args:
        archive: the file.
        folder: made anew; must not exist.

    Raises:
        ValueError: the archive is damaged or cut short, or a member is refused.
        OSError: the disk is full, or ``folder`` cannot be written.
    """
    folder.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            _unzip(archive, folder)
        else:
            _untar(archive, folder)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, DAMAGE) and getattr(error, "errno", None) is None:
            raise ValueError(f"{archive} is cut short or damaged ({error})") from error
        raise


def _untar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive, "r:*") as tar:
        for member in tqdm(tar, desc=f"unpacking {archive.name}", unit=" files"):
            _refuse_escape(archive, member.name)
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


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        for member in tqdm(content.infolist(), desc=f"unpacking {archive.name}", unit=" files"):
            _refuse_escape(archive, member.filename)
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
