"""The embedded data set of 100 classes: two of scikit-learn's handwritten digits side by side.

A picture is two real scans (see :mod:`dho_prompt.data.fetch.digits_images`), each enlarged to half of it with a little
play in size and place; its class is both in reading order, "zero zero" to "nine nine". No scan is in two of the plain
sets:

======  ======  =========  ===========================================================================================
set     images  scans      content
                per digit
======  ======  =========  ===========================================================================================
train   4000    97         40 per class: the labelled shots and the unlabelled pool
val     500     10         5 per class
test    2000    25         20 per class
v2      1000    15         10 per class, fresh scans
r       1000    (as v2)    renditions of the v2 pictures: other inks on patterned, coloured grounds
a       360     27 to 36,  12 per class of 30 classes: scans that a plain model gets wrong, written so close that
                4 used     they overlap, and of unequal height
======  ======  =========  ===========================================================================================

In train, ``ONCE`` pictures of each class and side hold a scan that no other picture holds (60 of the 97 scans of a
digit); the others share the remaining 37. So at 16 shots, when 1,600 pictures are labelled, about six in ten of the
first kind still stand in no labelled picture: the pool has scans that the labels never show, not only new
combinations.

``a`` follows ImageNet-A's rule as far as a plain model can say: the nearest class mean over the training scans judges
the left-over ones, each digit keeps the four with the smallest margin (distance to the nearest other mean less that to
its own; nearly all are on the wrong side), and the 30 classes are those whose two digits have the smallest margins
together.

Outlines, which ``digits`` has, are left out: at half the width no model here can read them, so they tell nothing.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from dho_prompt.data.fetch.digits_images import CLASSNAMES as WORDS
from dho_prompt.data.fetch.digits_images import IMAGE_SIZE, is_complete, load_scans, rendition, save_png
from dho_prompt.files import write_json

CLASSNAMES = tuple(f"{left} {right}" for left in WORDS for right in WORDS)
PER_CLASS = {"train": 40, "val": 5, "test": 20, "v2": 10, "a": 12}
SCANS = {"train": 97, "val": 10, "test": 25, "v2": 15}  # of each digit; the others are the candidates of a
ONCE = 3
HARD_SCANS, HARD_CLASSES = 4, 30

Pair = tuple[int, int]  # numbers of the left and the right scan


def write_digit_pairs(folder: Path) -> None:
    """Write the pairs as PNG files and ``splits.json`` into a folder; nothing is done when it is complete.

    ``splits.json`` is written last, so its presence says that the folder was finished; a folder that lacks it, holds
    an older list or lost an image is written again. The same bytes come out every time.

    Args:
        folder: where to write; made when missing. ``splits.json`` holds ``classnames`` (list of names, position =
            label) and ``splits``: for each of train, val, test, v2, r and a list of
            ``[path relative to the folder, label]``.

    Raises:
        ImportError: scikit-learn is not installed.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    pixels, labels = load_scans()
    chosen = choose_pairs(pixels, labels)
    splits = {
        name: [[f"{name}/{_name(label, pair, i)}", label] for i, (label, pair) in enumerate(pairs)]
        for name, pairs in chosen.items()
    }
    content = {"classnames": list(CLASSNAMES), "splits": splits}
    if is_complete(folder, content):
        return
    with suppress(FileNotFoundError, NotADirectoryError):
        (folder / "splits.json").unlink()
    for name, pairs in chosen.items():
        for i, (_, (left, right)) in enumerate(pairs):
            picture = compose(pixels[left], pixels[right], "v2" if name == "r" else name, i)
            save_png(rendition(picture, i) if name == "r" else picture, folder / splits[name][i][0])
    write_json(folder / "splits.json", content)


def choose_pairs(pixels: np.ndarray, labels: np.ndarray) -> dict[str, list[tuple[int, Pair]]]:
    """(label, scans) of every picture of each set.

    Args:
        pixels: the scans, (scans, 8, 8).
        labels: their digits, (scans,).
    """
    scans: dict[str, list[list[int]]] = {name: [] for name in (*SCANS, "a")}
    for digit in range(len(WORDS)):
        queue = sorted(np.flatnonzero(labels == digit).tolist(), key=lambda i: _hash("scan", i))
        for name, count in SCANS.items():
            scans[name].append(queue[:count])
            queue = queue[count:]
        scans["a"].append(queue)
    margins = _margins(pixels, scans["train"], scans["a"])
    hard = [sorted(candidates, key=lambda i: (margins[i], i))[:HARD_SCANS] for candidates in scans["a"]]
    mean = [sum(margins[i] for i in kept) / HARD_SCANS for kept in hard]
    hardest = sorted(range(len(CLASSNAMES)), key=lambda label: (mean[label // 10] + mean[label % 10], label))
    chosen = {"train": _training_pairs(scans["train"])}
    for name in ("val", "test", "v2"):
        chosen[name] = _spread(name, scans[name], range(len(CLASSNAMES)))
    chosen["r"] = chosen["v2"]
    chosen["a"] = _spread("a", hard, sorted(hardest[:HARD_CLASSES]))
    return chosen


def _training_pairs(scans: list[list[int]]) -> list[tuple[int, Pair]]:
    """The training pictures; in each class ONCE of them have a scan of their own left, and as many right."""
    count = len(WORDS)
    own, shared = [digit[: 2 * ONCE * count] for digit in scans], [digit[2 * ONCE * count :] for digit in scans]
    pairs = _spread("train", shared, range(len(CLASSNAMES)))
    for label in range(len(CLASSNAMES)):
        left, right = divmod(label, count)
        first = label * PER_CLASS["train"]
        for i in range(ONCE):  # a digit is left in ten classes and right in ten
            old = pairs[first + i][1]
            pairs[first + i] = (label, (own[left][right * ONCE + i], old[1]))
            old = pairs[first + ONCE + i][1]
            pairs[first + ONCE + i] = (label, (old[0], own[right][(count + left) * ONCE + i]))
    return pairs


def _spread(name: str, scans: list[list[int]], classes: range | list[int]) -> list[tuple[int, Pair]]:
    """Pairs of each class, PER_CLASS of them, no pair twice."""
    pairs = []
    for label in classes:
        left, right = divmod(label, len(WORDS))
        every = [(i, j) for i in scans[left] for j in scans[right] if i != j]
        order = _random(name, label).permutation(len(every))
        pairs += [(label, every[i]) for i in order[: PER_CLASS[name]]]
    return pairs


def _margins(pixels: np.ndarray, train: list[list[int]], candidates: list[list[int]]) -> dict[int, float]:
    """How much nearer a scan is to its own class mean than to the nearest other one; negative where it is not."""
    flat = pixels.reshape(len(pixels), -1)
    means = np.stack([flat[digit].mean(0) for digit in train])
    margins = {}
    for digit, members in enumerate(candidates):
        for i in members:
            distances = np.round(((flat[i] - means) ** 2).sum(-1), 6)
            margins[i] = float(np.delete(distances, digit).min() - distances[digit])
    return margins


def compose(left: np.ndarray, right: np.ndarray, name: str, index: int) -> Image.Image:
    """Two scans, each (8, 8) with 0..16, in one picture of IMAGE_SIZE, light ink on a dark ground.

    Args:
        left: the first digit.
        right: the second one.
        name: the set; with ``index`` it decides the play of size and place.
        index: number of the picture within its set.
    """
    rng = _random("play", name, index)
    picture = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    for side, pixels in enumerate((left, right)):
        close = name == "a"  # wider than half the picture, so the two overlap
        width, height = rng.randint(18, 21) if close else rng.randint(14, 17), rng.randint(16 if close else 24, 33)
        small = Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8))
        x = (
            side * (IMAGE_SIZE - width)
            if close
            else side * IMAGE_SIZE // 2 + rng.randint(0, IMAGE_SIZE // 2 - width + 1)
        )
        y = rng.randint(0, IMAGE_SIZE - height + 1)
        place = picture[y : y + height, x : x + width]
        np.maximum(place, np.asarray(small.resize((width, height), Image.BICUBIC)), out=place)
    return Image.fromarray(picture)


def _random(*parts: object) -> np.random.RandomState:
    return np.random.RandomState(int(_hash(*parts)[:8], 16))  # the same on every platform and version


def _hash(*parts: object) -> str:
    return hashlib.sha256("/".join(["digit pairs", *map(str, parts)]).encode()).hexdigest()


def _name(label: int, pair: Pair, index: int) -> str:
    return f"{CLASSNAMES[label].replace(' ', '_')}_{index:04d}_{pair[0]:04d}_{pair[1]:04d}.png"
