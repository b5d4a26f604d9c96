"""DHO (Dual-Head Optimization) for CLIP prompt tuning.

The parts are ordinary objects: :func:`blend` and :class:`DHOLoss` need PyTorch alone; :func:`extend_cfg` adds our
configuration keys to a Dassl-style code base, whose registries ``import dho_prompt.trainers.coop_dho`` then joins.
"""

from typing import TYPE_CHECKING, Any

from dho_prompt.inference import blend
from dho_prompt.losses import DHOLoss

if TYPE_CHECKING:
    from dho_prompt.config import extend_cfg
    from dho_prompt.hosts.with_dho import with_dho

__version__ = "0.1.0"
__all__ = ["DHOLoss", "blend", "extend_cfg", "with_dho"]


def __getattr__(name: str) -> Any:
    if name == "extend_cfg":  # needs yacs, which the maths does not
        from dho_prompt.config import extend_cfg

        return extend_cfg
    if name == "with_dho":  # needs the trainers' packages
        from dho_prompt.hosts.with_dho import with_dho

        return with_dho
    raise AttributeError(f"module 'dho_prompt' has no attribute {name!r}")
