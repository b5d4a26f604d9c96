"""What of Dassl v0.6.3 is stood in for while a host's own methods run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from dho_prompt.engine import build_lr_scheduler, load_checkpoint, load_pretrained_weights

REPAIRS = {
    "build_lr_scheduler": build_lr_scheduler,
    "load_pretrained_weights": load_pretrained_weights,
}
WHY = {
    "build_lr_scheduler": "Dassl's stands still after a resume with warm-up, and is not built on torch 2.7 and later",
    "load_checkpoint": "Dassl's runs what is pickled in a file, and on torch 2.6 and later does not open its own files",
    "load_pretrained_weights": "Dassl's reads by its load_checkpoint",
}


@contextmanager
def repaired(host: type, method: str, read: dict[str, Any] | None = None) -> Iterator[None]:
    """While ``method`` of a host runs, the modules that define it see our schedules and checkpoint reader.

    Only names that stand for Dassl's own functions are replaced, in the globals of those modules, and put back
    afterwards; nothing of the host or of Dassl is edited.

    Args:
        host: the trainer class.
        method: one of its methods.
        read: checkpoints by absolute path that the reader gives as they are here, cut to the classes of a data set.
    """
    done: list[tuple[dict, str, Any]] = []
    try:
        for namespace in _namespaces(host, method):
            for name, ours in {**REPAIRS, "load_checkpoint": partial(_read_once, read or {})}.items():
                theirs = namespace.get(name)
                if (getattr(theirs, "__module__", None) or "").split(".")[0] == "dassl":
                    done.append((namespace, name, theirs))
                    namespace[name] = ours
        if done:
            reasons = "; ".join(f"{name} ({WHY[name]})" for name in sorted({name for _, name, _ in done}))
            print(f"dho_prompt stands in, during {host.__name__}.{method}, for {reasons}")
        yield
    finally:
        for namespace, name, theirs in done:
            namespace[name] = theirs


def repair() -> list[str]:
    """Let a host's own trainers run too, on a torch that Dassl does not know: call it behind train.py's imports.

    In every module that is imported by now, Dassl's functions that break are replaced by ours for good: its warm-up is
    not built on torch 2.7 and later, and its checkpoints are not opened on 2.6 and later.

    Returns:
        What was replaced, as ``module.name``.

    Example: in train.py, behind its imports::

        from dho_prompt.hosts.repairs import repair
        repair()  # --trainer CoOp runs
    """
    done = []
    for module in list(sys.modules.values()):
        for name, ours in {**REPAIRS, "load_checkpoint": load_checkpoint}.items():
            theirs = getattr(module, "__dict__", {}).get(name)
            if (getattr(theirs, "__module__", None) or "").split(".")[0] == "dassl":
                setattr(module, name, ours)
                done.append(f"{module.__name__}.{name}")
    if done:
        print(f"dho_prompt stands in for {', '.join(sorted({name.split('.')[-1] for name in done}))} of Dassl's")
    return done


def _read_once(read: dict[str, Any], fpath: str) -> Any:
    return read[os.path.abspath(fpath)] if os.path.abspath(fpath) in read else load_checkpoint(fpath, weights=True)


def _namespaces(host: type, method: str) -> list[dict]:
    """Globals of the modules whose classes define ``method`` for the host, without Dassl's own."""
    functions = [vars(cls)[method] for cls in host.__mro__ if method in vars(cls)]
    spaces = [getattr(function, "__globals__", {}) for function in functions]
    return list({id(space): space for space in spaces if space.get("__name__", "").split(".")[0] != "dassl"}.values())
