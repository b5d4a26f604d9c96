"""Which names a host's code uses, without running it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType
from typing import Any

from dho_prompt.hosts.own import is_engines

EPOCHS = {"MAX_EPOCH", "max_epoch"}


def names_in(code: CodeType) -> set[str]:
    """Globals and attributes that a function's code names, those of the functions within it included."""
    inner = [names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)


def names_used(host: type) -> set[str]:
    """What the methods of a host's own classes name, and the functions and classes of its files that they use."""
    used: set[str] = set()
    waiting = [function for cls in host.__mro__ if not is_engines(cls) for function in _functions(cls)]
    done: set[int] = set()
    while waiting:
        function = waiting.pop()
        if id(function) in done:
            continue
        done.add(id(function))
        found = names_in(function.__code__)
        used |= found
        for part in (function.__globals__.get(name) for name in found):
            if getattr(part, "__module__", None) == function.__module__:
                waiting += _functions(part)
    return used


def counts_epochs(host: type) -> bool:
    """Whether a host does something that depends on the number of epochs, as PromptSRC's average of its prompts."""
    return not EPOCHS.isdisjoint(names_used(host))


def _functions(part: Any) -> Iterator[Any]:
    parts = vars(part).values() if isinstance(part, type) else [part]
    for value in parts:
        value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        value = inspect.unwrap(value) if callable(value) else value
        if inspect.isfunction(value):
            yield value
