"""The paper's own figures for the distribution-shifted sets of ImageNet (Tables 12 and 13), and what they are of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from dho_prompt.tables.groups import host_name
from dho_prompt.tables.results import Result

SETS = ("test", "ImageNetV2", "ImageNetSketch", "ImageNetR", "ImageNetA")
STUDENT, TEACHER = "ViT-B/16", "ViT-L/14@336px"
FIXED = {"LAMBDA": 0.5, "TEMPERATURE": 2.0}  # Table 11, of every row
MIX = {"alpha": 0.5, "beta": 1.0}
SOURCE = "Table 13 of arXiv 2505.07675 (CLIP ViT-B/16, teacher ViT-L/14, alpha 0.5, beta 1; single runs)"


class PaperRow(NamedTuple):
    """One row of Table 13.

    Attributes:
        labelled: how its labelled images were chosen, in the words of :func:`dho_prompt.tables.groups.labelled_by`;
            the table's own word first, () for no labelled images.
        epochs: of the training; None for none.
        accuracy: percent, in the order of :data:`SETS`.
    """

    labelled: tuple[str, ...]
    epochs: int | None
    accuracy: tuple[float, ...]


_ALONE = ", labeled only"
_ONE, _SIXTEEN = ("1 %",), ("16 shots", "1.25 %")
ZERO_SHOT = PaperRow((), None, (66.7, 60.8, 46.2, 74.0, 47.8))  # Table 12 prints 47.0 for ImageNet-A
# Epochs of linear evaluation and VPT: Table 11. It refers to the hosts' configurations for domain generalisation for
# CoOp (50 epochs) and PromptSRC (20)
TABLE_13: dict[str, PaperRow] = {
    "LinearProbe": PaperRow(_ONE, 20, (72.8, 64.2, 47.0, 74.6, 48.6)),
    f"LinearProbeDHO{_ALONE}": PaperRow(_ONE, 20, (73.4, 65.3, 48.3, 75.8, 49.4)),
    "LinearProbeDHO": PaperRow(_ONE, 20, (74.6, 66.4, 49.2, 76.1, 49.8)),
    "VPT-3": PaperRow(_SIXTEEN, 20, (73.6, 64.6, 47.7, 75.2, 48.7)),
    f"VPT-3DHO{_ALONE}": PaperRow(_SIXTEEN, 20, (73.6, 65.3, 48.7, 75.9, 49.1)),
    "VPT-3DHO": PaperRow(_SIXTEEN, 20, (75.1, 66.8, 50.0, 76.9, 50.5)),
    f"VPT-9DHO{_ALONE}": PaperRow(_SIXTEEN, 20, (74.0, 65.9, 48.9, 75.8, 46.5)),
    "VPT-9DHO": PaperRow(_SIXTEEN, 20, (75.6, 67.4, 50.8, 77.3, 46.5)),
    "CoOp": PaperRow(_SIXTEEN, 50, (71.5, 64.2, 48.0, 75.2, 49.7)),
    f"CoOpDHO{_ALONE}": PaperRow(_SIXTEEN, 50, (72.8, 65.5, 49.3, 76.4, 49.5)),
    "CoOpDHO": PaperRow(_SIXTEEN, 50, (73.4, 66.2, 49.5, 77.0, 50.5)),
    "PromptSRC": PaperRow(_SIXTEEN, 20, (71.3, 64.4, 49.6, 77.8, 50.9)),
    f"PromptSRCDHO{_ALONE}": PaperRow(_SIXTEEN, 20, (73.0, 65.3, 49.5, 77.8, 51.3)),
    "PromptSRCDHO": PaperRow(_SIXTEEN, 20, (73.6, 66.1, 49.8, 78.1, 51.0)),
}


class Comparison(NamedTuple):
    """What the paper has for a row of ours.

    Attributes:
        accuracy: set -> percent; {} if the paper has no such row.
        differs: what the row of ours has otherwise, such as ``alpha 0.3 (paper 0.5)``; [] if the two can be compared.
    """

    accuracy: dict[str, float]
    differs: list[str]


def comparison(name: str, labelled: str, runs: Sequence[Result]) -> Comparison | None:
    """The paper's row for a row of ours; None if it has nothing of the kind.

    Args:
        name: of our row, such as ``CoOpDHO, labeled only``.
        labelled: how the labelled images were chosen, such as ``16 shots`` or ``1 %``.
        runs: of the row, seeds rising.
    """
    if runs[0]["dataset"] != "ImageNet":
        return None
    if host_name(name) == "VPT":
        depth = runs[0]["config"]["TRAINER"].get("VPT", {}).get("PROMPT_DEPTH_VISION")
        row = TABLE_13.get(f"VPT-{depth}{name[len('VPT') :]}")
        if row is None:
            return Comparison({}, [f"prompts in {depth} blocks (paper {'3' if name == 'VPT' else '3 or 9'})"])
    else:
        row = ZERO_SHOT if name == "ZeroshotCLIP" else TABLE_13.get(name)
    return None if row is None else Comparison(dict(zip(SETS, row.accuracy)), list(_differs(row, labelled, runs)))


def of_the_student(run: Result) -> bool:
    """Whether a run is of the data set and the student of Table 13, so that its zero-shot row is the starting point."""
    return run["dataset"] == "ImageNet" and not list(_other_task(run))


def _other_task(run: Result) -> Iterator[str]:
    classes = run["config"].get("DATASET", {}).get("SUBSAMPLE_CLASSES", "all")
    if classes != "all":
        yield f"{classes} classes (paper all)"
    student = run["config"]["MODEL"]["BACKBONE"]["NAME"]
    if student != STUDENT:
        yield f"student {student} (paper {STUDENT})"


def _differs(row: PaperRow, labelled: str, runs: Sequence[Result]) -> Iterator[str]:
    first, settings = runs[0], runs[0]["config"]["TRAINER"]
    yield from _other_task(first)
    if row is ZERO_SHOT and settings.get("ZEROSHOT", {}).get("ENSEMBLE"):
        yield "several templates (paper one)"
    if row.labelled and labelled not in row.labelled:
        yield f"{labelled} (paper {row.labelled[0]})"
    epochs = first.get("evaluated", {}).get("epoch")
    epochs = epochs if isinstance(epochs, int) else first["epochs"]
    if row.epochs and epochs != row.epochs:
        yield f"{epochs} epochs (paper {row.epochs})"
    if "mix" not in first:
        return
    teacher = first["teacher"] or {"name": "none"}  # with lambda 1
    if teacher["name"] != TEACHER:
        yield f"teacher {teacher['name']} (paper {TEACHER})"
    if teacher.get("checkpoint"):
        yield "teacher with trained prompts (paper zero-shot)"
    for key, value in MIX.items():
        found = list(dict.fromkeys(run["mix"][key] for run in runs))
        if found != [value]:
            yield f"{key} {' | '.join(map(_number, found))} (paper {_number(value)})"
    for key, value in FIXED.items():
        found = settings.get("DHO", {}).get(key, value)
        if found != value:
            yield f"{key.lower()} {_number(found)} (paper {_number(value)})"


def _number(value: Any) -> str:
    return f"{value:g}"
