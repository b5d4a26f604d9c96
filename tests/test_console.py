"""Ctrl-C, SIGTERM, dead workers and errors inside workers: one message, and the same command resumes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dho_prompt.console import one_message
from dho_prompt.train import main

SWALLOW = """
import sys, time
from dho_prompt.console import one_message
class Lost:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(30)  # an exception in here is ignored by Python
with one_message("again"):
    thing = Lost()
    del thing
    time.sleep(60)
"""


def signalled(code, number, *args):
    process = subprocess.Popen(
        [sys.executable, "-c", code, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


@pytest.mark.parametrize("number, words", [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "stopped by SIGTERM")])
def test_a_signal_is_one_line_even_where_python_ignores_exceptions(number, words):
    status, errors = signalled(SWALLOW, number)
    assert status == 128 + number and errors.strip().splitlines()[-1] == f"dho_prompt: {words}; again"
    plain = SWALLOW.replace('"again"', "").replace("time.sleep(30)", "pass")
    assert signalled(plain, number) == (128 + number, f"\ndho_prompt: {words}\n")


@pytest.mark.parametrize(
    "afterwards, told", [("", ""), ("again", "dho_prompt: nobody reads the output any more; again\n")]
)
@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_gone_is_no_error(afterwards, told, lines):
    code = f"from dho_prompt.console import one_message\nwith one_message({afterwards!r}):\n    input()\n"
    code += f"    print('\\n'.join(['line'] * {lines}))"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=buffered,
    )
    process.stdout.close()
    process.stdin.write("\n")
    process.stdin.close()
    assert process.stderr.read() == told and process.wait(timeout=30) == 128 + signal.SIGPIPE


def test_another_broken_pipe_is_an_error(capsys):
    with pytest.raises(SystemExit, match="error: a worker"), one_message():
        raise BrokenPipeError("a worker")


def test_handlers_are_given_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    with one_message():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == before


RUN = """
import sys
from dho_prompt import train
from dho_prompt.training import method_trainer
step = method_trainer.MethodTrainer.forward_backward
def slow(self, batch):
    import time
    if self.epoch == 1:
        print("ready", file=sys.__stdout__, flush=True)
        time.sleep(30)
    return step(self, batch)
method_trainer.MethodTrainer.forward_backward = slow
sys.stdout = open("/dev/null", "w")
train.main(sys.argv[1:])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_with_workers_is_interrupted_in_one_line_and_resumes(number, train_args, tmp_path):
    arguments = train_args("CoOpDHO", "DATALOADER.NUM_WORKERS", "2", "TRAIN.COUNT_ITER", "train_x")
    status, errors = signalled(RUN, number, *arguments)
    assert status == 128 + number and "Traceback" not in errors
    assert errors.strip().splitlines()[-1].endswith("; the same command resumes after the last complete epoch")
    assert not (tmp_path / "run" / "results.json").exists() and not (tmp_path / "run" / ".lock").exists()
    main(arguments)
    log = "".join(path.read_text() for path in (tmp_path / "run").glob("log.txt*"))
    assert "Previous epoch: 1" in log and (tmp_path / "run" / "results.json").exists()


def fails(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return str(caught.value.code)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the killed worker's queue
def test_a_killed_worker_and_an_error_in_a_worker_are_one_message(train_args, monkeypatch, tmp_path):
    from dho_prompt.data.batches.views import SharedCrop

    parent, crop = os.getpid(), SharedCrop.__call__

    def deadly(self, image):
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return crop(self, image)

    def unlucky(self, image):
        raise OSError("disk.png cannot be read as an image")

    workers = ("DATALOADER.NUM_WORKERS", "2")
    monkeypatch.setattr(SharedCrop, "__call__", deadly)
    message = fails(train_args("CoOp", *workers))
    assert "a process that reads images died" in message and "Lower DATALOADER.NUM_WORKERS" in message
    monkeypatch.setattr(SharedCrop, "__call__", unlucky)
    message = fails(train_args("CoOp", *workers, "DATALOADER.MAX_UNREADABLE", "0", output=tmp_path / "unlucky"))
    assert "disk.png cannot be read" in message and "Traceback" not in message and "Caught" not in message
