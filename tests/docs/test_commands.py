"""Every command on the pages runs: with bash as it stands there, and with programs that write down how they are called.

Each call is then read by the program that it is for: flags, configuration files, keys and their ranges. Stand-ins are
named in :data:`STANDS_FOR`; a block with another placeholder, or a call that no rule here is for, fails.
"""

import argparse
import re
import runpy
import sys
from pathlib import Path

import pytest

from dho_prompt.config import extend_cfg, known_keys
from dho_prompt.engine import TRAINER_REGISTRY, get_cfg_default
from dho_prompt.train import parser, register, setup_cfg
from page_blocks import REPOSITORY, Place, blocks

COMMANDS = blocks("bash", "sh", "console")
STANDS_FOR = {  # what a page writes -> what the test has in its place
    "/path/to/datasets": "data",
    "/path/to/dho_prompt": ".",
    "/path/to/checkout": "checkout",
    "/path/to/CoOp": "checkout",
    "/path/to/ViT-B-16.pt": "weights.pt",
    "/path/to/ViT-L-14.pt": "weights.pt",
    "path/to/prompt_learner/model.pth.tar-50": "weights.pt",
    ".../": "checkouts/",
    " ...\n": "\n",
}
EVALUATES = re.compile(r"^(.*)bash scripts/ood_eval\.sh (\w+) ([^#\n]*)", re.M)  # runs that another script made
HOSTS_TRAIN = "train.py"  # of a checkout
OF_THIS_REPOSITORY = (".ci/plant_faults.py", "docs/write_configuration.py")  # too slow to import, and without arguments


class Read(BaseException):
    """An argument parser has read its arguments; nothing after it is to run."""


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    for name in ("my_images", "data", "checkout"):
        (place.folder / name).mkdir()
    for name in ("weights.pt", "checkout/train.py"):
        (place.folder / name).touch()
    run = place.folder / "output/digits/CoOpDHO/digits_4shots/seed1"
    run.mkdir(parents=True)
    return place


@pytest.fixture
def reads(monkeypatch):
    """``reads(call)``: what the argument parser of the program that is called makes of its words."""

    reading = []

    def stopping(name):
        original = getattr(argparse.ArgumentParser, name)

        def read(self, *args, **kwargs):
            if reading:  # one of them calls another
                return original(self, *args, **kwargs)
            reading.append(name)
            try:
                raise Read(original(self, *args, **kwargs))
            finally:
                reading.clear()

        return read

    def reads(call):
        is_module = call.words[0] == "-m"
        with monkeypatch.context() as patch:
            for name in ("parse_args", "parse_intermixed_args", "parse_known_args"):
                patch.setattr(argparse.ArgumentParser, name, stopping(name))
            patch.chdir(call.folder)
            patch.setattr(sys, "argv", call.words[is_module:])
            try:
                if is_module:
                    runpy.run_module(call.words[1], run_name="__main__", alter_sys=True)
                else:
                    patch.syspath_prepend(str(Path(call.words[0]).resolve().parent))  # as python itself does
                    runpy.run_path(call.words[0], run_name="__main__")
            except Read as got:
                told, others = got.args[0] if isinstance(got.args[0], tuple) else (got.args[0], [])
                assert not others, f"{call.words} has {others}, which nothing reads"
                return told
        raise AssertionError(f"{call.words} read no arguments")

    return reads


@pytest.mark.filterwarnings("ignore::RuntimeWarning:runpy")  # modules that are imported already
@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_commands(block, place, reads, monkeypatch):
    monkeypatch.chdir(place.folder)
    text = block.text
    for named, stands in STANDS_FOR.items():
        text = text.replace(named, stands)
    text = EVALUATES.sub(r"\1bash scripts/\2.sh \3\n\g<0>", text)
    assert not re.search(r"/path/|path/to|<\w+>|\.\.\.", text), f"a placeholder that STANDS_FOR does not have: {text}"
    calls = place.calls(text)
    assert calls or all(line.startswith(("#", "export ")) for line in text.splitlines()), "it calls nothing known"
    for call in calls:
        rule = RULES.get(call.program)
        assert rule, f"no rule reads {call}"
        rule(call, reads)


def python(call, reads):
    words = call.words
    if words[:2] == ["-m", "pytest"]:
        return paths_exist(call._replace(words=words[2:]), reads)
    if words[0] == HOSTS_TRAIN:
        return coop_flags(words[1:])
    if words[0] in OF_THIS_REPOSITORY:
        return paths_exist(call, reads)
    told = reads(call)
    if words[:2] == ["-m", "dho_prompt.train"]:
        register()
        cfg = setup_cfg(told)
        assert cfg.TRAINER.NAME in TRAINER_REGISTRY.registered_names()
    elif words[:2] == ["-m", "dho_prompt.hosts"] and told.command == "run":
        coop_flags(words[words.index("--") + 1 :])
    elif words[:2] == ["-m", "dho_prompt.evaluate"]:
        keys_exist(told.opts)
    return None


def coop_flags(words):
    """Arguments of a host's train.py, which are CoOp's."""
    args = parser().parse_args(words)
    assert args.trainer.endswith("DHO") and args.root and args.output_dir
    keys_exist(args.opts)


def keys_exist(opts):
    known = set(known_keys(extend_cfg(get_cfg_default())))
    assert len(opts) % 2 == 0 and set(opts[::2]) <= known, opts


def pip(call, reads):
    """Extras are those of setup.py, folders are there."""
    command, *words = call.words
    assert command == "install"
    names = set(re.findall(r'^        "(\w+)": \[', (REPOSITORY / "setup.py").read_text(), re.M))
    for word in words:
        name, extras = re.fullmatch(r"([\w./-]+?)(?:\[(.*)\])?", word).groups()
        assert name in ("-e", "gdown", "dho-prompt") or (call.folder / name / "setup.py").is_file(), word
        assert set((extras or "").split(",")) <= names | {""}, word


def git(call, reads):
    command, *words = call.words
    assert command == "clone" and re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", words[-1])


def paths_exist(call, reads):
    for word in call.words:
        assert word.startswith("-") or word in ("slow", "build", "serve", "check", "format") or Path(word).exists(), (
            word
        )


RULES = {"python": python, "pip": pip, "git": git}
RULES.update(dict.fromkeys(("pytest", "ruff", "mypy", "mkdocs"), paths_exist))
