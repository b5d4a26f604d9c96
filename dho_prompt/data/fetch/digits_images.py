"""The embedded default data set: scikit-learn's 1,797 handwritten digits as image folders with four shifted test sets.

Every picture is real (a scanned digit of the UCI optical-recognition set, 8 x 8 pixels, that scikit-learn carries), so
a machine without a network can show the whole job. The sets mirror those of the ImageNet experiments:

========  ======  ==========================================================================================
set       images  content
========  ======  ==========================================================================================
train     800     80 per class: the labelled shots and the unlabelled pool
val       150     15 per class
test      350     35 per class
v2        200     20 per class, fresh digits that no other plain set holds
sketch    200     outlines of the v2 digits, dark on white
r         200     renditions of the v2 digits: other inks on patterned, coloured grounds
a         ~30     held-out digits, in no other set, that a plain model fitted on train gets wrong; not balanced
========  ======  ==========================================================================================

``a`` follows ImageNet-A's rule (natural images kept because a plain model fails on them). The plain model is the
nearest class mean in pixel space, the simplest classifier there is, judging the 297 digits that are left over.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from dho_prompt.files import atomic_write, read_json, write_json

CLASSNAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
IMAGE_SIZE = 32
PER_CLASS = {"train": 80, "val": 15, "test": 35, "v2": 20}
SCANS = "datasets/data/digits.csv.gz"  # below scikit-learn's folder
PATTERNS = ("stripes", "checks", "dots", "rings", "ramp")


def write_digits(folder: Path) -> None:
    """Write the digits as PNG files and ``splits.json`` into a folder; nothing is done when it is complete.

    ``splits.json`` is written last, so its presence says that the folder was finished; a folder that lacks it, holds
    an older list or lost an image is written again. The same bytes come out every time.

    Args:
        folder: where to write; made when missing. ``splits.json`` holds ``classnames`` (list of names, position =
            label) and ``splits``: for each of train, val, test, v2, sketch, r and a list of
            ``[path relative to the folder, label]``.

    Raises:
        ImportError: scikit-learn is not installed.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    pixels, labels = load_scans()
    members = _choose_members(pixels, labels)
    splits = {
        name: [[f"{name}/{_name(i, labels)}", int(labels[i])] for i in chosen] for name, chosen in members.items()
    }
    content = {"classnames": list(CLASSNAMES), "splits": splits}
    if is_complete(folder, content):
        return
    with suppress(FileNotFoundError, NotADirectoryError):
        (folder / "splits.json").unlink()
    for name, chosen in members.items():
        for index, (relative, _) in zip(chosen, splits[name]):
            save_png(_render(name, pixels[index], index), folder / relative)
    write_json(folder / "splits.json", content)


def load_scans() -> tuple[np.ndarray, np.ndarray]:
    """The scans (1797, 8, 8), ink from 0 to 16, and their labels (1797,), as scikit-learn's ``load_digits`` has them.

    Its file is read without it where that is possible: importing it takes longer than anything else in a short run.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    found = find_spec("sklearn")
    file = Path(found.origin).parent / SCANS if found is not None and found.origin else None
    if file is not None and file.is_file():
        table = np.loadtxt(file, delimiter=",")
        return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(int)
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("the digits data set comes with scikit-learn: pip install scikit-learn") from error
    digits = load_digits()
    return digits.images, digits.target


def is_complete(folder: Path, content: dict) -> bool:
    listing = folder / "splits.json"
    if not listing.exists():
        return False
    try:
        if read_json(listing) != content:
            return False
    except ValueError:
        return False
    return all((folder / path).is_file() for images in content["splits"].values() for path, _ in images)


def _choose_members(pixels: np.ndarray, labels: np.ndarray) -> dict[str, list[int]]:
    """Indices of each set. Hash order rather than a random generator: the same on every platform and version."""
    members: dict[str, list[int]] = {name: [] for name in PER_CLASS}
    left_over = []
    for label in range(len(CLASSNAMES)):
        queue = sorted(np.flatnonzero(labels == label).tolist(), key=_hash)
        for name, count in PER_CLASS.items():
            members[name] += queue[:count]
            queue = queue[count:]
        left_over += queue
    members["sketch"] = members["r"] = members["v2"]
    members["a"] = _hard_ones(pixels, labels, members["train"], left_over)
    return members


def _hard_ones(pixels: np.ndarray, labels: np.ndarray, train: list[int], candidates: list[int]) -> list[int]:
    """Those candidates whose nearest class mean (Euclidean, over the training images) is of another class."""
    flat = pixels.reshape(len(pixels), -1)
    means = np.stack([flat[[i for i in train if labels[i] == label]].mean(0) for label in range(len(CLASSNAMES))])
    distances = ((flat[candidates][:, None] - means) ** 2).sum(-1)
    return [i for i, nearest in zip(candidates, distances.argmin(1)) if nearest != labels[i]]


def _hash(index: int) -> str:
    return hashlib.sha256(f"digits/{index}".encode()).hexdigest()


def _name(index: int, labels: np.ndarray) -> str:
    return f"{CLASSNAMES[labels[index]]}_{index:04d}.png"


def _render(split: str, pixels: np.ndarray, index: int) -> Image.Image:
    """The picture of one digit as its set shows it; pixels (8, 8) in 0..16, light ink on a dark ground."""
    small = Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8))
    plain = small.resize((IMAGE_SIZE, IMAGE_SIZE), Image.BICUBIC)
    if split == "sketch":
        return outline(plain)
    if split == "r":
        return rendition(plain, index)
    return plain


def outline(plain: Image.Image) -> Image.Image:
    """Pencil line along the ink's edge: strength of the grey-value gradient, inverted onto white paper."""
    grey = np.asarray(plain.filter(ImageFilter.GaussianBlur(0.8)), dtype=np.float64)
    rows, columns = np.gradient(grey)
    strength = np.hypot(rows, columns)
    line = np.clip(255 * strength / max(strength.max(), 1e-6) * 1.2 - 40, 0, 255)
    return ImageOps.invert(Image.fromarray(line.astype(np.uint8)))


def rendition(plain: Image.Image, index: int) -> Image.Image:
    """Coloured ink on a two-coloured pattern; pattern and colours follow from the index."""
    rng = np.random.RandomState(index)
    ink = np.asarray(plain, dtype=np.float64)[..., None] / 255
    dark, darker, light = rng.uniform(30, 110, 3), rng.uniform(0, 80, 3), rng.uniform(150, 255, 3)
    mask = _pattern(PATTERNS[index % len(PATTERNS)], rng)[..., None]
    picture = ink * light + (1 - ink) * (mask * dark + (1 - mask) * darker)
    if rng.rand() < 0.5:
        picture = 255 - picture
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def _pattern(kind: str, rng: np.random.RandomState) -> np.ndarray:
    """A ground pattern (32, 32) with values in 0..1."""
    rows, columns = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
    period = rng.randint(4, 9)
    if kind == "stripes":
        return ((rows + rng.choice([-1, 0, 1]) * columns) // (period // 2) % 2).astype(np.float64)
    if kind == "checks":
        return ((rows // (period // 2) + columns // (period // 2)) % 2).astype(np.float64)
    if kind == "dots":
        return (((rows % period - period / 2) ** 2 + (columns % period - period / 2) ** 2) < period).astype(np.float64)
    if kind == "rings":
        radius = np.hypot(rows - rng.randint(IMAGE_SIZE), columns - rng.randint(IMAGE_SIZE))
        return (np.sin(radius * 2 * np.pi / period) > 0).astype(np.float64)
    return (rows * rng.rand() + columns * rng.rand()) / (2 * IMAGE_SIZE)


def save_png(image: Image.Image, path: Path) -> None:
    # replaced in one step, so that a second process never reads half a picture
    atomic_write(path, lambda file: image.save(file, format="PNG"), sync=False)
