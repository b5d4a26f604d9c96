"""A checksum inside the content of a JSON file, so that no damage in it passes for content."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

SEAL = "sha256"  # the entry of a sealed mapping


def seal(content: dict[str, Any]) -> dict[str, Any]:
    """``content`` with the SHA-256 of everything else in it under ``sha256``.

    It is that of the values, not of the text: another order or layout of the file leaves it right.

    Args:
        content: what JSON can hold.

    Example:
        >>> unseal(seal({"alpha": 0.5}))
        {'alpha': 0.5}
    """
    as_read = json.loads(json.dumps(content))  # where names that are no texts have become texts
    return {**content, SEAL: _digest(as_read, SEAL)}


def unseal(content: dict[str, Any]) -> dict[str, Any]:
    """What was given to :func:`seal`, as JSON holds it; content that nobody sealed comes back as it is.

    Raises:
        ValueError: it is not what was sealed.
    """
    if SEAL in content:
        if content[SEAL] != _digest(content, SEAL):
            raise ValueError(f"its content does not match its checksum {SEAL!r}")
        return {name: value for name, value in content.items() if name != SEAL}
    for name, value in content.items():
        if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) and value == _digest(content, name):
            raise ValueError(f"its entry {name!r} was {SEAL!r}")
    return content


def _digest(content: dict[str, Any], without: str) -> str:
    sealed = {name: value for name, value in content.items() if name != without}
    return hashlib.sha256(json.dumps(sealed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
