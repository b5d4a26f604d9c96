"""Images tried before a model loads: a few of every part, the test images for a second; or every one, on request."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from math import gcd

from tqdm import tqdm

from dho_prompt.data.batches.read_image import why_unreadable
from dho_prompt.data.layouts.contents import Contents, ListedImage, some

PARTS = ("test", "val", "train", "unlabelled")
SECONDS = 1.0  # for the test images beyond the sample
CHUNK = 64  # images that a process tries before it reports


def refuse_unreadable(contents: Contents, tolerated: int = 0, sample: int = 8, seconds: float = SECONDS) -> None:
    """Open a few images spread over every part, and as many of the test images as can be read in ``seconds``.

    A small test set is so tried whole; nothing replaces a broken test image, which would stop the run at its end.

    Args:
        contents: what was read.
        tolerated: unreadable training images that a run passes over (DATALOADER.MAX_UNREADABLE).
        sample: images per part.
        seconds: 0 tries the sample alone.

    Raises:
        OSError: a test or validation image that was tried, or more than ``tolerated`` (or all) of the training or
            unlabelled images of the sample, cannot be read.
    """
    for name, images in parts_of(contents).items():
        until = time.monotonic() + (seconds if name == "test" else 0)
        tried, bad = 0, []
        for item in spread(images):
            if tried >= sample and time.monotonic() >= until:
                break
            tried += 1
            why = why_unreadable(item.impath)
            bad += [f"{item.impath} ({why})"] if why else []
        if len(bad) > (min(tolerated, tried - 1) if name in ("train", "unlabelled") else 0):
            raise OSError(
                f"{len(bad)} of {tried} {name} images that were tried cannot be read: {some(bad, 3)}. Replace "
                "them, or unpack the images again"
            )


def parts_of(contents: Contents) -> dict[str, Sequence[ListedImage]]:
    """The parts that have images, each list once."""
    found: dict[str, Sequence[ListedImage]] = {}
    for name in PARTS:
        images = getattr(contents, name)
        if images and not any(images is other for other in found.values()):
            found[name] = images
    return found


def spread(images: Sequence[ListedImage]) -> Iterator[ListedImage]:
    """All images, in an order whose every beginning is spread over the whole list."""
    count = len(images)
    step = max(1, round(count * 0.618))  # the golden section
    while gcd(step, count) > 1:
        step += 1
    return (images[number * step % count] for number in range(count))


def find_unreadable(contents: Contents, title: str) -> list[str]:
    """Try every image, on all processors, with a bar that says how long it will take.

    Args:
        contents: what was read.
        title: name of the data set for the bar.

    Returns:
        ``<path> (<why>)`` for each image that cannot be read.

    Raises:
        OSError: a process died over an image, as when a decoder crashes.
    """
    paths = [item.impath for images in parts_of(contents).values() for item in images]
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    bad: list[str] = []
    processes = ProcessPoolExecutor(max(1, min(_processors(), len(chunks))))
    try:
        with tqdm(total=len(paths), desc=f"reading the images of {title}", unit=" images") as bar:
            for chunk, found in zip(chunks, processes.map(_unreadable_of, chunks)):
                bad += found
                bar.update(len(chunk))
    except BrokenExecutor as error:
        raise OSError(
            f"a process died while it read images ({error}), {bar.n:,} of which had been tried: one of those after "
            f"{paths[bar.n]} crashes Pillow, or the memory is full"
        ) from error
    finally:
        processes.shutdown(cancel_futures=True)
    return bad


def _unreadable_of(paths: list[str]) -> list[str]:
    return [f"{path} ({why})" for path in paths for why in [why_unreadable(path)] if why]


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
