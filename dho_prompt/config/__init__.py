"""Configuration keys: declared by the parts that they belong to, added to Dassl's, merged strictly."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from yacs.config import CfgNode

from dho_prompt.config.dassl_ranges import DASSL
from dho_prompt.config.ranges import Range, as_range
from dho_prompt.config.settings import as_float, flat, literal, read_settings, refuse_unplain
from dho_prompt.config.unknown import explain_unknown_keys, hint

PARTS = ("methods", "distill", "teachers")  # packages whose modules declare keys of their own
PRECISIONS = ("fp32", "fp16", "amp", "bf16")
HEADS = ("linear", "cosine")
HEAD_STARTS = ("language", "language_unit", "kaiming")


class Setting(NamedTuple):
    """A configuration key.

    Attributes:
        default: its value if nobody sets it; its type is the type that values must have.
        about: one line for the documentation.
        allowed: its range, or the only texts that it takes; () for any value of the type.
        fractions: takes fractions although the default is whole. Hosts declare such keys with whole defaults, and
            their yacs then refuses 12.5 where the default is 25.
    """

    default: Any
    about: str
    allowed: Range | Sequence[str] = ()
    fractions: bool = False


_DECLARED: dict[str, Setting] = {}  # by dotted key


def declare(node: str, settings: dict[str, Setting]) -> None:
    """Make a part's keys known. A module calls it where the part is defined, before any configuration is made.

    Args:
        node: dotted name of the node, such as ``TRAINER.COOP``; made where it is missing; "" for none.
        settings: by the keys' own names.

    Raises:
        ValueError: a key is declared already, differently.

    Example:
        >>> declare("TRAINER.COOP", {"N_CTX": Setting(16, "context tokens")})
    """
    for name, setting in settings.items():
        key = f"{node}.{name}" if node else name
        if _DECLARED.setdefault(key, setting) != setting:
            raise ValueError(f"the configuration key {key} is declared twice, with different settings")


def declared() -> dict[str, Setting]:
    """Every declared key, with those of all parts that come with the package."""
    import_module("dho_prompt.config.keys")
    for part in PARTS:
        package = import_module(f"dho_prompt.{part}")
        for module in pkgutil.iter_modules(package.__path__):
            import_module(f"{package.__name__}.{module.name}")
    return dict(_DECLARED)


def extend_cfg(cfg: CfgNode) -> CfgNode:
    """Add our nodes to a Dassl config; keys that a host has already added keep the host's values.

    Call it where a CoOp-style ``train.py`` calls its own ``extend_cfg``, before any file is merged.

    Returns:
        ``cfg`` itself.
    """
    explain_unknown_keys(declared)
    for key, setting in declared().items():
        node = cfg
        *parents, leaf = key.split(".")
        for name in parents:
            if name not in node:
                node[name] = CfgNode()
            node = node[name]
        if leaf not in node:
            node[leaf] = setting.default
    return cfg


def check_extended(cfg: CfgNode) -> None:
    """Refuse a config that :func:`extend_cfg` was not called for.

    Raises:
        ValueError: says what to call, and where.
    """
    if "DHO" not in cfg.TRAINER or "SCHEDULE_BY" not in cfg.OPTIM:
        raise ValueError(
            "the configuration has no TRAINER.DHO; call dho_prompt.extend_cfg(cfg) where the host's train.py calls its "
            "own extend_cfg(cfg)"
        )


def ranges() -> dict[str, Range]:
    """What each key allows; keys of somebody else's, and those that take any value of their type, have no entry."""
    own = {key: as_range(setting.allowed, setting.default) for key, setting in declared().items()}
    return {**DASSL, **{key: allowed for key, allowed in own.items() if allowed is not None}}


def check_settings(cfg: CfgNode, *nodes: str) -> None:
    """Refuse a value that its key does not allow.

    Args:
        nodes: dotted names of nodes, with all below them, and of keys to look at; none for all.

    Raises:
        ValueError: names the key, its value and what is allowed.
    """
    inside, known = tuple(f"{node}." for node in nodes), ranges()
    for key in known_keys(cfg):
        if key not in known or (nodes and not f"{key}.".startswith(inside)):
            continue
        value = _leaf(cfg, key)
        if value not in known[key]:
            shown = repr(value)
            shown = shown if len(shown) <= 200 else f"{shown[:200]}..."
            raise ValueError(f"{key} is {shown}; {known[key].rule}")


def known_keys(cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    """All keys of ``cfg`` with their dots, leaves only."""
    for name, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from known_keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def merge_file(cfg: CfgNode, path: str) -> None:
    """Merge a YAML file into ``cfg``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML (see :func:`read_settings`), a key is unknown (the message names the nearest known
            ones), or a value has another type or is infinite or no number.
    """
    _merge(cfg, read_settings(path), where=path)


def merge_opts(cfg: CfgNode, opts: Sequence[str]) -> None:
    """Merge ``KEY VALUE`` pairs from the command line into ``cfg``; the errors are those of :func:`merge_file`."""
    if len(opts) % 2:
        raise ValueError(f"overrides come in pairs KEY VALUE; got {len(opts)} words: {' '.join(opts)}")
    values = {key: literal(value) for key, value in zip(opts[0::2], opts[1::2])}
    _merge(cfg, values, where="the command line")


def merge_plain(cfg: CfgNode, settings: dict[str, Any], where: str) -> None:
    """Merge what :func:`plain` gave, read from the file ``where``; the errors are those of :func:`merge_file`."""
    _merge(cfg, dict(flat(settings)), where)


def _merge(cfg: CfgNode, values: dict[str, Any], where: str) -> None:
    known = set(known_keys(cfg))
    for key, value in values.items():
        if key not in known:
            inside = [name for name in sorted(known) if name.startswith(f"{key}.")]
            if inside:
                raise ValueError(f"{key} in {where} is {value!r}, but it is a group of settings such as {inside[0]}")
            raise ValueError(f"unknown configuration key {key} in {where}{hint(key, known)}")
        _set(cfg, key, value, where)


def _set(cfg: CfgNode, key: str, value: Any, where: str) -> None:
    default = _leaf(cfg, key)
    if isinstance(value, str) and not isinstance(default, str):
        value = literal(value)  # YAML reads (32, 32) and 1e-5 as text
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(default, float) and is_number:
        value = as_float(value)  # yacs itself refuses 1 where the default is 1.0
    elif isinstance(value, bool) and key in _DECLARED and "on" in _choices(key):
        value = "on" if value else "off"
    elif isinstance(default, str) and is_number:
        value = str(value)
    elif isinstance(default, (tuple, list)) and isinstance(value, (tuple, list)):
        value = type(default)(value)
    fits = type(value) is type(default) or (is_number and key in _DECLARED and _DECLARED[key].fractions)
    if default is not None and not fits:
        raise ValueError(
            f"{key} in {where} is {value!r} ({type(value).__name__}); it takes a {type(default).__name__} "
            f"such as {default!r}"
        )
    refuse_unplain(value, f"{key} in {where} is {value!r}")
    *parents, leaf = key.split(".")
    for name in parents:
        cfg = cfg[name]
    cfg[leaf] = value


def _choices(key: str) -> Sequence[str]:
    allowed = _DECLARED[key].allowed
    return () if isinstance(allowed, Range) else allowed


def _leaf(cfg: CfgNode, key: str) -> Any:
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def check_choice(key: str, value: str, allowed: Sequence[str]) -> None:
    """Raise a ValueError that names the allowed values of a configuration key."""
    if value not in allowed:
        raise ValueError(f"{key} is {value!r}; allowed are {', '.join(allowed)}")


def differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> list[str]:
    """Lines ``KEY: old -> new`` for two configs given as nested dicts (JSON values)."""
    lines = []
    for key in sorted(set(before) | set(after)):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {old!r} -> {new!r}")
    return lines


def plain(cfg: CfgNode) -> dict[str, Any]:
    """``cfg`` as nested dicts of JSON values (tuples become lists)."""
    return {
        key: plain(value) if isinstance(value, CfgNode) else list(value) if isinstance(value, tuple) else value
        for key, value in cfg.items()
    }
