"""Training images per second and core, read from JPEG files, as a student and a teacher see them.

Three ways to read take turns, so that a busy machine slows all of them; a ratio is the median over turns:

* plain: Pillow crops and resizes for each view, torchvision's transforms make normalised float32 tensors;
* bytes: the same pixels leave the process that reads as 8 bits and are finished in the batch, as runs here do;
* fast: INPUT.FAST_RESIZE, which resizes tensors of 8 bits.

The pictures are drawn with a photograph's statistics (500 x 375, JPEG of quality 90, 90 kB). Besides, short passes
over a small labelled set are timed with workers that are started for each pass and with workers that stay.

    python scripts/benchmark_data.py --images 48 --turns 7 --json data.json
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F

from dho_prompt.data.batches.batch import Batch
from dho_prompt.data.batches.lasting import lasting
from dho_prompt.data.batches.read_image import read_image
from dho_prompt.data.batches.views import SharedCrop, View

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from photos import photo  # noqa: E402

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BATCH = 16


class Plain:
    """Crop, resize, flip, tensor, normalise, each view for itself, by torchvision's functions."""

    def __init__(self, views: dict[str, View]) -> None:
        self.views = views

    def __call__(self, image):
        top, left, height, width = RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
        flipped = bool(torch.rand(1) < 0.5)
        seen = {}
        for key, view in self.views.items():
            size = [view.size, view.size]
            pixels = F.resized_crop(image, top, left, height, width, size, InterpolationMode.BICUBIC)
            seen[key] = F.normalize(F.to_tensor(F.hflip(pixels) if flipped else pixels), view.mean, view.std)
        return seen


class Images(Dataset):
    def __init__(self, paths, transform):
        self.paths, self.transform = paths, transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return {**self.transform(read_image(self.paths[index])), "label": 0}


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = _pictures(Path(folder), args.images)
        crops = {"bytes": _crop(args.sizes, False), "fast": _crop(args.sizes, True)}
        ways = {"plain": Images(paths, Plain(crops["bytes"].views))}
        ways.update({name: Images(paths, crop) for name, crop in crops.items()})
        figures = {
            "sizes": args.sizes, "bytes of a file": sum(path.stat().st_size for path in paths) // len(paths),
            "torch": torch.__version__, **_differences(ways, crops),
        }  # fmt: skip
        for name, time_of in (("read", _read), ("read and finish", _read_and_finish), ("one worker", _one_worker)):
            figures[name] = _compare(ways, lambda way, time_of=time_of: time_of(ways[way], crops), args.turns)
        figures["passes"] = _compare_passes(ways["bytes"], args.turns)
    _show(figures)
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n")


def _crop(sizes, fast):
    crop = SharedCrop(View(sizes[0], MEAN, STD), fast=fast)
    for size in sizes[1:]:
        crop.show(View(size, MEAN, STD))
    crop.bytes = True
    return crop


def _pictures(folder, count):
    paths = []
    for number in range(count):
        held = io.BytesIO()
        photo(number).save(held, "JPEG", quality=90)
        paths.append(folder / f"{number}.jpg")
        paths[-1].write_bytes(held.getvalue())
    return paths


def _batches(images):
    for start in range(0, len(images), BATCH):
        yield default_collate([images[index] for index in range(start, min(start + BATCH, len(images)))])


def _finish(batch, crops):
    crop = crops["bytes"]
    return [Batch(batch, crop, torch.device("cpu")).images(view) for view in crop.views.values()]


def _read(images, crops):
    for _ in _batches(images):
        pass
    return len(images)


def _read_and_finish(images, crops):
    for batch in _batches(images):
        _finish(batch, crops)
    return len(images)


def _one_worker(images, crops):
    """Through a worker process, the first batch, which waits for the process to start, left out."""
    batches = iter(DataLoader(images, BATCH, num_workers=1))
    next(batches)
    start, count = time.perf_counter(), 0
    for batch in batches:
        _finish(batch, crops)
        count += len(batch["label"])
    return count, time.perf_counter() - start


def _compare(ways, time_of, turns):
    """Images a second by way, and ratios to the first way."""
    rates = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name in ways:
            torch.manual_seed(turn)  # all ways draw the same crops
            start = time.perf_counter()
            found = time_of(name)
            count, seconds = found if isinstance(found, tuple) else (found, time.perf_counter() - start)
            rates[name].append(count / seconds)
    rates = {name: found[1:] for name, found in rates.items()}  # the first turn warms up
    first = next(iter(rates.values()))
    return {
        name: {
            "images/s": round(statistics.median(found), 1),
            "ratio": round(statistics.median(one / base for one, base in zip(found, first)), 2),
        }
        for name, found in rates.items()
    }


def _compare_passes(images, turns, passes=5):
    """Seconds of a pass over two batches, with new workers each time and with workers that stay."""
    images = Images(images.paths[: 2 * BATCH], images.transform)
    seconds = {"new workers": [], "workers that stay": []}
    for _ in range(turns):
        for name, keep in (("new workers", lambda loader: loader), ("workers that stay", lasting)):
            loader = keep(DataLoader(images, BATCH, shuffle=True, num_workers=2))
            start = time.perf_counter()
            for _ in range(passes):
                for _ in loader:
                    pass
            seconds[name].append((time.perf_counter() - start) / passes)
    return {name: round(statistics.median(found), 4) for name, found in seconds.items()}


def _differences(ways, crops):
    """Whether the finished bytes are the plain tensors to the last bit, and how far the fast pixels are from them."""
    exact, differences = True, []
    for index in range(len(ways["plain"])):
        seen = []
        for name in ways:
            torch.manual_seed(1000 + index)
            seen.append(ways[name][index])
        plain, raw, fast = seen
        for key, view in crops["bytes"].views.items():
            exact &= torch.equal(crops["bytes"].finished(raw[key], view), plain[key])
            differences.append((raw[key].float() - fast[key].float()).abs())
    return {
        "bytes equal plain to the last bit": exact,
        "fast: mean difference of 255": round(sum(part.mean().item() for part in differences) / len(differences), 4),
        "fast: largest difference of 255": max(part.max().item() for part in differences),
    }


def _show(figures):
    for name, value in figures.items():
        if isinstance(value, dict) and all(isinstance(part, dict) for part in value.values()):
            rates = ", ".join(f"{way} {part['images/s']:.0f} ({part['ratio']:.2f}x)" for way, part in value.items())
            print(f"{name + ', images/s:':27}{rates}")
        elif isinstance(value, dict):
            print(f"{name + ', s:':27}{', '.join(f'{way} {part:.3f}' for way, part in value.items())}")
        else:
            print(f"{name}: {value}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=48, help="pictures to draw; more than 16")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 336], help="of the student and of teachers")
    parser.add_argument("--json", default="", help="a file for the figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
