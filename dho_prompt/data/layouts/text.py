"""Lists and class names as people save them: UTF-8 with or without a mark at its start, UTF-16, Latin-1."""

from __future__ import annotations

import codecs
import os
from pathlib import Path


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file that hold something, stripped, each with its number from 1.

    A file that is not UTF-8 is read as Latin-1, and a note names the first line in question: every byte is a character
    there, so a name of another encoding comes out wrong.

    Raises:
        ValueError: it is no text.
    """
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16", errors="replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            text = content.decode("latin-1")
            number = content.count(b"\n", 0, error.start) + 1
            line = text.split("\n")[number - 1].strip()
            print(
                f"Note: {path} is not UTF-8 and is read as Latin-1: line {number} as {line!r}. If that is wrong, save "
                "the file as UTF-8"
            )
    if "\0" in text:
        raise ValueError(f"{path} is no text file")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def first_word(line: str) -> tuple[str, str]:
    """A stripped line's first word and the rest, whatever spaces or tabs lie between; the rest may be empty."""
    word, *rest = line.split(None, 1)
    return word, rest[0] if rest else ""


def is_missing(path: Path) -> str:
    """What to say of a file that is not there."""
    return "is a link that leads to no file" if os.path.islink(path) else "is missing"
