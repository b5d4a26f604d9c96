"""DHO (Dual-Head Optimization) for CLIP prompt tuning.

:func:`fit` trains, :class:`Predictor` predicts. The parts are ordinary objects: :class:`DHOLoss`, the heads and
:func:`blend` need PyTorch alone. :func:`with_dho` and :func:`extend_cfg` add DHO to a Dassl-style code base. A name is
imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dho_prompt.config import extend_cfg
    from dho_prompt.fitting import FinishedRun, fit
    from dho_prompt.heads import CosineHead, LinearHead, make_head
    from dho_prompt.hosts.with_dho import with_dho
    from dho_prompt.inference import blend, search_mix
    from dho_prompt.losses import DHOLoss, kd_divergence
    from dho_prompt.predictor import Predictions, Predictor

__version__ = "0.1.0"
__all__ = [
    "CosineHead",
    "DHOLoss",
    "FinishedRun",
    "LinearHead",
    "Predictions",
    "Predictor",
    "blend",
    "extend_cfg",
    "fit",
    "kd_divergence",
    "make_head",
    "search_mix",
    "with_dho",
]

_HOME = {  # no module may be called as one of the names: it would take its place
    **dict.fromkeys(("CosineHead", "LinearHead", "make_head"), "heads"),
    **dict.fromkeys(("DHOLoss", "kd_divergence"), "losses"),
    **dict.fromkeys(("blend", "search_mix"), "inference"),
    **dict.fromkeys(("FinishedRun", "fit"), "fitting"),
    **dict.fromkeys(("Predictions", "Predictor"), "predictor"),
    "extend_cfg": "config",
    "with_dho": "hosts.with_dho",
}


if not TYPE_CHECKING:  # a type checker knows the names above, and no others

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            return getattr(import_module(f"dho_prompt.{_HOME[name]}"), name)
        raise AttributeError(f"module 'dho_prompt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
