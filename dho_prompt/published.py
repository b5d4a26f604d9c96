"""``python -m dho_prompt.published FILE FOLDER``: make a run folder of a checkpoint of the paper's published code."""

from __future__ import annotations

import argparse
from pathlib import Path

from dho_prompt.console import one_message
from dho_prompt.engine import load_checkpoint
from dho_prompt.engine.checkpoint import save_checkpoint
from dho_prompt.files import write_json
from dho_prompt.runs.folder import MIX
from dho_prompt.students.published import Published, read_published

EPOCH = 1  # what the files of the folder are called by


def convert(path: str, folder: Path) -> Published:
    """Write the weights and the mix of a published checkpoint as those of a run of FinetuneDHO.

    Args:
        path: the checkpoint.
        folder: a new or empty folder.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: it is another's, or the folder holds something.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; name a new folder for the converted checkpoint")
    found = read_published(load_checkpoint(path), path)
    for name, state in found.models.items():
        if name == "kd_head" and found.kd_head == "scaled":
            state = {**state, "zeta": state["bias"].new_tensor(0.01).double()}  # its code multiplies by 100
        save_checkpoint({"state_dict": state, "epoch": EPOCH}, str(folder / name), verbose=False)
    chosen = f"stored in {Path(path).name}"
    write_json(folder / MIX, {"alpha": found.alpha, "beta": found.beta, "chosen": chosen})
    return found


def command(found: Published, folder: Path) -> str:
    """The evaluation of a converted checkpoint, to be completed by the data set's place."""
    recipe = {"ViT-L/14@336px": "imagenet_percent_vit_l14", "resnet18": "shots_resnet18"}.get(found.network, "")
    recipe = recipe or {"resnet50": "imagenet_shots_resnet50_dino", "mobilenet_v2": "shots_mobilenet_v2"}.get(
        found.network, "imagenet_percent_vit_b16"
    )
    size = f' INPUT.SIZE "({found.size}, {found.size})"' if found.size else ""
    return (
        "python -m dho_prompt.train --eval-only --trainer FinetuneDHO "
        f"--model-dir {folder} --load-epoch {EPOCH} --root DATA --dataset-config-file configs/datasets/DATASET.yaml "
        f"--config-file configs/trainers/FinetuneDHO/{recipe}.yaml --output-dir {folder} "
        f"MODEL.BACKBONE.NAME {found.network}{size} TRAINER.DHO.HEAD {found.kd_head} TRAINER.DHO.SEARCH off "
        f"TRAINER.DHO.ALPHA {found.alpha:g} TRAINER.DHO.BETA {found.beta:g}"
    )


def run(argv: list[str] | None = None) -> None:
    parse = argparse.ArgumentParser(
        prog="python -m dho_prompt.published",
        description="Make a run folder of a checkpoint of the paper's published code (model_state_dict of a CLIP tower "
        "or a network of torchvision with two heads), to be evaluated and to teach like any run of FinetuneDHO.",
    )
    parse.add_argument("checkpoint", metavar="FILE", help="the checkpoint, e.g. vit_b_1.pt")
    parse.add_argument("folder", metavar="FOLDER", help="a new folder")
    args = parse.parse_args(argv)
    folder = Path(args.folder)
    found = convert(args.checkpoint, folder)
    print(
        f"{found.network} with {found.classes} classes, alpha {found.alpha:g}, beta {found.beta:g}: {folder}\n"
        f"Evaluate it by:\n  {command(found, folder)}"
    )


def main(argv: list[str] | None = None) -> None:
    """:func:`run`, with a wrong input shown as one message."""
    with one_message():
        run(argv)


if __name__ == "__main__":
    main()
