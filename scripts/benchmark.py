"""How much faster than the published computations, and by how much the results differ.

Every comparison runs both ways in turns in one process, so that a busy machine slows both; the ratio is the median over
the pairs. Models have random weights of real sizes (neither time nor memory depends on the weights), in float32.

    python scripts/benchmark.py                              # text image coop promptsrc evaluation, 100 classes
    python scripts/benchmark.py text coop evaluation --classes 1000 --batch 32 --repeats 1
    python scripts/benchmark.py dho --batch 1                # a stored teacher; --teacher ViT-H-14-378
    python scripts/benchmark.py growth --repeats 1           # curves over classes, context, depth, batch, views
    python scripts/benchmark.py --small                      # towers of three narrow blocks: seconds, to try it

The data path, lists of images, stores, frozen towers and a finetuning step by its parts have scripts of their own
(``scripts/benchmark_*.py``).

Prints a line for each and writes ``benchmark.json`` and ``benchmark.png`` (``--output`` names them otherwise). What
such a file holds of other comparisons stays in it.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks import encoders, steps
from benchmarks.dho import dho
from benchmarks.growth import growth
from benchmarks.measure import Case, measure
from benchmarks.picture import draw
from dho_prompt.files import read_json, write_json

WHAT = {
    "text": encoders.text,
    "image": encoders.image,
    "coop": steps.coop,
    "promptsrc": steps.promptsrc,
    "evaluation": steps.evaluation,
    "dho": dho,
}
ALONE = ("dho",)  # only when asked: its teacher takes minutes on a CPU


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    file = args.output.with_suffix(".json")
    kept = read_json(file)["measured"] if file.exists() else []
    for what in tqdm(args.what, desc="comparisons"):
        torch.manual_seed(0)
        records = growth(args) if what == "growth" else compared(WHAT[what](args), args)
        for record in records:
            if args.small or "curve" in record:
                record["goal"] = None  # goals are for the sizes of ViT-B/16
            record.update(machine=machine(args))
            tqdm.write(line(record))
        names = {subject(record) for record in records}
        kept = [record for record in kept if subject(record) not in names] + records
        write_json(file, {"measured": kept})
    draw(kept, args.output.with_suffix(".png"))
    print(f"Saved {file} and {args.output.with_suffix('.png')}")


def compared(made: Case | list[Case], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure what a subject consists of."""
    cases = made if isinstance(made, list) else [made]
    return [record for case in cases for record in measure(case, args.repeats, args.device)]


def subject(record: dict[str, Any]) -> str:
    """What a record is about: a curve, or a comparison of its own."""
    return record.get("curve", record["name"])


def line(record: dict[str, Any]) -> str:
    """A comparison in words."""
    worst: dict[str, float] = {}  # "gradient of a" and "gradient of b" in one
    for name, value in record["difference"].items():
        kind = name.split(" of ")[0]
        worst[kind] = max(worst.get(kind, 0), value)
    differences = ", ".join(f"{kind} {value:.1e}" for kind, value in worst.items())
    goal = f" (goal {record['goal']:g})" if record["goal"] else ""
    text = (
        f"{record['name']}: {record['ratio']:.1f} times faster{goal}; ours {spread(record['ours'])} s, published "
        f"{spread(record['published'])} s"
    )
    if "kept" in record:
        kept = " against ".join(f"{size / 2**20:.0f}" for size in record["kept"])
        text += f"; kept for backward {kept} MiB"
    note = f"; {record['note']}" if record["note"] else ""
    return f"{text}; largest relative difference: {differences}{note}"


def spread(times: list[float]) -> str:
    """Median (shortest-longest)."""
    return f"{statistics.median(times):.3f} ({min(times):.3f}-{max(times):.3f})"


def machine(args: argparse.Namespace) -> dict[str, Any]:
    """What the times depend on."""
    device = torch.cuda.get_device_name() if args.device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": device, "threads": args.threads, "torch": torch.__version__, "repeats": args.repeats}


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*WHAT, "growth", []], help=f"of {' '.join(WHAT)} growth")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--batch", type=int, default=8, help="images; PromptSRC's step takes at most 4")
    parser.add_argument("--n-ctx", type=int, default=16, help="learned context vectors of CoOp and the text tower")
    parser.add_argument("--depth", type=int, default=1, help="text blocks with a context of their own; 1 is CoOp")
    parser.add_argument(
        "--repeats", type=int, default=3, help="rounds, behind one that warms up; 0 takes that one's times"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda")
    parser.add_argument("--teacher", default="ViT-L-14-336", metavar="MODEL", help="of dho: a name of open_clip")
    parser.add_argument("--small", action="store_true", help="tiny towers")
    parser.add_argument("--output", type=Path, default=Path("benchmark"), help="path without an ending")
    args = parser.parse_args(words)
    args.what = args.what or [what for what in WHAT if what not in ALONE]
    return args


if __name__ == "__main__":
    main()
