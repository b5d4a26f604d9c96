"""The runs of a comparison as a script lists them: what each is asked, where it lies, and which others it needs."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dho_prompt import evaluate, train
from dho_prompt.config import plain
from dho_prompt.runs.folder import RESULTS, run_state


@dataclass(eq=False)
class Run:
    """One run.

    Attributes:
        module: ``train`` or ``evaluate``, the command line of the package that makes it.
        words: the arguments of that command line.
        folder: its output folder.
        state: ``new``, ``interrupted`` or ``finished`` (:func:`dho_prompt.runs.folder.run_state`).
        seed: of the run, by which ``{seed}`` in a path is replaced.
        threads: TORCH_THREADS; 0 leaves it to torch.
        cuda: whether it takes a CUDA device where there is one.
        name: what tells it apart from the others.
        number: its place in the order of starting, from 1; 0 before.
        needs: the runs that must be finished first.
    """

    module: str
    words: list[str]
    folder: str
    state: str
    seed: int = -1
    threads: int = 0
    cuda: bool = True
    name: str = ""
    number: int = 0
    needs: list[Run] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """What the seeds of one method have in common."""
        return os.path.dirname(self.folder)


def read_list(content: bytes) -> list[list[str]]:
    """The command lines of a list: for each the number of its words and the words, all of them ended by a zero byte.

    Raises:
        ValueError: it is of another form.
    """
    if content and not content.endswith(b"\0"):
        raise ValueError("the list of runs ends within a word; the scripts write it, see scripts/common.sh")
    texts, found, place = [os.fsdecode(word) for word in content.split(b"\0")[:-1]], [], 0
    while place < len(texts):
        count = int(texts[place]) if texts[place].isdigit() else 0
        words = texts[place + 1 : place + 1 + count]
        if not words or len(words) < count:
            raise ValueError(f"the list of runs has {texts[place]!r} where a number of words stands, or lacks words")
        found.append(words)
        place += 1 + count
    return found


def look_up(module: str, words: Sequence[str]) -> Run:
    """Read what one run is asked, and what its folder says about it.

    Raises:
        FileNotFoundError, ValueError: as the command line itself.
    """
    words = list(words)
    if module == "train":
        args = train.parser().parse_args(words)
        cfg = train.setup_cfg(args)
        train.check_flags(args, cfg)
        folder, state = cfg.OUTPUT_DIR, run_state(cfg.OUTPUT_DIR, plain(cfg))
    elif module == "evaluate":
        args = evaluate.parser().parse_intermixed_args(words)
        cfg, folder = evaluate.evaluation_cfg(args), args.run
        done = evaluate.is_done(Path(folder) / args.file, Path(folder) / RESULTS, cfg)
        state = "finished" if done else "new"
    else:
        raise ValueError(f"the list of runs names {module!r}; it takes train, evaluate and report")
    folder = os.path.normpath(folder)
    return Run(module, words, folder, state, cfg.SEED, cfg.TORCH_THREADS, cfg.USE_CUDA)


def look_up_all(lines: Sequence[Sequence[str]]) -> list[Run]:
    """:func:`look_up` for a whole list, with names and needs; what is listed twice is run once.

    Raises:
        ValueError: some cannot be run as they are asked; every different message once.
    """
    runs, problems = [], {}
    for module, *words in dict.fromkeys(map(tuple, lines)):
        try:
            runs.append(look_up(module, words))
        except (ValueError, OSError) as error:
            problems[str(error)] = None
    if problems:
        raise ValueError("\n".join(problems))
    set_names(runs)
    for run in runs:
        run.needs = needs_of(run, runs)
    return runs


def set_names(runs: Sequence[Run]) -> None:
    """Name each run by the parts of its folder that are not the same in all."""
    parts = [Path(run.folder).parts for run in runs]
    same = [len(set(column)) == 1 for column in zip(*parts)]
    for run, own in zip(runs, parts):
        differing = [part for place, part in enumerate(own) if place >= len(same) or not same[place]]
        run.name = " ".join(differing or own[-3:])


def needs_of(run: Run, runs: Sequence[Run]) -> list[Run]:
    """The other runs whose folder, or a file in it, an argument names; and those that have the folder before."""
    named = set()
    for word in run.words:
        word = word.replace("{seed}", str(run.seed))
        named |= {os.path.normpath(path) for path in (word, *re.split(r"[\s'\",()\[\]]+", word)) if path}
    needed = [
        other
        for other in runs
        if other.folder != run.folder and any(f"{path}/".startswith(f"{other.folder}/") for path in named)
    ]
    return needed + [other for other in runs[: runs.index(run)] if other.folder == run.folder]
