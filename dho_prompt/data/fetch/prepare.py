"""Fetch a data set and lay it out: resumable, checked, and never half done in its place."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from dho_prompt.data.fetch.archives import unpack
from dho_prompt.data.fetch.sources import DRIVE, Download, Source
from dho_prompt.data.layouts.imagenet_folders import read_classnames
from dho_prompt.data.layouts.split_files import read_split
from dho_prompt.data.layouts.table import IMAGENET, Layout

BLOCK = 1 << 20


def prepare(layout: Layout, root: Path, source: Source) -> None:
    """Fetch what may be fetched of a data set into its folder, and print what has to be done by hand.

    Downloads and unpacking happen in ``.<folder>.preparing`` beside the data set's folder; finished parts move into
    place by renaming. An interrupted call is continued by the same command. What is there already is left as it is.

    Args:
        layout: the data set's row of the table.
        root: the folder of the data sets.
        source: where it comes from.

    Raises:
        OSError: no connection, the disk is full, or the folder cannot be written to.
        ValueError: a download is not what it should be.
        ImportError: a file lies on Google Drive and gdown is not installed.
    """
    print(f"{layout.name}: licence: {source.licence}")
    if source.manual:
        print(f"{layout.name}, by hand, below {root}: {source.manual}")
    target = Path(os.path.realpath(root / layout.folder))  # renaming needs the same disk
    work = target.with_name(f".{target.name}.preparing")
    for download in source.downloads:
        if not _is_there(download, target, root):
            _get(layout, download, work, target)
    if work.exists():
        shutil.rmtree(work)


def _is_there(download: Download, target: Path, root: Path) -> bool:
    if download.name == "classnames.txt" and (root / IMAGENET.folder / download.name).is_file():
        return True  # ImageNet's copy serves all
    return all((target / place).exists() for place in _places(download))


def _places(download: Download) -> list[str]:
    return [place for _, place in download.moves] or [download.name]


def _get(layout: Layout, download: Download, work: Path, target: Path) -> None:
    _make(work, target)
    try:
        path = fetch(download, work)
        (_lay_out if download.moves else _keep)(download, path, target)
    except (OSError, ValueError) as error:
        unpack_it = f"unpack it, and put {' and '.join(_places(download))}" if download.moves else "put it"
        message = f"{layout.name}: {error}\nTo do it by hand, fetch {download.page}, {unpack_it} into {target}"
        raise (OSError if isinstance(error, OSError) else ValueError)(message) from error
    finally:
        if not any(work.iterdir()):
            work.rmdir()


def _make(work: Path, target: Path) -> None:
    """Make the working folder, and see before a download that its result can be put in place."""
    try:
        if target.exists() and not os.access(target, os.W_OK | os.X_OK):
            raise PermissionError(f"{target} is not writable")
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"nothing can be written in {work.parent} ({error}); name a folder that you may write to with --root "
            "FOLDER, or have this one made writable"
        ) from error


def fetch(download: Download, folder: Path) -> Path:
    """Download a file, or continue an interrupted download, and compare its MD5 sum.

    Returns:
        The file, complete.

    Raises:
        OSError: it cannot be fetched, e.g. without a network. What has arrived is kept to be continued.
        ValueError: its checksum is wrong. It is removed.
    """
    path = folder / download.name
    if not path.exists():
        part = path.with_name(f"{path.name}.part")
        if download.address.startswith(DRIVE):
            _fetch_from_drive(download, part)
        else:
            try:
                _fetch_by_http(download.address, part)
            except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
                raise OSError(f"{download.address} cannot be fetched ({error}); the same command goes on") from error
        if download.md5 and _md5(part) != download.md5:
            part.unlink()
            raise ValueError(f"{download.address} has not the MD5 sum {download.md5}; it was removed")
        os.replace(part, path)
    return path


def _fetch_by_http(address: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing behind what we have
            if error.headers.get("Content-Range", "").endswith(f"/{have}"):
                return
            part.unlink()
        raise
    with response:
        if response.status != 206:
            have = 0  # the server sends the whole file
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = tqdm(total=total, initial=have, desc=f"fetching {part.stem}", unit="B", unit_scale=True)
        with bar, open(part, "ab" if have else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    if total is not None and part.stat().st_size != total:
        raise OSError(f"the connection ended after {part.stat().st_size:,} of {total:,} bytes")


def _fetch_from_drive(download: Download, part: Path) -> None:
    try:
        import gdown
    except ImportError as error:
        raise ImportError(
            f"{download.name} lies on Google Drive: pip install gdown, or fetch {download.page} by hand"
        ) from error
    try:
        done = gdown.download(id=download.address[len(DRIVE) :], output=str(part), resume=True)
    except Exception as error:  # gdown has classes of its own for refusals, and lets those of requests through
        raise OSError(f"{download.page} cannot be fetched ({error}); the same command goes on") from error
    if not done or not part.exists():
        raise OSError(f"{download.page} cannot be fetched (Google Drive refused)")


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _lay_out(download: Download, archive: Path, target: Path) -> None:
    """Unpack an archive and move its parts into place."""
    unpacked = archive.with_name(f"{archive.name}.unpacked")
    shutil.rmtree(unpacked, ignore_errors=True)  # of an interrupted call
    try:
        unpack(archive, unpacked)
        if download.inner:
            inner = unpacked / download.inner
            unpack(_existing(inner, download), unpacked / "inner")
            unpacked_parts = unpacked / "inner"
        else:
            unpacked_parts = unpacked
        for name, _ in download.moves:
            _existing(unpacked_parts / name, download)
    except ValueError:
        archive.unlink()
        shutil.rmtree(unpacked, ignore_errors=True)
        raise
    target.mkdir(parents=True, exist_ok=True)
    for name, place in download.moves:
        if not (target / place).exists():
            os.replace(unpacked_parts / name, target / place)
    shutil.rmtree(unpacked)
    archive.unlink()


def _existing(path: Path, download: Download) -> Path:
    if not path.exists():
        raise ValueError(f"{download.name} does not hold {path.name}: it is not the expected archive and was removed")
    return path


def _keep(download: Download, path: Path, target: Path) -> None:
    """Move a single file into place, once it can be read."""
    try:
        if path.suffix == ".json":
            read_split(path)
        else:
            read_classnames(path)
    except ValueError as error:
        path.unlink()
        raise ValueError(f"what {download.page} gives is not {download.name} ({error}); it was removed") from error
    target.mkdir(parents=True, exist_ok=True)
    os.replace(path, target / download.name)
