"""One planted fault."""

from __future__ import annotations

from typing import NamedTuple, Sequence, Tuple


class Fault(NamedTuple):
    """A change of one line.

    Attributes:
        name: what is wrong afterwards.
        file: below the repository.
        old: text that occurs exactly once in the file.
        new: what takes its place.
        tests: files or folders of tests that should notice.
    """

    name: str
    file: str
    old: str
    new: str
    tests: Tuple[str, ...]


def in_file(file: str, tests: Sequence[str], *changes: Tuple[str, str, str]) -> Tuple[Fault, ...]:
    """Faults of one file: (name, old text, new text) each."""
    return tuple(Fault(name, file, old, new, tuple(tests)) for name, old, new in changes)
