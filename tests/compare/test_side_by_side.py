"""Real small runs in processes of their own: order, what is passed over, failures, interruptions, the screen."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import torch
from test_listed import listed

from dho_prompt.compare import side_by_side
from dho_prompt.compare.listed import Run
from dho_prompt.compare.screen import Screen
from dho_prompt.compare.side_by_side import jobs_at_a_time
from dho_prompt.train import main

REPOSITORY = Path(__file__).resolve().parents[2]


def start(lines, stdin=subprocess.PIPE, **variables):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    for name in ("JOBS", "VERBOSE"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-m", "dho_prompt.compare"], stdin=stdin, stdout=subprocess.PIPE,
        **{"stderr": subprocess.PIPE, **variables.pop("streams", {})}, env={**environment, **variables},
    )  # fmt: skip
    process.stdin.write(listed(*lines))
    process.stdin.close()
    process.stdin = None
    return process


def compare(lines, **variables):
    process = start(lines, **variables)
    said, errors = process.communicate(timeout=200)
    return process.returncode, said.decode(), errors.decode()


@pytest.fixture
def line(train_args, tmp_path):
    """A line of a list: ``line(name, KEY, VALUE, ...)``; the run's folder is ``tmp_path / name``."""

    def words(name, *options, trainer="CoOp", seed=1):
        return ["train", *train_args(trainer, "TORCH_THREADS", "1", *options, output=tmp_path / name, seed=seed)]

    return words


def weights(folder):
    return torch.load(folder / "prompt_learner" / "model.pth.tar-3", weights_only=True)["state_dict"]["ctx"]


def test_nine_runs_are_those_of_separate_processes_on_a_quiet_screen(line, tmp_path):
    methods = ("CoOp", "CoOpDHO", "VPT")
    lines = [line(f"{name}/seed{n}", trainer=name, seed=n) for name in methods for n in range(3)]
    table = ["report", *(str(tmp_path / name) for name in methods), "--save", str(tmp_path / "table")]
    status, said, errors = compare([*lines, table], JOBS="2")
    assert status == 0, errors
    assert len((said + errors).splitlines()) < 40 and "epoch [" not in said + errors
    assert errors.startswith("9 runs, 2 at a time\nrun ") and "**ImageNet, 2 shots**" in said
    ends = re.findall(r"^run (\d) of 9, (\w+ seed\d): accuracy [\d.]+ %, \d\d:\d\d$", errors, re.MULTILINE)
    assert sorted(ends) == [(str(n + 1), f"{methods[n // 3]} seed{n % 3}") for n in range(9)]
    assert "seed0" not in said and (tmp_path / "table.md").exists()
    log = (tmp_path / "CoOpDHO" / "seed2" / "log.txt").read_text()
    assert "epoch [3/3] batch [1/1]" in log and "Finish training" in log and "Results saved" in log

    alone = tmp_path / "alone"
    words = line("alone", trainer="CoOpDHO", seed=2)[1:]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-m", "dho_prompt.train", *words], env=environment, check=True, capture_output=True)
    assert torch.equal(weights(alone), weights(tmp_path / "CoOpDHO" / "seed2"))
    first, second = (json.loads((f / "results.json").read_text()) for f in (alone, tmp_path / "CoOpDHO" / "seed2"))
    for result in (first, second):
        del result["seconds"], result["sha256"], result["config"]["OUTPUT_DIR"]
    assert first == second


def test_finished_runs_are_passed_over_and_interrupted_ones_go_on(line, tmp_path):
    lines = [line(name) for name in ("a", "b", "c")]
    for words in lines[:2]:
        main(words[1:])
        sys.stdout.close()
    (tmp_path / "b" / "results.json").unlink()
    before = (tmp_path / "a" / "log.txt").stat().st_mtime
    status, _, errors = compare(lines, JOBS="1")
    assert status == 0, errors
    assert errors.splitlines()[0] == "1 of 3 runs are finished, 1 interrupted, to go on, 1 at a time"
    assert [row.split(":")[0] for row in errors.splitlines()[1:]] == ["run 2 of 3, b", "run 3 of 3, c"]
    assert (tmp_path / "a" / "log.txt").stat().st_mtime == before
    assert "will resume training" in "".join(path.read_text() for path in (tmp_path / "b").glob("log.txt-*"))
    assert compare(lines)[2].splitlines() == ["3 of 3 runs are finished"]


def test_a_run_waits_for_what_it_needs(line, tmp_path):
    second = line("second", "TRAINER.COOP.BOOST", tmp_path / "first")
    status, _, errors = compare([second, line("first"), line("other")], JOBS="3")
    assert status == 0, errors
    began = {name: (tmp_path / name / "config.json").stat().st_mtime for name in ("first", "second", "other")}
    assert began["second"] > (tmp_path / "first" / "results.json").stat().st_mtime > began["other"]
    assert "run 3 of 3, second: accuracy" in errors


def test_a_failure_is_told_in_full_and_stops_only_what_needs_it(line, tmp_path):
    wrong = line("first", "OPTIM.LR", "1e30", "OPTIM.WARMUP_CONS_LR", "0.001", "OPTIM.MAX_EPOCH", "9")
    boosted = line("second", "TRAINER.COOP.BOOST", tmp_path / "first")
    table = ["report", str(tmp_path)]
    assert (
        compare([wrong, line("bad", "OPTIM.LRR", "1")])[0] == 1 and not (tmp_path / "first").exists()
    )  # before a start
    status, said, errors = compare([wrong, boosted, line("other"), table], JOBS="1")
    assert status == 1 and not said and "Traceback" not in errors
    assert re.search(r"run 1 of 3, first FAILED after \d\d:\d\d: dho_prompt: error: .*\n.*DHO_PROMPT_DEBUG=1", errors)
    assert "OPTIM.LR" in errors and re.search(r"run 2 of 3, other: accuracy", errors)
    assert "2 of 3 runs failed or were not started, so there are no tables:\n" in errors
    assert f"  first: see {tmp_path / 'first' / 'log.txt'}\n  second: not started, for it needs first\n" in errors
    assert (tmp_path / "other" / "results.json").exists() and not (tmp_path / "second").exists()


def test_runs_that_need_one_another(monkeypatch):
    first, second = (Run("train", [], name, "new", name=name) for name in "ab")
    first.needs, second.needs = [second], [first]
    monkeypatch.setattr(side_by_side, "import_once", lambda: None)
    with pytest.raises(ValueError, match="these runs need one another: a, b"):
        side_by_side.SideBySide([first, second], 2, Screen([first, second], 2)).run()


LONG = ("OPTIM.MAX_EPOCH", "4000")


def epochs(folder):
    return [int(path.name.split("-")[1]) for path in folder.glob("prompt_learner/model.pth.tar-*")]


def wait_for(condition, seconds=60):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end
        time.sleep(0.02)


def alive(folder):
    """Whether a process has the lock of a run."""
    with open(folder / ".lock", "a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


@pytest.mark.parametrize("number, words", [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "stopped by SIGTERM")])
def test_a_signal_reaches_all_in_one_line(line, tmp_path, number, words):
    process = start([line(name, *LONG) for name in ("a", "b")], JOBS="2")
    wait_for(lambda: epochs(tmp_path / "a") and epochs(tmp_path / "b"))
    process.send_signal(number)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number and not said
    assert errors.decode() == f"2 runs, 2 at a time\n\ndho_prompt: {words}; the same command resumes\n"
    for name in ("a", "b"):
        assert not (tmp_path / name / ".lock").exists()  # ended in order


def test_when_the_runner_is_killed_its_runs_end(line, tmp_path):
    lines = [line(name, *LONG) for name in ("a", "b")]
    process = start(lines, JOBS="2")
    wait_for(lambda: epochs(tmp_path / "a") and epochs(tmp_path / "b"))
    process.kill()
    process.communicate(timeout=60)  # ends when nobody holds our stderr any more
    wait_for(lambda: not alive(tmp_path / "a") and not alive(tmp_path / "b"))


def test_a_terminal_has_a_live_line(line):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 160, 0, 0))
    process = start(
        [line(name, "OPTIM.MAX_EPOCH", "60", "TRAIN.CHECKPOINT_FREQ", "0") for name in ("a", "b")],
        JOBS="2",
        streams={"stderr": theirs},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    said, _ = process.communicate(timeout=60)
    text = shown.decode()
    assert process.returncode == 0, text
    assert re.search(r"\r *\d+%\|.{10}\| .*run [12] of 2, [ab]: epoch \d+ of 60, loss \d+\.\d{3}, acc", text)
    assert "left for all" in text and re.search(r"\rrun [12] of 2, [ab]: accuracy [\d.]+ %", text)


def test_verbose_shows_one_run_at_a_time_as_it_is(line):
    status, said, errors = compare([line("a"), line("b", "OPTIM.LR", "0.02")], VERBOSE="1", JOBS="2")
    assert status == 0, errors
    assert said.count("epoch [3/3] batch [1/1]") == 2 and said.count("* accuracy: ") == 2
    assert said.index("Results saved") < said.rindex("epoch [1/3]")
    assert "2 runs, 1 at a time\n\nrun 1 of 2, a\n" in errors and "run 2 of 2, b: 00:0" in errors


def test_jobs(monkeypatch):
    one, all_of_them = (Run("train", [], "x", "new", threads=threads) for threads in (1, 0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(side_by_side, "uses_cuda", lambda runs: False)
    assert jobs_at_a_time([one], None) == 6 and jobs_at_a_time([one, all_of_them], None) == 1
    assert jobs_at_a_time([Run("train", [], "x", "new", threads=3), one], "") == 2
    assert jobs_at_a_time([Run("train", [], "x", "new", threads=9)], None) == 1
    assert jobs_at_a_time([one, all_of_them], "5") == 5
    for wrong in ("0", "-1", "two", "1.5", "²"):
        with pytest.raises(ValueError, match="JOBS is"):
            jobs_at_a_time([one], wrong)
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert jobs_at_a_time([one], None) == 1 and jobs_at_a_time([one], "3") == 3
    assert side_by_side.start_method([one]) == "spawn"
    on_cpu = Run("train", [], "x", "new", threads=1, cuda=False)
    assert jobs_at_a_time([on_cpu], None) == len(os.sched_getaffinity(0))


def test_a_new_interpreter_for_each_run_gives_the_same(line, tmp_path):
    """As on macOS and with CUDA."""
    spawning = (
        "import sys, dho_prompt.compare.side_by_side as s\n"
        "s.start_method = lambda runs: 'spawn'\n"
        "from dho_prompt.compare.__main__ import main\n"
        "if __name__ == '__main__':\n    main()\n"
    )
    (tmp_path / "spawning.py").write_text(spawning)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "spawning.py")], input=listed(line("a")), env=environment,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.decode().count(": accuracy") == 1
    main(line("c")[1:])
    sys.stdout.close()
    assert torch.equal(weights(tmp_path / "a"), weights(tmp_path / "c"))
