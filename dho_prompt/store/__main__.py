"""``python -m dho_prompt.store teacher|student --store FOLDER --views V`` with dho_prompt.train's flags; ``check``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from dho_prompt.console import one_message
from dho_prompt.store.layout import DTYPES, HOLDS, KINDS


def main(argv: list[str] | None = None) -> None:
    """Make a store, or check one, with what stops it shown as one message."""
    argv = sys.argv[1:] if argv is None else argv
    with one_message("the same command goes on with the next shard"):
        kind, *rest = argv or [""]
        if kind == "check":
            _check(rest)
        elif kind in KINDS:
            _make(kind, rest)
        else:
            sys.exit(f"python -m dho_prompt.store {'|'.join((*KINDS, 'check'))} ...; teacher --help shows the flags")


def parser(kind: str) -> argparse.ArgumentParser:
    """The flags of dho_prompt.train, by which a run and its stores are described alike, and those of stores."""
    from dho_prompt.train import parser as of_train

    parse = argparse.ArgumentParser(
        prog=f"python -m dho_prompt.store {kind}",
        description=f"Store what a frozen {kind} says of views of every training image, for the runs that the flags of "
        "dho_prompt.train describe.",
        parents=[of_train(add_help=False)],
        usage="%(prog)s --store FOLDER --views V [flags of dho_prompt.train] [KEY VALUE ...]",
    )
    parse.add_argument("--store", required=True, metavar="FOLDER", help="folder of the store")
    parse.add_argument("--views", type=_positive, default=1, metavar="V", help="views of every image (default: 1)")
    parse.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help="of the rows (default: float16)")
    parse.add_argument(
        "--holds", choices=("auto", *HOLDS), default="auto", help="of a teacher; auto takes what is shorter"
    )
    parse.add_argument("--shard", type=_part, default=(0, 1), metavar="I/N", help="make the I-th of N parts, I from 0")
    return parse


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return int(text)


def _part(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not 0 <= int(part) < int(parts or 0):
        raise argparse.ArgumentTypeError(f"{text} is not I/N with 0 <= I < N")
    return int(part), int(parts)


def _make(kind: str, argv: list[str]) -> None:
    import torch

    from dho_prompt.train import setup_cfg
    from dho_prompt.training.store_build import Order, make_store

    args = parser(kind).parse_args(argv)
    cfg = setup_cfg(args)
    if cfg.TORCH_THREADS:
        torch.set_num_threads(cfg.TORCH_THREADS)
    source, per_run = _source(cfg)
    order = Order(kind, args.store, args.views, args.dtype, args.holds, args.shard)
    make_store(order, source, per_run)
    print(f"{args.store} is complete" if args.shard == (0, 1) else f"Part {args.shard[0]} of {args.store} is complete")


def _source(cfg: Any) -> tuple[Any, int]:
    """What the configuration's run would be made from, and how many views it would show to a tower."""
    import torch

    from dho_prompt.data.datasets import import_datasets
    from dho_prompt.engine import TRAINER_REGISTRY, DataManager
    from dho_prompt.engine.rng import untouched_rng
    from dho_prompt.runs.evaluation import known_classes
    from dho_prompt.store.images import StoredImages
    from dho_prompt.train import register
    from dho_prompt.training.loaders import (
        SharedViews,
        every_training_image,
        labelled_batches,
        pair_batches,
        shared_crop,
        unlabelled_images,
    )
    from dho_prompt.training.names import check_names
    from dho_prompt.training.store_build import Source
    from dho_prompt.training.stores import images_of_run

    register()
    import_datasets(cfg.DATASET.NAME)
    if cfg.TRAINER.NAME:
        check_names(cfg, training=False)
    device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
    trainer: Any = TRAINER_REGISTRY.get(cfg.TRAINER.NAME) if cfg.TRAINER.NAME else None
    node = getattr(trainer, "node", "")
    with untouched_rng():
        crop = shared_crop(cfg)
        data = DataManager(cfg, custom_tfm_train=crop, dataset_wrapper=SharedViews)
        pool = unlabelled_images(cfg, data.dataset) if getattr(trainer, "distils", True) else ()
        if pool:
            pair = pair_batches(cfg, data.train_loader_x, pool, crop, device)
        else:
            pair = labelled_batches(cfg, data.train_loader_x, data.dataset)
    images = StoredImages(
        every_training_image(cfg, data.dataset), getattr(data.dataset, "root", cfg.DATASET.ROOT)
    )  # fmt: skip
    precision = cfg.TRAINER[node].PREC if node and "PREC" in cfg.TRAINER[node] else "fp32"
    source = Source(cfg, images, list(known_classes(data).names), precision, device)
    return source, images_of_run(pair, cfg.OPTIM.MAX_EPOCH)


def _check(argv: list[str]) -> None:
    from tqdm import tqdm

    from dho_prompt.store.rows import StoredRows

    parse = argparse.ArgumentParser(prog="python -m dho_prompt.store check", description="Read all of a store.")
    parse.add_argument("folder", metavar="FOLDER")
    rows = StoredRows(parse.parse_args(argv).folder)
    for shard in tqdm(range(rows.manifest.shards), desc="checking"):
        rows.check(shard)
    print(f"{rows.folder} is complete and undamaged: {rows.manifest.images} images x {rows.manifest.views} views")


if __name__ == "__main__":
    main()
