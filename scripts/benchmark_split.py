"""CPU time, memory and size of the record of an ImageNet-sized list of labelled images, and of a few-shot choice.

No image is read; the list is made of names like ImageNet's.

    python scripts/benchmark_split.py --images 1281167
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

from dho_prompt.data.choose.splits import few_shot, split_record
from dho_prompt.files import write_json

ROOT = "/data/imagenet/images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1281167)
    count = parser.parse_args().images
    items = [_item(number) for number in range(count)]
    print(f"{count} images in a list: {_peak():.2f} GiB")
    _timed("16 images of each class", lambda: few_shot(items, 16, 1, ROOT))
    record = _timed("hashes and names of a run with all labels", lambda: split_record(items, items, ROOT))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "split.json"
        _timed("writing them", lambda: write_json(path, record))
        print(f"split.json: {path.stat().st_size / 1e6:.1f} MB, hash {record['hash']}")


def _item(number: int) -> Any:
    label = number % 1000
    wnid = f"n{1440764 + 7919 * label:08d}"
    return SimpleNamespace(impath=f"{ROOT}/train/{wnid}/{wnid}_{number // 1000 * 3 + 17}.JPEG", label=label)


def _timed(what: str, work: Callable[[], Any]) -> Any:
    start = time.process_time()
    result = work()
    print(f"{what}: {time.process_time() - start:.2f} CPU-seconds, peak {_peak():.2f} GiB")
    return result


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kilobytes on Linux


if __name__ == "__main__":
    main()
