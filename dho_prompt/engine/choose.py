"""Which engine runs: the real Dassl when it is installed, else the embedded one."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

VARIABLE = "DHO_PROMPT_ENGINE"
WORKS_WITH = "Dassl 0.6.3 is known to work here, on torch 2.1.2 with numpy 1.26 and on torch 2.15 with numpy 2.4"
_NEEDS = "It needs wilds (2.0 works), gdown, scipy, scikit-learn, yacs and tabulate"


def choose_engine() -> str:
    """``"dassl"`` or ``"embedded"``.

    The environment variable ``DHO_PROMPT_ENGINE`` forces one; else Dassl is used when Python finds a package of that
    name.

    Raises:
        ValueError: the variable holds anything else.
    """
    forced = os.environ.get(VARIABLE, "")
    if forced not in ("", "dassl", "embedded"):
        raise ValueError(f"{VARIABLE} is '{forced}'; allowed: dassl, embedded, or unset to use Dassl where installed")
    if forced:
        return forced
    return "dassl" if "dassl" in sys.modules or find_spec("dassl") is not None else "embedded"


def import_dassl() -> Any:
    """Import the parts of Dassl that the trainers use.

    Raises:
        ImportError: Dassl is there but broken, or was asked for and is not there.
    """
    try:
        for module in (
            "config",
            "data",
            "data.datasets",
            "data.transforms",
            "data.data_manager",
            "engine",
            "evaluation",
        ):
            import_module(f"dassl.{module}")
        return import_module("dassl")
    except Exception as error:
        raise ImportError(
            f"Dassl cannot be imported ({type(error).__name__}: {error}). {WORKS_WITH}. {_NEEDS}. Repair or remove "
            f"it, or set {VARIABLE}=embedded to use the embedded engine in its place"
        ) from error
