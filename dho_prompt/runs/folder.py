"""What an output folder says about its run: which configuration it has, and whether it is finished."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dho_prompt.config import differences
from dho_prompt.data.choose.splits import read_record
from dho_prompt.files import PathLike, read_json, write_json

CONFIG, SPLIT, MIX, RESULTS, EVALUATION = "config.json", "split.json", "mix.json", "results.json", "evaluation.json"

# Keys that do not change the experiment: a run may be resumed with other values (another number of workers only
# draws other crops). A file of weights is none of them: another file is another model
FREE_KEYS = (
    "OUTPUT_DIR",
    "RESUME",
    "VERBOSE",
    "TORCH_THREADS",
    "DATASET.ROOT",
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.FIT_BATCH",
    "TRAIN.PRINT_FREQ",
    "TRAIN.CHECKPOINT_FREQ",
)

AGAIN = "delete it, and the command that made it makes it anew"
_RESULT = {"trainer": str, "dataset": str, "shots": int, "seed": int, "accuracy": dict, "config": dict}


def read_config(folder: PathLike) -> dict[str, Any]:
    """The configuration of the run in an output folder.

    Raises:
        ValueError: the file is damaged.
    """
    remedy = f"put a copy in its place (a finished run has one in {RESULTS}, under 'config'), or remove the folder"
    return read_json(Path(folder) / CONFIG, {"DATASET": dict, "OPTIM": dict, "TRAINER": dict}, remedy)


def read_result(path: PathLike, remedy: str = AGAIN) -> dict[str, Any]:
    """The content of a result file, of a run or of an evaluation.

    Args:
        path: the file.
        remedy: see :func:`dho_prompt.files.read_json`.

    Raises:
        ValueError: the file is damaged or is no result: it was tested on no image (without TEST.NO_TEST), or lacks
            what every result has.
    """
    result = read_json(path, _RESULT, remedy)
    images = [found.get("images") for found in result["accuracy"].values() if isinstance(found, dict)]
    test = result["config"].get("TEST")
    untested = isinstance(test, dict) and test.get("NO_TEST") is True
    if not untested and not any(isinstance(count, int) and count > 0 for count in images):
        raise ValueError(f"{path} names no test set with images; {remedy}")
    return result


def run_state(folder: PathLike, settings: dict[str, Any]) -> str:
    """Compare an output folder with the run that is about to use it.

    Args:
        folder: the output folder; it need not exist.
        settings: the configuration as nested dicts (:func:`dho_prompt.config.plain`).

    Returns:
        ``new``, ``interrupted`` or ``finished``.

    Raises:
        ValueError: the folder holds a run of another configuration; the message lists the differences.
    """
    folder = Path(folder)
    if not (folder / CONFIG).exists():
        return "new"
    refuse_other_run(read_config(folder), settings, folder)
    return "finished" if _has_results(folder) else "interrupted"


def _has_results(folder: Path) -> bool:
    if not (folder / RESULTS).exists():
        return False
    try:
        read_result(folder / RESULTS, "so the run counts as interrupted, and goes on")
    except ValueError as error:
        print(f"Note: {error}")
        return False
    return True


def refuse_other_run(before: dict[str, Any], after: dict[str, Any], folder: PathLike, own: bool = True) -> None:
    """Compare the configuration of what lies in a folder with that of the run that is about to go on from there.

    Args:
        before, after: configurations as nested dicts.
        folder: where the former was found.
        own: whether the run writes there too; from another run's folder it may go on with other settings, which are
            printed.

    Raises:
        ValueError: they differ in the run's own folder; the message lists the differences.
    """
    changed = differences(binding(before), binding(after))
    shown = "\n  ".join(changed[:12] + ([f"and {len(changed) - 12} more"] if len(changed) > 12 else []))
    if changed and own:
        raise ValueError(
            f"{folder} holds a run of another configuration (its value -> the one given):\n  {shown}\n"
            "Choose another output folder (scripts: TAG=name or OUTPUT=folder), or remove this one"
        )
    if changed:
        print(f"{folder} was trained with other settings (their value -> this run's):\n  {shown}")


def begin_run(folder: PathLike, settings: dict[str, Any]) -> str:
    """:func:`run_state`, and the configuration is written down for a new run."""
    state = run_state(folder, settings)
    if state == "new":
        write_json(Path(folder) / CONFIG, settings)
    return state


def binding(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``settings`` without :data:`FREE_KEYS`: what two runs must agree in to be the same run."""
    return {
        key: binding(value, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in settings.items()
        if prefix + key not in FREE_KEYS
    }


def trained_run(folder: PathLike, epoch: int | None) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What an evaluation says of the run whose weights it loaded, and that run's ``split.json`` if it is there.

    Args:
        folder: output folder of the run.
        epoch: of the checkpoint; None for the best one on validation.
    """
    split = Path(folder) / SPLIT
    trained = read_config(folder)["DATASET"] if (Path(folder) / CONFIG).exists() else {}
    told = {
        "run": str(folder),
        "epoch": "best on validation" if epoch is None else epoch,
        "trained_on": {key: trained.get(key) for key in ("NAME", "NUM_SHOTS", "SUBSAMPLE_CLASSES")},
    }
    return told, read_record(split) if split.exists() else None
