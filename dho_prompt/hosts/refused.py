"""Settings of our own trainers that a host's step cannot follow."""

from __future__ import annotations

from typing import Any

ONLY = (  # node, key and the one value that does nothing
    ("OPTIM", "ACCUMULATE", 1),
    ("OPTIM", "CLIP_NORM", 0.0),
    ("OPTIM", "EMA", 0.0),
    ("TRAINER.DHO", "OBJECTIVE", "dho"),
)


def refuse_settings(cfg: Any, host: str) -> None:
    """Refuse what would be passed over without a word.

    Args:
        cfg: of the run.
        host: name of the host's trainer, for the message.

    Raises:
        ValueError: names the key and what it may be.
    """
    for node, key, value in ONLY:
        found = (cfg.OPTIM if node == "OPTIM" else cfg.TRAINER.DHO).get(key, value)
        if found != value:
            raise ValueError(
                f"{node}.{key} is {found!r}, which {host}'s own step cannot follow; leave it at {value!r}, or use one "
                "of this package's trainers"
            )
    if cfg.MODEL.BACKBONE.get("STORE", ""):
        raise ValueError(
            f"MODEL.BACKBONE.STORE is {cfg.MODEL.BACKBONE.STORE!r}, but {host}'s own step encodes images itself; leave "
            "it empty (TRAINER.DHO.TEACHER.STORE works in a host too)"
        )
    if cfg.TRAINER.DHO.HEAD == "nonlinear":
        raise ValueError("TRAINER.DHO.HEAD is nonlinear; in a host it takes cosine, linear or scaled")
