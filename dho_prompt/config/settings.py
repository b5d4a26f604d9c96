"""Settings as they are given: names and plain values, in YAML, JSON and on the command line; nothing that runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

ENDINGS = (".yaml", ".yml")
_TEXT = "tag:yaml.org,2002:str"


def read_settings(path: str) -> dict[str, Any]:
    """Value by dotted name, of a file of nested mappings.

    Args:
        path: of a ``.yaml`` or ``.yml`` file.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
        ValueError: it has another ending or is no YAML; a name is no text or stands twice; a value is something else
            than texts, numbers, truth values, null and lists of these. The message names the file and the line.
    """
    if Path(path).suffix.lower() not in ENDINGS:
        raise ValueError(
            f"the configuration file {path} has another ending than {' or '.join(ENDINGS)}; only such files are read, "
            "as text, so that no configuration runs code"
        )
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no configuration file {path}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a readable YAML configuration: {error}") from error
    settings: dict[str, Any] = {}
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _collect(loader, root, "", settings)
    except (_Refused, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable YAML configuration: {error}") from error
    return settings


class _Refused(ValueError):
    def __init__(self, node: Any, problem: str) -> None:
        super().__init__(f"line {node.start_mark.line + 1}: {problem}")


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise _Refused(self.peek_event(), "references (*name) are not read; write the values out")
        return super().compose_node(parent, index)


def _collect(loader: _Loader, node: yaml.Node, prefix: str, settings: dict[str, Any]) -> None:
    """Add what is below a node to the settings."""
    if not isinstance(node, yaml.MappingNode):
        raise _Refused(node, "names and their values are expected, as in OPTIM: {LR: 0.002}")
    seen = set()
    for name, value in node.value:
        if name.tag != _TEXT:
            shown = name.value if isinstance(name, yaml.ScalarNode) else "a list or mapping"
            raise _Refused(name, f"{shown} is no name of a setting; names are texts such as OPTIM")
        key = prefix + name.value
        if name.value in seen or key in settings:
            raise _Refused(name, f"{key} is set twice; keep one of the two")
        seen.add(name.value)
        if isinstance(value, yaml.MappingNode):
            _collect(loader, value, f"{key}.", settings)
        else:
            settings[key] = _plain(loader, value)


def _plain(loader: _Loader, node: yaml.Node) -> Any:
    value = loader.construct_object(node, deep=True)
    for entry in value if isinstance(value, list) else [value]:
        if entry is not None and not isinstance(entry, (str, int, float, list)):
            kind = type(entry).__name__
            raise _Refused(node, f"a {kind} is no value of a setting; put it in quotes if it is meant as text")
    return value


def flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted name, of nested dicts."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def literal(text: str) -> Any:
    """The Python literal that a text spells, else the text."""
    try:
        return CfgNode._decode_cfg_value(text)
    except (TypeError, RecursionError, MemoryError):  # {[]: 1}, or nested too deeply
        return text


def as_float(number: float) -> float:
    """A number as float; infinite where it is too large for one."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def refuse_unplain(value: Any, told: str) -> None:
    """Refuse what the record of a run, a JSON file, cannot hold.

    Args:
        told: the beginning of the message: what has this value.

    Raises:
        ValueError: it is, or has in it, an infinite number, not a number, or another kind than texts, numbers, truth
            values, None and lists.
    """
    if isinstance(value, (tuple, list)):
        for entry in value:
            refuse_unplain(entry, told)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{told}; numbers must be finite")
    elif value is not None and not isinstance(value, (str, int, float)):
        raise ValueError(f"{told}; values are texts, numbers, True, False, None and lists of them")
