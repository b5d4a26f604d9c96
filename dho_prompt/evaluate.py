"""``python -m dho_prompt.evaluate RUN``: test a finished run again, on its own test set and on shifted ones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from dho_prompt.config import check_settings, extend_cfg, merge_file, merge_opts, plain
from dho_prompt.console import one_message
from dho_prompt.engine import get_cfg_default, setup_logger
from dho_prompt.runs.folder import CONFIG, EVALUATION, MIX, RESULTS, SPLIT, binding, read_result
from dho_prompt.runs.lock import one_process
from dho_prompt.train import find_config, start
from dho_prompt.training.trained_run import deployed_epoch, finished_cfg


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(
        prog="python -m dho_prompt.evaluate",
        description="Test a finished run of this command line with the configuration that it was trained with. "
        "alpha and beta are what the run searched, or TRAINER.DHO.ALPHA and BETA if they are given or SEARCH is off.",
    )
    parse.add_argument("run", metavar="RUN", help=f"output folder of the run, with its {CONFIG} and {RESULTS}")
    parse.add_argument("--root", default="", metavar="FOLDER", help="folder of the data sets, if it has moved")
    parse.add_argument(
        "--dataset-config-file", default="", metavar="YAML", help="test the TEST.SHIFTED_SETS that it names"
    )
    parse.add_argument(
        "--file", default=EVALUATION, metavar="NAME.json", help=f"file to write into RUN (default {EVALUATION})"
    )
    parse.add_argument(
        "--import-classes",
        action="store_true",
        help=f"import data set classes that the run's {CONFIG} names; only for runs of your own",
    )
    parse.add_argument("opts", nargs="*", metavar="KEY VALUE", help="overrides, e.g. of TEST.*")
    return parse


def evaluation_cfg(args: argparse.Namespace) -> CfgNode:
    """The run's own configuration, with what the arguments replace.

    Raises:
        FileNotFoundError, ValueError: those of :func:`~dho_prompt.training.trained_run.finished_cfg`, or a key is
            unknown or has a value that it does not allow.
    """
    folder = Path(args.run)
    cfg = finished_cfg(folder)
    named = extend_cfg(get_cfg_default())  # what the user names, and not the run folder
    if args.dataset_config_file:
        merge_file(named, find_config(args.dataset_config_file))
        cfg.TEST.SHIFTED_SETS = named.TEST.SHIFTED_SETS
    if args.root:
        cfg.DATASET.ROOT = args.root
    for target in (named, cfg):
        merge_opts(target, args.opts)
    check_settings(cfg)
    cfg.freeze()
    if not args.import_classes:
        refuse_foreign_classes(folder, cfg, {named.DATASET.NAME, *named.TEST.SHIFTED_SETS})
    return cfg


def refuse_foreign_classes(folder: Path, cfg: CfgNode, named: set[str]) -> None:
    """Import no module because a run folder, perhaps a stranger's, says so.

    Raises:
        ValueError: the configuration has a data set of the form package.module:Class that the user did not name.
    """
    names = [cfg.DATASET.NAME, *cfg.TEST.SHIFTED_SETS]
    foreign = [name for name in dict.fromkeys(names) if ":" in name and name not in named]
    if foreign:
        raise ValueError(
            f"{folder / CONFIG} names the data set class {foreign[0]}, whose module would be imported, which runs its "
            f"code. If it is yours, name it: DATASET.NAME {foreign[0]}, or a --dataset-config-file that has it, or "
            "--import-classes for all of them"
        )


def run(argv: list[str] | None = None) -> None:
    """Evaluate what the arguments say, unless its file is there already."""
    args = parser().parse_intermixed_args(argv)
    taken = args.file in (CONFIG, RESULTS, MIX, SPLIT)
    if taken or Path(args.file).name != args.file or not args.file.endswith(".json"):
        raise ValueError(f"--file is {args.file!r}; it takes the name of a new .json file, such as {EVALUATION}")
    cfg = evaluation_cfg(args)
    file = Path(args.run) / args.file
    if is_done(file, Path(args.run) / RESULTS, cfg):
        print(f"{args.run} is evaluated ({file.name} is there): nothing to do")
        return
    with one_process(args.run):
        setup_logger(str(file.with_suffix(".log")))
        trainer = start(cfg, training=False)
        trainer.evaluation_file = file.name
        trainer.load_model(args.run, epoch=deployed_epoch(cfg))
        trainer.test()


def is_done(file: Path, results: Path, cfg: Any) -> bool:
    """Whether ``file`` holds this evaluation of the run whose results are in the file ``results``."""
    if not file.is_file() or file.stat().st_mtime < results.stat().st_mtime:
        return False
    return binding(read_result(file)["config"]) == binding(plain(cfg))


def main(argv: list[str] | None = None) -> None:
    """:func:`run`, with a wrong input shown as one message."""
    with one_message("the same command starts the evaluation again"):
        run(argv)


if __name__ == "__main__":
    main()
