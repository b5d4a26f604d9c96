"""Keys that a configuration does not have: the nearest that it has, in a host's own merges too."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from functools import wraps
from typing import Any, Callable

from yacs.config import CfgNode

MERGES = ("merge_from_file", "merge_from_list", "merge_from_other_cfg")
OURS = "TRAINER.DHO"
NEAR = 0.8  # how alike a key of another node must be to one of ours to be taken for it
FLOAT_NOT_INT = "Type mismatch (<class 'float'> vs. <class 'int'>)"
POINT = "; write it with a point, such as 1.0"  # yacs does not convert
_YACS = re.compile(r"Non-existent (?:config )?key: ([\w.]+)")  # its words, of both ways to merge


def hint(key: str, known: Collection[str]) -> str:
    """``; did you mean ...?`` with the known keys that are nearest, or ""."""
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    near = near or [name for name in sorted(known) if name.endswith("." + key.split(".")[-1])][:3]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def explain_unknown_keys(declared: Callable[[], Collection[str]]) -> None:
    """From now on yacs's own merges, which hosts use, say what is wrong with a key of ours; others are left alone.

    Only the words change: what was refused is refused, as a ValueError.

    Args:
        declared: gives our keys with their dots; called when a key is refused.
    """
    for name in MERGES:
        merge = getattr(CfgNode, name)
        if not hasattr(merge, "explains"):
            setattr(CfgNode, name, _explaining(merge, declared))


def _explaining(merge: Any, declared: Callable[[], Collection[str]]) -> Any:
    @wraps(merge)
    def merge_and_explain(cfg: CfgNode, *args: Any) -> Any:
        try:
            return merge(cfg, *args)
        except ValueError as error:
            if FLOAT_NOT_INT in str(error) and not str(error).endswith(POINT):  # one merge of yacs's calls another
                raise ValueError(f"{error}{POINT}") from error
            raise
        except (AssertionError, KeyError) as error:
            found = _YACS.search(str(error))
            message = _message(found[1], declared(), OURS.split(".")[1] in cfg.get("TRAINER", ())) if found else ""
            if not message:
                raise
            raise ValueError(message) from error

    merge_and_explain.explains = True
    return merge_and_explain


def _message(key: str, ours: Collection[str], extended: bool) -> str:
    """What to say of a key, or of a node, that a configuration has not; "" for one that is nothing of ours."""
    inside = f"{key}.".startswith(f"{OURS}.")
    if key in ours or any(name.startswith(f"{key}.") for name in ours) or (inside and not extended):
        known = key in ours or key == OURS
        return (
            f"the configuration has no {key} yet: call dho_prompt.extend_cfg(cfg) where the host's train.py calls its "
            f"own extend_cfg(cfg), before any file or option is merged{'' if known else hint(key, ours)}"
        )
    near = difflib.get_close_matches(key, [name for name in ours if name.startswith(OURS)], n=1, cutoff=NEAR)
    return f"unknown configuration key {key}{hint(key, ours)}" if inside or near else ""
