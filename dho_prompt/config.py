"""Every configuration key that dho_prompt adds to Dassl's, and a merge that refuses unknown keys by name."""

from __future__ import annotations

import difflib
from typing import Any, Dict, Iterator, List, Sequence

from yacs.config import CfgNode

# Keys that take fractions though their defaults are whole, as in the hosts, whose yacs refuses 15 where it knows 15.0
FRACTIONAL = tuple(
    f"TRAINER.PROMPTSRC.{name}" for name in ("TEXT_LOSS_WEIGHT", "IMAGE_LOSS_WEIGHT", "GPA_MEAN", "GPA_STD")
)
PRECISIONS = ("fp32", "fp16", "amp", "bf16")
HEADS = ("linear", "cosine")
HEAD_STARTS = ("language", "kaiming")


def extend_cfg(cfg: CfgNode) -> CfgNode:
    """Add our nodes to a Dassl config; keys that a host has already added keep the host's values.

    Call it where a CoOp-style ``train.py`` calls its own ``extend_cfg``, before any file is merged.

    Returns:
        ``cfg`` itself.
    """
    add = _Adder(cfg)
    # A file with the weights of MODEL.BACKBONE.NAME, instead of the ones that the name would fetch
    add("MODEL.BACKBONE.WEIGHTS", "")
    add("DATASET.SUBSAMPLE_CLASSES", "all")  # all, base or new (Zhou et al., CoCoOp)
    # Labelled images as a share of the training set, in percent, balanced over the classes (Sec. 3.1); 0.0 is off
    add("DATASET.LABELED_PERCENT", 0.0)
    # A text file that names the labelled images, one a line (SimCLR's lists); only one of the three ways at a time
    add("DATASET.LABELED_LIST", "")
    add("DATASET.FOLDER", "")  # for DATASET.NAME ImageFolder: the folder, absolute or below DATASET.ROOT
    # Further test sets of the same classes or some of them, evaluated after training, e.g. ("DigitsV2", "DigitsSketch")
    add("TEST.SHIFTED_SETS", ())
    # Score sets of fewer classes (ImageNet-A and -R: 200) among all classes of the model instead of their own
    add("TEST.ALL_CLASSES", False)
    # Let a step take the whole labelled set where it is smaller than the batch, as Dassl does; False refuses
    add("DATALOADER.FIT_BATCH", True)
    # What the learning rate changes with: "epoch" (Dassl's schedules), or "iteration" (cosine behind WARMUP_STEPS
    # iterations of linear warm-up, Tables 6 and 11: 5000)
    add("OPTIM.SCHEDULE_BY", "epoch")
    add("OPTIM.WARMUP_STEPS", 0)
    # Training images that may turn out unreadable: each is named in the log and replaced by another; one more stops the
    # run. Images for validation and testing must all be readable
    add("DATALOADER.MAX_UNREADABLE", 10)
    add("TORCH_THREADS", 0)  # CPU threads of PyTorch; 0 leaves PyTorch's choice

    add("TRAINER.COOP.N_CTX", 16)  # context tokens
    add("TRAINER.COOP.CSC", False)  # class-specific contexts
    add("TRAINER.COOP.CTX_INIT", "")  # words to start the context from; their number replaces N_CTX
    add("TRAINER.COOP.PREC", "fp16")  # fp32, fp16, bf16 (weights) or amp (autocast)
    add("TRAINER.COOP.CLASS_TOKEN_POSITION", "end")  # end, middle or front

    add("TRAINER.LINEAR_PROBE.PREC", "fp32")  # of the frozen tower; the head is in fp32
    add("TRAINER.LINEAR_PROBE.HEAD", "linear")  # linear (W z + b, Sec. 3.2) or cosine (Eq. 10's form)
    add("TRAINER.LINEAR_PROBE.HEAD_INIT", "language")  # language (class text features, Table 5) or kaiming

    add("TRAINER.ZEROSHOT.PREC", "fp32")
    add("TRAINER.ZEROSHOT.ENSEMBLE", False)  # average the data set's templates instead of using its single one
    add("TRAINER.ZEROSHOT.TEMPLATES", ())  # other templates

    add("TRAINER.VPT.N_CTX_VISION", 2)  # prompt tokens of a block
    add("TRAINER.VPT.PROMPT_DEPTH_VISION", 1)  # blocks with prompts of their own (VPT-3, VPT-9 in Table 13)
    add("TRAINER.VPT.CTX_INIT", "a photo of a")  # words before the class names of HEAD text
    add("TRAINER.VPT.PREC", "fp16")
    # linear or cosine, as of LINEAR_PROBE; text: CLIP's zero-shot classifier, which is not trained (MaPLe's VPT)
    add("TRAINER.VPT.HEAD", "linear")
    add("TRAINER.VPT.HEAD_INIT", "language")

    # PromptSRC's names and defaults (Khattak et al., ICCV 2023, and their code)
    add("TRAINER.PROMPTSRC.N_CTX_VISION", 4)  # prompt tokens per block of the image tower
    add("TRAINER.PROMPTSRC.N_CTX_TEXT", 4)  # context tokens per block of the text tower
    add("TRAINER.PROMPTSRC.CTX_INIT", "a photo of a")  # words to start from; without effect if N_CTX_TEXT is over 4
    add("TRAINER.PROMPTSRC.PREC", "fp16")  # fp32, fp16, bf16 (weights) or amp (autocast)
    add("TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", 9)  # blocks with prompts of their own; 0: none in the image tower
    add("TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", 9)  # at least 1
    add("TRAINER.PROMPTSRC.TEXT_LOSS_WEIGHT", 25)  # of the L1 distance to the frozen text features
    add("TRAINER.PROMPTSRC.IMAGE_LOSS_WEIGHT", 10)  # of the L1 distance to the frozen image features
    add("TRAINER.PROMPTSRC.GPA_MEAN", 15)  # Gaussian prompt averaging: the epoch that weighs most, from 1
    add("TRAINER.PROMPTSRC.GPA_STD", 1)  # in epochs
    add("TRAINER.PROMPTSRC.TEMPLATES", ())  # of the frozen text features; () takes PromptSRC's 60

    add("TRAINER.DHO.LAMBDA", 0.5)  # weight of the supervised side, lambda of Alg. 1 line 24 (Table 6)
    add("TRAINER.DHO.TEMPERATURE", 2.0)  # eta of Alg. 1 (Table 6)
    # Multiply the KL terms by eta^2 as the authors' code does; the paper does not print the factor
    add("TRAINER.DHO.SCALE_BY_TEMPERATURE", True)
    add("TRAINER.DHO.ZETA", 0.0)  # temperature of cosine logits (Eq. 1, 10); 0 takes the teacher's 1 / exp(logit_scale)
    # all: every training image with its label hidden (Alg. 1 line 7); exclude_labeled: those not labelled (Sec. 3.1);
    # none: no unlabelled images (the labelled-only rows of Table 13)
    add("TRAINER.DHO.UNLABELED", "all")
    add("TRAINER.DHO.HEAD", "cosine")  # cosine (aligned, Eq. 10) or linear
    add("TRAINER.DHO.HEAD_INIT", "language")  # language (the student's text features, Table 5) or kaiming
    add("TRAINER.DHO.HEAD_LR", 0.0)  # learning rate of the KD head; 0 takes OPTIM.LR
    add("TRAINER.DHO.ALPHA", 0.5)  # share of the host method at inference (Eq. 11; Table 11: 0.5)
    add("TRAINER.DHO.BETA", 1.0)  # temperature of the KD head at inference (Eq. 11; Table 11: 1)
    add("TRAINER.DHO.SEARCH", False)  # choose alpha and beta on the validation set instead
    add("TRAINER.DHO.TEACHER.NAME", "ViT-L/14@336px")  # any name MODEL.BACKBONE.NAME takes (Table 11)
    add("TRAINER.DHO.TEACHER.WEIGHTS", "")  # a file with its weights, as MODEL.BACKBONE.WEIGHTS
    # Trained prompts on it: a checkpoint of CoOp or PromptSRC, or the output folder of such a run; "" is zero-shot
    add("TRAINER.DHO.TEACHER.CHECKPOINT", "")
    add("TRAINER.DHO.TEACHER.TEMPLATES", ())  # prompt templates; () takes those of the data set (Sec. 4.1)
    add("TRAINER.DHO.TEACHER.PREC", "")  # fp32, fp16 or bf16; "" takes the method's
    return cfg


class _Adder:
    """Add dotted keys, making nodes as needed."""

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg

    def __call__(self, key: str, default: Any) -> None:
        node = self.cfg
        *parents, leaf = key.split(".")
        for name in parents:
            if name not in node:
                node[name] = CfgNode()
            node = node[name]
        if leaf not in node:
            node[leaf] = default


def known_keys(cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    """All keys of ``cfg`` with their dots, leaves only."""
    for name, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from known_keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def merge_file(cfg: CfgNode, path: str) -> None:
    """Merge a YAML file into ``cfg``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML, a key is unknown (the message names the nearest known ones), or a value has
            another type.
    """
    try:
        with open(path, encoding="utf-8") as file:
            node = CfgNode.load_cfg(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no configuration file {path}") from None
    except Exception as error:  # yacs and yaml have no common class for malformed files
        raise ValueError(f"{path} is not a readable YAML configuration: {error}") from error
    _merge(cfg, {key: _leaf(node, key) for key in known_keys(node)}, where=path)


def merge_opts(cfg: CfgNode, opts: Sequence[str]) -> None:
    """Merge ``KEY VALUE`` pairs from the command line into ``cfg``; the errors are those of :func:`merge_file`."""
    if len(opts) % 2:
        raise ValueError(f"overrides come in pairs KEY VALUE; got {len(opts)} words: {' '.join(opts)}")
    values = {key: CfgNode._decode_cfg_value(value) for key, value in zip(opts[0::2], opts[1::2])}
    _merge(cfg, values, where="the command line")


def merge_plain(cfg: CfgNode, settings: Dict[str, Any], where: str) -> None:
    """Merge what :func:`plain` gave, read from the file ``where``; the errors are those of :func:`merge_file`."""
    node = CfgNode(settings)
    _merge(cfg, {key: _leaf(node, key) for key in known_keys(node)}, where)


def _merge(cfg: CfgNode, values: Dict[str, Any], where: str) -> None:
    known = set(known_keys(cfg))
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
            near = near or [name for name in sorted(known) if name.endswith("." + key.split(".")[-1])][:3]
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"unknown configuration key {key} in {where}{hint}")
        _set(cfg, key, value, where)


def _set(cfg: CfgNode, key: str, value: Any, where: str) -> None:
    default = _leaf(cfg, key)
    if isinstance(value, str) and not isinstance(default, str):
        value = CfgNode._decode_cfg_value(value)  # YAML reads (32, 32) and 1e-5 as text
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(default, float) and is_number:
        value = float(value)  # yacs itself refuses 1 where the default is 1.0
    elif isinstance(default, str) and is_number:
        value = str(value)
    elif isinstance(default, (tuple, list)) and isinstance(value, (tuple, list)):
        value = type(default)(value)
    fits = type(value) is type(default) or (key in FRACTIONAL and is_number)
    if default is not None and not fits:
        raise ValueError(
            f"{key} in {where} is {value!r} ({type(value).__name__}); it takes a {type(default).__name__} "
            f"such as {default!r}"
        )
    *parents, leaf = key.split(".")
    for name in parents:
        cfg = cfg[name]
    cfg[leaf] = value


def _leaf(cfg: CfgNode, key: str) -> Any:
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def check_choice(key: str, value: str, allowed: Sequence[str]) -> None:
    """Raise a ValueError that names the allowed values of a configuration key."""
    if value not in allowed:
        raise ValueError(f"{key} is {value!r}; allowed are {', '.join(allowed)}")


def differences(before: Dict[str, Any], after: Dict[str, Any], prefix: str = "") -> List[str]:
    """Lines ``KEY: old -> new`` for two configs given as nested dicts (JSON values)."""
    lines = []
    for key in sorted(set(before) | set(after)):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {old!r} -> {new!r}")
    return lines


def plain(cfg: CfgNode) -> Dict[str, Any]:
    """``cfg`` as nested dicts of JSON values (tuples become lists)."""
    return {
        key: plain(value) if isinstance(value, CfgNode) else list(value) if isinstance(value, tuple) else value
        for key, value in cfg.items()
    }
