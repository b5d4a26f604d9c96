"""An epoch of linear probing + DHO from stored features: made-up rows of any size, on one thread, by its parts.

python scripts/benchmark_store.py [--images 1281167] [--classes 1000] [--width 512] [--teacher-width 768]
                                  [--batch 256] [--labelled-batch 256] [--steps 200] [--logits] [--fused]
                                  [--folder FOLDER]

The rows are written as a store has them and read by the loaders and the step of a run, checksums included. --steps 0
takes the whole epoch, else its time is that of so many steps times their number. An epoch shows every image once,
labelled and unlabelled ones together. Seconds are the process's own (CPU). --logits stores the teacher's logits, which
are longer than its features, and saves their product.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch.utils.data import DataLoader

from dho_prompt.data.batches.batch import Batch
from dho_prompt.data.batches.pair import PairLoader
from dho_prompt.data.batches.stored import StoredViews, replaying
from dho_prompt.data.batches.views import SharedCrop, View
from dho_prompt.distill.dho import DHO
from dho_prompt.heads import make_head
from dho_prompt.losses import DHOLoss
from dho_prompt.methods.linear_probe import LinearProbeMethod
from dho_prompt.store.layout import Manifest, checksums, shard_images, write_manifest
from dho_prompt.store.rows import StoredRows
from dho_prompt.store.writing import write_shard
from dho_prompt.students.base import Student
from dho_prompt.teachers.stored import StoredTeacher, stored_rows
from dho_prompt.training.store_build import write_text

LABELLED = 12_812  # images: 1 % of ImageNet


def write_store(folder: Path, kind: str, images: int, width: int, classes: int) -> StoredRows:
    """A store of random features of length 1; a teacher's of as many numbers as there are classes is of logits."""
    draw = np.random.default_rng(width)
    holds = "logits" if kind == "teacher" and width == classes else "features"
    text = draw.standard_normal((classes, width), np.float32)
    text = write_text(folder, text / np.linalg.norm(text, axis=1, keepdims=True)) if kind == "teacher" else None
    zeta, size = 0.01 if kind == "teacher" else None, shard_images(images, 1)
    text = text if holds == "features" else None
    manifest = Manifest(kind, holds, "float16", width, 1, images, size, zeta, text, "fp32", [], {})
    write_manifest(folder, manifest)
    for shard in range(manifest.shards):
        places = np.array(manifest.images_of(shard))
        rows = draw.standard_normal((len(places), width), np.float32)
        records = np.zeros(len(places), manifest.record)
        records["crop"], records["row"] = (0, 0, 224, 224, 0), rows / np.linalg.norm(rows, axis=1, keepdims=True)
        records["check"] = checksums(records, places)
        write_shard(folder, shard, records[None])
    return StoredRows(folder)


def loaders(rows: StoredRows, classes: int, batch: int, labelled_batch: int) -> PairLoader:
    """Labelled and unlabelled batches of a store, without images."""
    crop = SharedCrop(View(224, (0.5,) * 3, (0.5,) * 3))
    crop.show_alone(())
    images, draw = rows.manifest.images, np.random.default_rng(0)
    parts = []
    for labelled, size in ((True, labelled_batch), (False, batch)):
        places = draw.permutation(images)[: min(LABELLED, images)] if labelled else np.arange(images)
        items = [SimpleNamespace(label=int(place) % classes, impath=f"{place}.jpg") for place in places]
        dataset = StoredViews(items, places, crop, rows, labelled)
        loader = DataLoader(dataset, batch_size=size, shuffle=True, drop_last=True)
        parts.append(replaying(loader, dataset, 1, backwards=labelled)[0])
    return PairLoader(*parts, "train_u")


class Shares(Counter):
    """Seconds of this process by part."""

    @contextmanager
    def of(self, part: str):
        begun = time.process_time()
        yield
        self[part] += time.process_time() - begun


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", 1_281_167), ("classes", 1000), ("width", 512), ("teacher-width", 768)):
        parse.add_argument(f"--{name}", type=int, default=default)
    for name, default in (("batch", 256), ("labelled-batch", 256), ("steps", 200)):
        parse.add_argument(f"--{name}", type=int, default=default)
    parse.add_argument("--logits", action="store_true", help="store the teacher's logits")
    parse.add_argument("--fused", action="store_true", help="as OPTIM.FUSED: one kernel updates all weights")
    parse.add_argument("--folder", help="where the stores are written (default: a temporary folder)")
    args = parse.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        measure(args, Path(folder))


def measure(args: argparse.Namespace, folder: Path) -> None:
    """Write both stores, take the steps, print the shares."""
    shares = Shares()
    with shares.of("writing"):
        stores = {
            kind: write_store(folder / kind, kind, args.images, width, args.classes)
            for kind, width in (
                ("teacher", args.classes if args.logits else args.teacher_width),
                ("student", args.width),
            )
        }
    size = sum(rows.manifest.bytes for rows in stores.values())
    print(f"{args.images:,} images, {size / 2**30:.2f} GiB written in {shares.pop('writing'):.1f} s")
    teacher, cpu = StoredTeacher(stores["teacher"]), torch.device("cpu")
    student = Student()
    method = LinearProbeMethod(student, make_head(args.width, args.classes, "linear"))
    objective = DHO(make_head(args.width, args.classes), DHOLoss())
    optimizer = torch.optim.AdamW([*method.parameters(), *objective.parameters()], lr=5e-5, fused=args.fused)
    pair = loaders(stores["student"], args.classes, args.batch, args.labelled_batch)
    steps = min(args.steps or len(pair), len(pair))
    batches = iter(pair)
    begun = time.perf_counter()
    for step in range(-3, steps):
        if step == 0:  # the first ones are slower
            shares.clear()
            begun = time.perf_counter()
        with shares.of("loaders"):
            content = next(batches, None)
        if content is None:
            steps = step
            break
        batch = Batch(content, None, cpu)
        with shares.of("student's rows"):
            features = stored_rows(stores["student"], batch)
        with shares.of("teacher's rows and logits"):
            logits = teacher(batch)
        with shares.of("heads and losses, forward"):
            terms = objective(method.of_features(features, batch.labelled), batch.labels, logits)
        with shares.of("backward"):
            optimizer.zero_grad()
            terms.total.backward()
        with shares.of("update"):
            optimizer.step()
    wall, total = time.perf_counter() - begun, sum(shares.values())
    for part, seconds in shares.items():
        print(f"{part:28s} {seconds / steps * 1e3:8.2f} ms a step  {seconds / total:6.1%}")
    epoch = args.images / (args.batch + args.labelled_batch) / steps  # every image once
    told = {"steps": steps, "epoch_cpu_s": total * epoch, "epoch_wall_s": wall * epoch}
    print(json.dumps({**vars(args), **told}))


if __name__ == "__main__":
    main()
