"""Plant faults of one line each in a copy of the tree and see whether the tests notice.

    python .ci/plant_faults.py [--only TEXT ...] [--survivors-whole] [--list] [--jobs N]

The faults are in ``.ci/faults``, by part of the package. A fault is *caught* when the tests named for it fail or do not
end in time, and *survives* when they pass. One whose old text is not found exactly once, or that is no longer Python,
is an error of the list. The exit status is 1 unless all are caught. Run it with the Python that runs the tests.

A file of faults begins with a line of explanation. ``@ FILE`` names the file that the faults after it are in, and
``tests PATH ...`` the tests that should notice. Each fault is ``# what is wrong``, then the text as it is behind ``- ``
and as it becomes behind ``+ ``, which may have several lines.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from queue import Queue
from typing import Iterator, List, NamedTuple, Sequence, Tuple

# a file that changes within a second would meet its old bytecode
os.environ.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
sys.dont_write_bytecode = True

import pytest  # noqa: E402

# What the package and its tests import, never the package itself: a fork for each fault has it already
OTHERS = ("torch", "torch.utils.tensorboard", "torchvision", "open_clip", "sklearn.metrics", "sklearn.datasets", "yacs")
OTHERS += ("tabulate", "matplotlib.pyplot", "hypothesis")
for _name in OTHERS:
    with contextlib.suppress(ImportError):
        import_module(_name)
REPOSITORY = Path(__file__).resolve().parents[1]
LISTS = Path(__file__).resolve().parent / "faults"
LIMIT = 300  # seconds for the tests of one fault
WHOLE_LIMIT = 1500  # and for the whole suite, or all named tests together


class Fault(NamedTuple):
    """What is wrong afterwards, the file, the text that stands in it once, what takes its place, and the tests."""

    name: str
    file: str
    old: str
    new: str
    tests: Tuple[str, ...]


def read_faults(path: Path) -> Iterator[Fault]:
    """The faults of one list."""
    file, tests, name, texts = "", (), "", {"-": [], "+": []}
    for line in [*path.read_text(encoding="utf-8").splitlines()[1:], "#"]:
        kind, _, rest = line.partition(" ")
        if kind in texts:
            texts[kind].append(rest)
            continue
        if texts["-"]:
            yield Fault(name, file, "\n".join(texts["-"]), "\n".join(texts["+"]), tests)
            texts = {"-": [], "+": []}
        if kind == "@":
            file = rest
        elif kind == "tests":
            tests = tuple(rest.split())
        elif kind == "#":
            name = rest
        elif line:
            raise ValueError(f"{path}: {line!r} begins with none of @, tests, #, - and +")


def copy_tree(folder: Path) -> Path:
    """What git tracks or would add, as it is now."""
    listed = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "-co", "--exclude-standard", "-z"], capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = REPOSITORY / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return folder


def passes(tree: Path, tests: Sequence[str], limit: float) -> bool:
    """Whether the tests pass in the tree, in time."""
    child = os.fork()
    if child == 0:
        _run_tests(tree, tests)
    end = time.time() + limit
    while time.time() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.05)
    os.killpg(child, 9)
    os.waitpid(child, 0)
    return False


def _run_tests(tree: Path, tests: Sequence[str]) -> None:
    """In the child: never returns."""
    status = 1
    try:
        os.setsid()
        os.chdir(tree)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        os.environ["PYTHONPATH"] = str(tree)
        sys.path[0] = str(tree)
        status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
    finally:
        os._exit(status)


def applies(tree: Path, fault: Fault) -> bool:
    """Whether the old text occurs once, and the file with the new one is still Python."""
    path = tree / fault.file
    source = path.read_text(encoding="utf-8") if path.is_file() else ""
    if source.count(fault.old) != 1 or fault.old == fault.new:
        return False
    try:
        compile(source.replace(fault.old, fault.new), fault.file, "exec")
    except SyntaxError:
        return False
    return True


def try_fault(tree: Path, fault: Fault, whole: bool) -> str:
    """``caught``, ``survived`` or ``not applicable``; the tree is as before afterwards."""
    path = tree / fault.file
    if not applies(tree, fault):
        return "not applicable"
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace(fault.old, fault.new), encoding="utf-8")
    try:
        survived = passes(tree, fault.tests, LIMIT) and not (whole and not passes(tree, (), WHOLE_LIMIT))
        return "survived" if survived else "caught"
    finally:
        path.write_text(before, encoding="utf-8")


def run(chosen: Sequence[Fault], jobs: int, whole: bool) -> List[Tuple[Fault, str]]:
    """The result of each fault, printed as it comes."""
    trees: Queue = Queue()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(jobs):
            trees.put(copy_tree(Path(folder) / str(number)))
        tests = sorted({test for fault in chosen for test in fault.tests})
        if not passes(Path(folder) / "0", tests, WHOLE_LIMIT):
            sys.exit(f"the tests fail, or take over {WHOLE_LIMIT} s, without any fault: {' '.join(tests)}")

        def one(fault: Fault) -> Tuple[Fault, str]:
            tree, start = trees.get(), time.time()
            try:
                result = try_fault(tree, fault, whole)
            finally:
                trees.put(tree)
            print(f"{result:14} {time.time() - start:4.0f} s  {fault.file}: {fault.name}", flush=True)
            return fault, result

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(one, chosen))


def main() -> int:
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument(
        "--only", nargs="+", default=[""], metavar="TEXT", help="faults with such a text in list, file or name"
    )
    parse.add_argument("--survivors-whole", action="store_true", help="run the whole suite on what else survives")
    parse.add_argument("--list", action="store_true", help="check that the faults can be planted, and run nothing")
    parse.add_argument("--jobs", type=int, default=1, metavar="N", help="faults at a time (default 1)")
    args = parse.parse_args()
    named = [
        (fault, f"{path.name} {fault.file} {fault.name}")
        for path in sorted(LISTS.iterdir())
        for fault in read_faults(path)
    ]
    chosen = [fault for fault, words in named if any(text in words for text in args.only)]
    if args.list:
        results = [(fault, "to plant" if applies(REPOSITORY, fault) else "not applicable") for fault in chosen]
    else:
        results = run(chosen, args.jobs, args.survivors_whole)
    for kind in ("survived", "not applicable"):
        for fault in (fault for fault, result in results if result == kind):
            print(f"{kind}: {fault.file}: {fault.name}")
    kinds = [result for _, result in results]
    print(f"{len(kinds)} faults: " + ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds))))
    return 0 if {"survived", "not applicable"}.isdisjoint(kinds) else 1


if __name__ == "__main__":
    sys.exit(main())
