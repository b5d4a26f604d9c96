"""Plant faults of one line each in a copy of the tree and see whether the tests notice.

    python .ci/plant_faults.py [--only TEXT ...] [--survivors-whole] [--list] [--jobs N]

The faults are in ``.ci/faults``, by part of the package. A fault is *caught* when the tests named for it fail or do not
end in time, and *survives* when they pass. One whose old text is not found exactly once is an error of the list. The
exit status is 1 unless all are caught. Run it with the Python that runs the tests.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import List, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
from faults import FAULTS, Fault  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]
LIMIT = 300  # seconds for the tests of one fault
WHOLE_LIMIT = 1500  # and for the whole suite


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
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # a file that changes within a second would meet its old bytecode
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=tree, env=environment, start_new_session=True, **quiet) as process:
        try:
            return process.wait(limit) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return False


def try_fault(tree: Path, fault: Fault, whole: bool) -> str:
    """``caught``, ``survived`` or ``not applicable``; the tree is as before afterwards."""
    path = tree / fault.file
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    if before.count(fault.old) != 1 or fault.old == fault.new:
        return "not applicable"
    path.write_text(before.replace(fault.old, fault.new), encoding="utf-8")
    try:
        survived = passes(tree, fault.tests, LIMIT) and not (whole and not passes(tree, (), WHOLE_LIMIT))
        return "survived" if survived else "caught"
    finally:
        path.write_text(before, encoding="utf-8")


def main() -> int:
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="faults with such a text in name or file")
    parse.add_argument("--survivors-whole", action="store_true", help="run the whole suite on what else survives")
    parse.add_argument("--list", action="store_true", help="check that the faults can be planted, and run nothing")
    parse.add_argument("--jobs", type=int, default=1, metavar="N", help="faults at a time (default 1)")
    args = parse.parse_args()
    chosen = [fault for fault in FAULTS if any(text in f"{fault.file} {fault.name}" for text in args.only)]
    if args.list:
        results = [(fault, _applies(fault)) for fault in chosen]
    else:
        results = run(chosen, args.jobs, args.survivors_whole)
    for kind in ("survived", "not applicable"):
        for fault in (fault for fault, result in results if result == kind):
            print(f"{kind}: {fault.file}: {fault.name}")
    counts = {kind: sum(result == kind for _, result in results) for kind in ("caught", "survived", "not applicable")}
    print(f"{len(results)} faults: " + ", ".join(f"{count} {kind}" for kind, count in counts.items() if count))
    return 0 if counts["survived"] == counts["not applicable"] == 0 else 1


def _applies(fault: Fault) -> str:
    path = REPOSITORY / fault.file
    once = path.is_file() and path.read_text(encoding="utf-8").count(fault.old) == 1 and fault.old != fault.new
    return "to plant" if once else "not applicable"


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


if __name__ == "__main__":
    sys.exit(main())
