"""``python -m dho_prompt.predict RUN IMAGE...``: what a finished run says of images, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
from typing import Any

from tabulate import tabulate

from dho_prompt.console import one_message
from dho_prompt.predictor import Predictions, Predictor


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(
        prog="python -m dho_prompt.predict",
        description="Predict images with a finished run: the class and its probability by the run's prediction (blend "
        "is the mix of the two heads) and by each head.",
    )
    parse.add_argument("run", metavar="RUN", help="output folder of a finished run")
    parse.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    parse.add_argument("--device", default="", help="cpu, cuda, ... (default: a GPU if there is one)")
    parse.add_argument("--batch-size", type=int, default=0, metavar="N", help="images at a time (default: the run's)")
    parse.add_argument("--json", action="store_true", help="print JSON, with the probabilities of all classes")
    return parse


def table(found: Predictions) -> str:
    """A line for each image: by head the class and its probability in percent."""
    rows = []
    for number, image in enumerate(found.images):
        cells = [image, found.names[number]]
        for probabilities in found.probabilities.values():
            most, label = probabilities[number].max(dim=-1)
            cells.append(f"{found.classnames[int(label)]} {100 * float(most):.1f}%")
        rows.append(cells)
    return tabulate(rows, ["image", "class", *found.probabilities], disable_numparse=True)


def as_json(found: Predictions, mix: dict[str, Any] | None) -> dict[str, Any]:
    """``classes``, ``mix`` and ``images``: for each its ``class``, ``label`` and ``probabilities`` by head."""
    images = [
        {
            "image": image,
            "class": found.names[number],
            "label": int(found.labels[number]),
            "probabilities": {head: rows[number].tolist() for head, rows in found.probabilities.items()},
        }
        for number, image in enumerate(found.images)
    ]
    return {"classes": found.classnames, "mix": mix, "images": images}


def main(argv: list[str] | None = None) -> None:
    args = parser().parse_args(argv)
    with one_message():
        predictor = Predictor.from_run(args.run, args.device)
        found = predictor.predict(args.images, args.batch_size)
        print(json.dumps(as_json(found, predictor.mix)) if args.json else table(found))


if __name__ == "__main__":
    main()
