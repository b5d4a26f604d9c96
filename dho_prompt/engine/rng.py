"""Every random generator a run draws from: its seed, and its state as plain numbers and tensors."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def set_random_seed(seed: int) -> None:
    """Seed Python, NumPy and torch on every device. 0 is a seed like any other.

    Raises:
        ValueError: the seed is negative or does not fit 32 bits.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in 0 .. 2**32 - 1, not {seed}; leave SEED negative for an unseeded run")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)  # all devices


def rng_state() -> dict[str, Any]:
    """States of Python's, NumPy's and torch's generators (CPU and every GPU); no pickled objects."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached_gauss = np.random.get_state()
    return {
        "python": {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss},
        "numpy": {
            "keys": torch.from_numpy(keys.astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached_gauss": float(cached_gauss),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_rng_state(state: dict[str, Any], say: bool = True) -> None:
    """Restore what :func:`rng_state` returned. With another number of GPUs theirs are left alone, which is said."""
    python, arrays = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    keys = arrays["keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, arrays["position"], arrays["has_gauss"], arrays["cached_gauss"]))
    torch.set_rng_state(state["torch"].cpu())
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if len(state["cuda"]) == count:
        torch.cuda.set_rng_state_all([gpu.cpu() for gpu in state["cuda"]])
    elif say:
        print(
            f"The checkpoint holds the random state of {len(state['cuda'])} GPUs, this machine has {count}: "
            "draws on a GPU will differ from an uninterrupted run"
        )


@contextmanager
def untouched_rng() -> Iterator[None]:
    """Give every generator back the state it had, whatever is drawn inside."""
    state = rng_state()
    try:
        yield
    finally:
        set_rng_state(state)


def why_no_rng_state(state: Any) -> str:
    """Why :func:`set_rng_state` cannot restore something that a file holds, in words; "" if it can."""
    try:
        with untouched_rng():
            set_rng_state(state, say=False)
    except Exception as error:  # whatever a broken state makes of three libraries
        return f"{type(error).__name__}: {error}"
    return ""
