"""``fit``: a training run from Python, on the very path of ``python -m dho_prompt.train``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dho_prompt.as_library import guest
from dho_prompt.files import PathLike
from dho_prompt.recipes import OWN, dataset_names, recipe_of, trainer_of
from dho_prompt.runs.folder import RESULTS, read_result
from dho_prompt.train import run

if TYPE_CHECKING:
    from dho_prompt.predictor import Predictor


@dataclass(frozen=True)
class FinishedRun:
    """What :func:`fit` returns.

    Attributes:
        folder: the output folder, with checkpoints, ``log.txt`` and ``results.json``.
        results: the content of ``results.json``.
        command: the same run as a command line.
    """

    folder: Path
    results: dict[str, Any] = field(repr=False)
    command: str = field(repr=False)

    @property
    def accuracy(self) -> dict[str, dict[str, float]]:
        """In percent, by test set (``test`` and the shifted ones) and head (``blend``, ``ce``, ``kd``)."""
        return self.results["accuracy"]

    def predictor(self, device: str = "") -> Predictor:
        """:meth:`dho_prompt.Predictor.from_run` of the folder."""
        from dho_prompt.predictor import Predictor

        return Predictor.from_run(self.folder, device)


def fit(
    images: PathLike,
    method: str = "coop",
    shots: int | str = 16,
    output: PathLike = "output",
    *,
    dho: bool = True,
    seed: int = 1,
    recipe: str = "",
    root: PathLike = "data",
    settings: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> FinishedRun:
    """Train, choose the mix on validation images, test, and keep all of it in a folder.

    It is the run of ``python -m dho_prompt.train`` with :attr:`FinishedRun.command`: the same weights, bit for bit on
    a CPU, and the same files. Called again it returns the finished run, or goes on with an interrupted one. Within it
    the caller's random numbers and threads stay as they are.

    Args:
        images: a folder of class folders (:mod:`dho_prompt.data.layouts.own_folder` says which, and where unlabelled
            images lie), or the name of a data set such as ``"digits"``. A text is a name if there is a data set of
            that name, else a folder: ``"./digits"`` is one in any case.
        method: coop, promptsrc, vpt, linear_probe, finetune, tip_adapter or zeroshot.
        shots: labelled images per class, at least 1; ``"1%"``: that share of the training images; ``"all"``.
        output: the run's folder; one run each.
        dho: with DHO, which has every method but tip_adapter and zeroshot, or the method alone.
        seed: 0 or more.
        recipe: a file of ``configs/trainers`` without ``.yaml``, or a ``.yaml`` file of one's own; default: the data
            set's own, else the paper's, with CLIP ViT-B/16, whose weights are fetched on first use.
        root: folder of the named data sets; not used for a folder of one's own.
        settings: configuration keys, such as ``{"OPTIM.MAX_EPOCH": 20}``.
        progress: show a bar; what is printed otherwise stands in ``log.txt`` alone.

    Raises:
        FileNotFoundError, ValueError: the images are not there, or a name or value means nothing; the message says
            what is allowed.

    Example:
        >>> run = fit("my_images", method="coop", shots=16, output="out")
        >>> run.accuracy["test"]["blend"]
        >>> run.predictor().predict(["new/one.jpg", "new/two.jpg"]).names
    """
    words = arguments(images, method, shots, output, dho, seed, recipe, root, settings or {})
    with guest(progress):
        run(words)
    command = shlex.join(["python", "-m", "dho_prompt.train", *words])
    return FinishedRun(Path(output), read_result(Path(output) / RESULTS), command)


def arguments(
    images: PathLike,
    method: str,
    shots: int | str,
    output: PathLike,
    dho: bool,
    seed: int,
    recipe: str,
    root: PathLike,
    settings: Mapping[str, Any],
) -> list[str]:
    """The words behind ``python -m dho_prompt.train`` that :func:`fit` stands for."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed is {seed!r}; it takes a whole number from 0")
    named = isinstance(images, str) and images in dataset_names()
    if not named and not Path(images).expanduser().is_dir():
        raise FileNotFoundError(
            f"there is no folder {images}, and no data set of that name; give the folder of your class folders, or one "
            f"of {', '.join(dataset_names())}"
        )
    dataset = str(images) if named else OWN
    words = ["--root", str(root)] if named else []
    words += ["--seed", str(seed), "--trainer", trainer_of(method, dho)]
    words += ["--dataset-config-file", f"datasets/{dataset}.yaml"]
    words += ["--config-file", recipe_of(method, dataset, shots, recipe), "--output-dir", str(output)]
    words += [] if named else ["DATASET.FOLDER", str(Path(images).expanduser().resolve())]
    words += _labelled(shots)
    for key, value in settings.items():
        words += [key, str(value)]
    return words


def _labelled(shots: int | str) -> list[str]:
    """Which images are labelled, as the scripts write it."""
    text = str(shots)
    if text == "all":
        return ["DATASET.NUM_SHOTS", "-1"]
    if text.endswith("%"):
        return ["DATASET.LABELED_PERCENT", text[:-1]]
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f'shots is {shots!r}; it takes images per class from 1, a percentage as "1%", or "all"')
    return ["DATASET.NUM_SHOTS", text]
