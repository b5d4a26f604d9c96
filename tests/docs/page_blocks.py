"""The commands and the Python on the pages, and a place where the commands run with programs that only write down."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```\s*$", re.M | re.S)
PROGRAMS = (
    "python",
    "pip",
    "git",
    "pytest",
    "ruff",
    "mypy",
    "mkdocs",
    "jupyter",
    "dho-prompt-train",
    "dho-prompt-report",
)
RECORD = """import json, os, sys
name, *words = sys.argv[1:]
calls = [words]
if words == ["-m", "dho_prompt.compare"]:  # a list of runs: for each the number of its words, and the words
    given, calls = sys.stdin.read().split("\\0")[:-1], []
    while given:
        count = int(given.pop(0))
        calls.append(["-m", "dho_prompt." + given[0], *given[1:count]])
        del given[:count]
for words in calls:
    with open(os.environ["RECORD"], "a") as file:
        file.write(json.dumps([name, os.getcwd(), *words]) + "\\n")
    if (name, words[:1]) == ("git", ["clone"]):  # so that a command can go there
        os.makedirs(words[-1].rsplit("/", 1)[-1], exist_ok=True)
    if "--output-dir" in words:  # so that a script can evaluate the run
        folder = words[words.index("--output-dir") + 1]
        os.makedirs(folder, exist_ok=True)
        open(os.path.join(folder, "results.json"), "w").close()
"""


class Block(NamedTuple):
    """A fenced block of a page, and where it begins."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page}-{self.line}"


class Call(NamedTuple):
    """A program that a block called, from a folder."""

    program: str
    folder: Path
    words: list


def blocks(*languages):
    """All blocks in these languages, of all pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            if match[2] in languages:
                found.append(Block(page.relative_to(REPOSITORY).as_posix(), line, match[2], match[3]))
    return found


class Place:
    """A folder that looks like the repository, with stand-ins for what the pages only name."""

    def __init__(self, folder):
        self.folder, self.programs = folder / "repository", folder / "bin"
        self.folder.mkdir(parents=True)
        self.programs.mkdir()
        for entry in REPOSITORY.iterdir():
            if entry.name not in (".git", "output", "data", "build"):
                (self.folder / entry.name).symlink_to(entry)
        (folder / "record.py").write_text(RECORD)
        for name in PROGRAMS:
            stub = self.programs / name
            stub.write_text(f'#!/bin/sh\nexec "{sys.executable}" -ES "{folder}/record.py" {name} "$@"\n')
            stub.chmod(0o755)

    def calls(self, text, **variables):
        """Run ``text`` with bash; every call of one of :data:`PROGRAMS` that it, or a script, makes."""
        record = self.folder.parent / "record.jsonl"
        record.unlink(missing_ok=True)
        environment = {"PATH": f"{self.programs}:/usr/bin:/bin", "RECORD": str(record), "HOME": os.environ["HOME"]}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env={**environment, "DATA": "data", "SEEDS": "1", "JOBS": "1", **variables},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        lines = record.read_text().splitlines() if record.exists() else []
        return [Call(name, Path(folder), words) for name, folder, *words in map(json.loads, lines)]
