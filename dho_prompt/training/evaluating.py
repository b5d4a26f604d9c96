"""Whether a trainer is built to be trained or to evaluate a trained run, which does without a teacher."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

FLAG = "--eval-only"  # of every train.py of the CoOp family
_SAID: ContextVar[bool | None] = ContextVar("evaluating", default=None)


@contextmanager
def evaluating(only: bool) -> Iterator[None]:
    """While inside, trainers are built for an evaluation, or are not, whatever the command line is."""
    token = _SAID.set(only)
    try:
        yield
    finally:
        _SAID.reset(token)


def evaluates_only() -> bool:
    """Whether a trainer that is built now will not be trained; in a host's train.py its command line tells."""
    said = _SAID.get()
    # argparse takes the beginning of a flag for it
    return any(len(word) > len("--e") and FLAG.startswith(word) for word in sys.argv[1:]) if said is None else said
