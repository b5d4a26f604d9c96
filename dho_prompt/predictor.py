"""Predictions of a finished run for images, head by head."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import torch
from PIL import Image
from torch import Tensor

from dho_prompt.data.batches.read_image import as_rgb, read_image, why_unreadable
from dho_prompt.engine import build_transform
from dho_prompt.files import PathLike
from dho_prompt.runs.evaluation import refuse_not_finite
from dho_prompt.training.trained_run import load_trained

AnImage = Union[PathLike, Image.Image]


@dataclass(frozen=True)
class Predictions:
    """What a run says of some images.

    Attributes:
        images: their paths; ``image 0``, ``image 1``, ... for images in memory that came from no file.
        classnames: one name per class, in the order of the labels.
        labels: (images,) the predicted class: that of the mix for a run with DHO.
        probabilities: by head, (images, classes) each in float32 or wider on the CPU, rows summing to 1. The first is
            the run's prediction. With DHO: ``blend``, the mix (Eq. 11) with the run's alpha and beta; ``fixed``, where
            these were searched, the mix with the configured ones; ``ce``, the method's own head; ``kd``, the KD head.
            Without: ``ce`` alone.
    """

    images: list[str]
    classnames: list[str]
    labels: Tensor
    probabilities: dict[str, Tensor]

    @property
    def names(self) -> list[str]:
        """The predicted class of each image, by name."""
        return [self.classnames[label] for label in self.labels.tolist()]


class Predictor:
    """A finished run, ready to predict.

    Make one with :meth:`from_run`. It gives what ``python -m dho_prompt.evaluate`` computes: in batches of the same
    images also to the last bit.

    Attributes:
        classnames: one name per class, in the order of the labels.
        mix: alpha, beta and how they were chosen; None for a run that mixes nothing.

    Example:
        >>> predictor = Predictor.from_run("out")
        >>> found = predictor.predict(["one.jpg", "two.jpg"])
        >>> found.names, found.probabilities["blend"].shape
        (['cat', 'dog'], torch.Size([2, 2]))
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._transform = build_transform(trainer.cfg, is_train=False)
        self.classnames: list[str] = list(trainer.classnames)
        self.mix: dict[str, Any] | None = trainer.objective.mix

    @classmethod
    def from_run(cls, folder: PathLike, device: str = "") -> Predictor:
        """Load a finished run of any trainer of this package; its data set need not be there.

        Args:
            folder: output folder of the run.
            device: ``cpu``, ``cuda``, ...; default: a GPU if there is one.

        Raises:
            FileNotFoundError: there is no run, or it is not finished, or has lost its checkpoints.
            ValueError: it was made in another code base's train.py, or a file is damaged.
        """
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"there is no folder {folder}; give the output folder of a finished run")
        target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        with _notes_as_warnings():
            return cls(load_trained(folder, target))

    @torch.no_grad()
    def predict(self, images: Iterable[AnImage] | AnImage, batch_size: int = 0) -> Predictions:
        """Predict images.

        Args:
            images: paths and PIL images, of any size and mode; one alone stands for a list of one.
            batch_size: images at a time; 0 takes the run's DATALOADER.TEST.BATCH_SIZE.

        Raises:
            FileNotFoundError, IsADirectoryError, OSError: a path leads nowhere, to a folder, or to a file that is no
                image or is damaged; the message names it.
            ValueError: there is no image, or something else than an image.
            FloatingPointError: the run has diverged.
        """
        given: list[AnImage] = [images] if isinstance(images, (str, os.PathLike, Image.Image)) else list(images)
        if not given:
            raise ValueError("there is no image to predict; give a list of paths or PIL images")
        size = batch_size or self._trainer.cfg.DATALOADER.TEST.BATCH_SIZE
        if size < 1:
            raise ValueError(f"batch_size is {batch_size}; it takes a whole number from 1, or 0 for the run's own")
        labels: list[Tensor] = []
        found: dict[str, list[Tensor]] = {}
        with _threads(self._trainer.cfg.TORCH_THREADS):
            for start in range(0, len(given), size):
                best, by_head = self._batch(given[start : start + size])
                labels.append(best)
                for head, rows in by_head.items():
                    found.setdefault(head, []).append(rows)
        names = [_name(image, number) for number, image in enumerate(given)]
        return Predictions(
            names, self.classnames, torch.cat(labels), {head: torch.cat(rows) for head, rows in found.items()}
        )

    def _batch(self, images: list[AnImage]) -> tuple[Tensor, dict[str, Tensor]]:
        trainer = self._trainer
        batch = torch.stack([self._transform(_opened(image)) for image in images]).to(trainer.device)
        with trainer.autocast():
            logits = trainer.predict(batch)
        refuse_not_finite(logits)
        scores, probabilities = trainer.objective.predict(logits)
        best = next(iter(scores.values())).argmax(dim=-1).cpu()
        return best, {head: rows.cpu() for head, rows in probabilities.items()}


def _opened(image: AnImage) -> Image.Image:
    if isinstance(image, Image.Image):
        return as_rgb(image)
    if not isinstance(image, (str, os.PathLike)):
        raise ValueError(f"an image is a path or a PIL image, not a {type(image).__name__}; Image.fromarray makes one")
    path = Path(image).expanduser()
    if path.is_dir():
        raise IsADirectoryError(f"{image} is a folder; give its images, as sorted(Path({str(image)!r}).glob('*.jpg'))")
    if not path.exists():
        raise FileNotFoundError(f"there is no image {image}")
    try:
        return read_image(path)
    except OSError as error:
        raise OSError(f"cannot read the image {image}: {why_unreadable(path)}") from error


def _name(image: AnImage, number: int) -> str:
    path = getattr(image, "filename", "") if isinstance(image, Image.Image) else image
    return str(path) or f"image {number}"


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """PyTorch's threads as the run has them, which decides on the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _notes_as_warnings() -> Iterator[None]:
    """What is printed inside is dropped, but for notes on files, which become warnings."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        yield
    for line in printed.getvalue().splitlines():
        if line.startswith("Note: "):
            warnings.warn(line[6:], stacklevel=4)  # where from_run was called
