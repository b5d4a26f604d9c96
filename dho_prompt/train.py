"""The command line: ``python -m dho_prompt.train`` with CoOp's flags and KEY VALUE overrides."""

from __future__ import annotations

import argparse
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from dho_prompt.config import check_settings, extend_cfg, merge_file, merge_opts, plain
from dho_prompt.console import one_message
from dho_prompt.engine import (
    TRAINER_REGISTRY,
    build_trainer,
    collect_env_info,
    describe_engine,
    get_cfg_default,
    register_if_absent,
    set_random_seed,
    setup_logger,
)
from dho_prompt.runs.folder import RESULTS, run_state
from dho_prompt.runs.lock import one_process


def parser(add_help: bool = True) -> argparse.ArgumentParser:
    """CoOp's flags."""
    parse = argparse.ArgumentParser(
        prog="python -m dho_prompt.train", description="Train or evaluate one run.", add_help=add_help
    )
    parse.add_argument("--root", default="", metavar="FOLDER", help="folder of the data sets")
    parse.add_argument("--output-dir", default="", metavar="FOLDER", help="output folder of the run")
    parse.add_argument("--resume", default="", metavar="FOLDER", help="output folder of another run to go on from")
    parse.add_argument("--seed", type=int, default=None, help="0 or more fixes the seed; negative draws freely")
    parse.add_argument("--source-domains", nargs="+", help="source domains (Dassl)")
    parse.add_argument("--target-domains", nargs="+", help="target domains (Dassl)")
    parse.add_argument("--transforms", nargs="+", help="training transforms, INPUT.TRANSFORMS")
    parse.add_argument("--config-file", default="", metavar="YAML", help="configuration of the trainer")
    parse.add_argument("--dataset-config-file", default="", metavar="YAML", help="configuration of the data set")
    parse.add_argument("--trainer", default="", help="name of the trainer, e.g. CoOpDHO")
    parse.add_argument("--backbone", default="", help="name of the CLIP model, MODEL.BACKBONE.NAME")
    parse.add_argument("--head", default="", help="MODEL.HEAD.NAME (Dassl)")
    parse.add_argument("--eval-only", action="store_true", help="evaluate a trained run")
    parse.add_argument("--model-dir", default="", metavar="FOLDER", help="output folder of the run to evaluate")
    parse.add_argument("--load-epoch", type=int, help="epoch of the checkpoint to evaluate")
    parse.add_argument("--no-train", action="store_true", help="build everything, train nothing")
    parse.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="configuration overrides")
    return parse


def setup_cfg(args: argparse.Namespace) -> CfgNode:
    """Dassl's defaults, ours, the data set's file, the trainer's file, the flags, the overrides; later ones win.

    Raises:
        FileNotFoundError, ValueError: a file is missing, or a key is unknown or has a value that it does not allow.
    """
    cfg = extend_cfg(get_cfg_default())
    for path in (args.dataset_config_file, args.config_file):
        if path:
            merge_file(cfg, find_config(path))
    flags = {
        "DATASET.ROOT": args.root,
        "OUTPUT_DIR": args.output_dir,
        "RESUME": args.resume,
        "DATASET.SOURCE_DOMAINS": args.source_domains,
        "DATASET.TARGET_DOMAINS": args.target_domains,
        "INPUT.TRANSFORMS": args.transforms,
        "TRAINER.NAME": args.trainer,
        "MODEL.BACKBONE.NAME": args.backbone,
        "MODEL.HEAD.NAME": args.head,
    }
    for key, value in flags.items():
        if value:
            node, leaf = key.rpartition(".")[::2]
            target = cfg
            for name in filter(None, node.split(".")):
                target = target[name]
            target[leaf] = tuple(value) if isinstance(value, list) else value
    if args.seed is not None:
        cfg.SEED = args.seed
    merge_opts(cfg, args.opts)
    if "DATALOADER.TRAIN_X.BATCH_SIZE" in args.opts[0::2]:
        cfg.DATALOADER.FIT_BATCH = False  # what was asked for by name is not changed silently
    check_settings(cfg)
    cfg.freeze()
    return cfg


def find_config(path: str) -> str:
    """``path`` if it is a file, else the file of that name among the configurations that come with the package."""
    if Path(path).is_file():
        return path
    package = Path(__file__).resolve().parent
    for configs in (package / "configs", package.parent / "configs"):
        for candidate in (configs / path, configs.parent / path):
            if candidate.is_file():
                return str(candidate)
    return path


def register() -> None:
    """Put our trainers and data sets in the registries; plain methods and data sets under names that are still free.

    Every file of ``trainers/`` is imported. Its trainers with a teacher register themselves; the plain ones, which have
    names that hosts use too, are registered here.
    """
    import dho_prompt.data.datasets  # noqa: F401  registers the data sets
    import dho_prompt.trainers
    from dho_prompt.training.method_trainer import MethodTrainer

    for file in pkgutil.iter_modules(dho_prompt.trainers.__path__):
        module = import_module(f"dho_prompt.trainers.{file.name}")
        for trainer in vars(module).values():
            is_own = isinstance(trainer, type) and trainer.__module__ == module.__name__
            if is_own and issubclass(trainer, MethodTrainer):
                register_if_absent(TRAINER_REGISTRY, trainer)


def run(argv: list[str] | None = None) -> None:
    """Train, or evaluate with ``--eval-only``, what the arguments say; see :func:`main` for errors."""
    args = parser().parse_args(argv)
    cfg = setup_cfg(args)
    check_flags(args, cfg)
    with one_process(cfg.OUTPUT_DIR):
        _run(args, cfg)


def _run(args: argparse.Namespace, cfg: CfgNode) -> None:
    if not (args.eval_only or args.no_train) and run_state(cfg.OUTPUT_DIR, plain(cfg)) == "finished":
        print(f"{cfg.OUTPUT_DIR} is finished ({RESULTS} is there): nothing to do")
        return
    setup_logger(cfg.OUTPUT_DIR)
    if cfg.VERBOSE:
        print("Arguments")
        for name, value in sorted(vars(args).items()):
            print(f"  {name}: {value}")
    trainer = start(cfg, training=not args.eval_only)
    if args.eval_only:
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        trainer.test()
    elif not args.no_train:
        trainer.train()


def check_flags(args: argparse.Namespace, cfg: CfgNode) -> None:
    """Refuse flags that would be passed over, and the evaluation of a model that nobody has trained.

    Raises:
        FileNotFoundError: --model-dir is no folder.
        ValueError: names the flag and the one that is missing.
    """
    if args.model_dir and not Path(args.model_dir).is_dir():
        raise FileNotFoundError(f"the folder {args.model_dir} of --model-dir does not exist")
    if args.eval_only and not args.model_dir:
        register()
        from dho_prompt.training.names import check_trained

        check_trained(cfg)
    for flag, value in (("--model-dir", args.model_dir), ("--load-epoch", args.load_epoch)):
        if value not in ("", None) and not (args.eval_only and args.model_dir):
            needed = "--eval-only" if args.model_dir else "--eval-only --model-dir FOLDER"
            raise ValueError(
                f"{flag} {value} says which trained run is evaluated, so it needs {needed}; to go on from another "
                "run's checkpoints use --resume, to start from its prompts MODEL.INIT_WEIGHTS"
            )


def start(cfg: CfgNode, training: bool = True) -> Any:
    """Set what a run sets once (threads, seed, registries), say what it runs with, and build its trainer.

    Args:
        training: False for the evaluation of a trained run, which does without the teacher.

    Raises:
        FileNotFoundError, ValueError: a name means nothing; found before data and models are loaded.
    """
    if cfg.TORCH_THREADS:
        import torch

        torch.set_num_threads(cfg.TORCH_THREADS)
    print(describe_engine())
    if cfg.VERBOSE:
        print(f"Configuration\n{cfg}")
        print(f"Environment\n{collect_env_info()}")
    if cfg.SEED >= 0:
        print(f"Setting fixed seed: {cfg.SEED}")
        set_random_seed(cfg.SEED)
    register()
    from dho_prompt.data.datasets import import_datasets
    from dho_prompt.training.evaluating import evaluating
    from dho_prompt.training.names import check_names
    from dho_prompt.training.unused import unused_settings

    import_datasets(cfg.DATASET.NAME, *cfg.TEST.SHIFTED_SETS)
    check_names(cfg, training)
    unused = unused_settings(cfg, TRAINER_REGISTRY.get(cfg.TRAINER.NAME))
    if unused:
        print(f"Set but not used by this run: {', '.join(unused)}")
    with evaluating(not training):
        return build_trainer(cfg)


def main(argv: list[str] | None = None) -> None:
    """:func:`run`, with what stops it shown as one message."""
    with one_message("the same command resumes after the last complete epoch"):
        run(argv)


if __name__ == "__main__":
    main()
