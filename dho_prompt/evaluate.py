"""``python -m dho_prompt.evaluate RUN``: test a finished run again, on its own test set and on shifted ones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, List, Optional

from yacs.config import CfgNode

from dho_prompt.config import check_settings, extend_cfg, merge_file, merge_opts, merge_plain, plain
from dho_prompt.engine import get_cfg_default, setup_logger
from dho_prompt.files import read_json
from dho_prompt.runs.folder import CONFIG, EVALUATION, RESULTS, binding
from dho_prompt.train import find_config, one_message, start


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(
        prog="python -m dho_prompt.evaluate",
        description="Test a finished run of this command line with the configuration that it was trained with. "
        "alpha and beta are TRAINER.DHO.ALPHA and BETA, or what the run searched (TRAINER.DHO.SEARCH True).",
    )
    parse.add_argument("run", metavar="RUN", help=f"output folder of the run, with its {CONFIG} and {RESULTS}")
    parse.add_argument("--root", default="", metavar="FOLDER", help="folder of the data sets, if it has moved")
    parse.add_argument(
        "--dataset-config-file", default="", metavar="YAML", help="test the TEST.SHIFTED_SETS that it names"
    )
    parse.add_argument(
        "--file", default=EVALUATION, metavar="NAME.json", help=f"file to write into RUN (default {EVALUATION})"
    )
    parse.add_argument("opts", nargs="*", metavar="KEY VALUE", help="overrides, e.g. of TEST.*")
    return parse


def evaluation_cfg(args: argparse.Namespace) -> CfgNode:
    """The run's own configuration, with what the arguments replace.

    Raises:
        FileNotFoundError: the run is not there, or not finished.
        ValueError: a key is unknown, for example because the run was made in a host's own train.py, or has a value
            that it does not allow.
    """
    folder = Path(args.run)
    for name in (CONFIG, RESULTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}, so it is no finished run; its training command makes it or resumes it"
            )
    cfg = extend_cfg(get_cfg_default())
    merge_plain(cfg, read_json(folder / CONFIG), str(folder / CONFIG))
    cfg.OUTPUT_DIR = str(folder)
    if args.dataset_config_file:
        named = extend_cfg(get_cfg_default())
        merge_file(named, find_config(args.dataset_config_file))
        cfg.TEST.SHIFTED_SETS = named.TEST.SHIFTED_SETS
    if args.root:
        cfg.DATASET.ROOT = args.root
    merge_opts(cfg, args.opts)
    check_settings(cfg)
    cfg.freeze()
    return cfg


def run(argv: Optional[List[str]] = None) -> None:
    """Evaluate what the arguments say, unless its file is there already."""
    args = parser().parse_intermixed_args(argv)
    if Path(args.file).name != args.file or args.file in (CONFIG, RESULTS) or not args.file.endswith(".json"):
        raise ValueError(f"--file is {args.file!r}; it takes the name of a new .json file, such as {EVALUATION}")
    cfg = evaluation_cfg(args)
    file = Path(args.run) / args.file
    if is_done(file, Path(args.run) / RESULTS, cfg):
        print(f"{args.run} is evaluated ({file.name} is there): nothing to do")
        return
    setup_logger(str(file.with_suffix(".log")))
    trainer = start(cfg, training=False)
    trainer.evaluation_file = file.name
    trainer.load_model(args.run, epoch=None if cfg.TEST.FINAL_MODEL == "best_val" else cfg.OPTIM.MAX_EPOCH)
    trainer.test()


def is_done(file: Path, results: Path, cfg: Any) -> bool:
    """Whether ``file`` holds this evaluation of the run whose results are in the file ``results``."""
    if not file.is_file() or file.stat().st_mtime < results.stat().st_mtime:
        return False
    return binding(read_json(file)["config"]) == binding(plain(cfg))


def main(argv: Optional[List[str]] = None) -> None:
    """:func:`run`, with a wrong input shown as one message."""
    with one_message():
        run(argv)


if __name__ == "__main__":
    main()
