"""What goes wrong inside a host's own code or Dassl's, said in words that help."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError

import numpy
import torch

from dho_prompt.engine.choose import WORKS_WITH

LIBRARIES = ("torch", "torchvision", "numpy", "PIL", "scipy", "sklearn", "yacs", "contextlib", "pickle", "functools")


@contextmanager
def dassl_may_break(host: type) -> Iterator[None]:
    """Say which versions work when Dassl's own code meets a library that has changed under it.

    Raises:
        RuntimeError: an error of the kind that a changed library causes, and Dassl's code is the innermost that it came
            through, libraries aside.
    """
    try:
        yield
    except (TypeError, AttributeError, ImportError, NameError, UnpicklingError) as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        names = [(frame.f_globals.get("__name__", ""), frame.f_code.co_name) for frame in frames]
        name, function = [name for name in names if name[0].split(".")[0] not in LIBRARIES][-1]
        if not name.startswith("dassl."):
            raise
        raise RuntimeError(
            f"Dassl breaks in {name}.{function} under {host.__name__} ({type(error).__name__}: {error}), with torch "
            f"{torch.__version__} and numpy {numpy.__version__}. {WORKS_WITH}; what is known to break is stood in for, "
            "and this is not"
        ) from error


@contextmanager
def gpu_needed(host: type) -> Iterator[None]:
    """Say so when the host's own code calls for a GPU, or for float16 that only a GPU has here, and there is none."""
    try:
        yield
    except (AssertionError, RuntimeError) as error:
        if not torch.cuda.is_available() and ("CUDA" in str(error) or "NVIDIA" in str(error)):
            raise ValueError(
                f"{host.__name__} moves tensors to a GPU in its own code, which DHO leaves as it is, and PyTorch finds "
                f"no GPU here ({str(error).splitlines()[0]}); run it on a machine with one"
            ) from error
        if "implemented for 'Half'" in str(error):
            raise ValueError(
                f"{host.__name__} computes in float16 here, which torch {torch.__version__} cannot do on the CPU "
                f"({str(error).splitlines()[0]}); use a GPU, a newer torch, or fp32 where the host has it"
            ) from error
        raise
