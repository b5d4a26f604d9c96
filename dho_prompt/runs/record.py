"""The content of a result file: what was measured, and the protocol it was measured by."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dho_prompt.config import plain
from dho_prompt.engine import ENGINE, ENGINE_VERSION

MEASURED = ("accuracy", "ece", "classes")


def result_record(
    cfg: Any,
    measured: dict[str, dict[str, Any]],
    split: dict[str, Any] | None,
    device: str,
    evaluated: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of ``results.json`` or, for a trained run that was loaded, ``evaluation.json``.

    Accuracies and calibration errors (``ece``) are in percent, by test set and head. ``classes`` says how many classes
    a set has and among how many its images were scored.

    Args:
        cfg: of the run.
        measured: :attr:`dho_prompt.runs.evaluation.Evaluation.measured`.
        split: content of ``split.json``; its images are counted, not named. None where it is not known.
        device: in words.
        evaluated: the trained run that was loaded, or None for a run that was trained here.
    """
    return {
        "trainer": cfg.TRAINER.NAME,
        "dataset": cfg.DATASET.NAME,
        "shots": cfg.DATASET.NUM_SHOTS,
        "seed": cfg.SEED,
        **{kind: {name: found[kind] for name, found in measured.items()} for kind in MEASURED},
        "split": None if split is None else {name: value for name, value in split.items() if name != "images"},
        "epochs": cfg.OPTIM.MAX_EPOCH,
        "device": device,
        "engine": f"{ENGINE} {ENGINE_VERSION}",
        "versions": versions(),
        **({} if evaluated is None else {"evaluated": evaluated}),
        "config": plain(cfg),
    }


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version()}
    for package in ("dho-prompt", "torch", "torchvision", "open_clip_torch", "dassl"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    commit = _commit()
    return {**found, "commit": commit} if commit else found


def _commit() -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
