"""Checksums of files: whether one still holds what was written into it."""

from __future__ import annotations

import errno
import hashlib
import re
import zipfile
from pathlib import Path

from dho_prompt.files import PathLike

CHUNK = 1 << 20
_FOLDER = 0x10  # in the attributes of a record: torch takes it for a folder and returns memory that it never filled


def sha256_of(path: PathLike) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def hub_digest(path: PathLike) -> str:
    """The SHA-256 by which the Hugging Face hub's cache names a large file's content; empty for other files."""
    name = Path(path).resolve().name
    return name if re.fullmatch("[0-9a-f]{64}", name) else ""


def records_match(path: PathLike) -> bool:
    """Compare the records of an archive in torch's zip format with their checksums (CRC-32).

    ``torch.save`` writes them, ``torch.load`` does not look at them.

    Returns:
        Whether there are any: False for torch's old format, and for archives that were written without them
        (``torch.serialization.set_crc32_options(False)``).

    Raises:
        ValueError: a record, or the table of the records, is damaged.
    """
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            records = [record for record in archive.infolist() if record.file_size]
            if all(record.CRC == 0 for record in records):
                return False
            for record in records:
                if record.external_attr & _FOLDER:
                    raise ValueError(f"the record {record.filename!r} claims to be a folder")
                with archive.open(record) as content:
                    while content.read(CHUNK):  # compares the checksum at the end
                        pass
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # that is a place before the file's beginning
            raise
        raise ValueError(f"the table of its records is damaged: {error}") from error
    except Exception as error:  # a damaged table can raise nearly anything
        raise ValueError(f"its records do not match their checksums: {error or type(error).__name__}") from error
    return True
