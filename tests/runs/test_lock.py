"""One process at a time in a folder; a dead owner's lock is no lock."""

import os
import signal
import subprocess
import sys

import pytest

from dho_prompt.runs.lock import LOCK, one_process
from dho_prompt.train import main

HOLD = """
import subprocess, sys, time
from dho_prompt.runs.lock import one_process
with one_process(sys.argv[1]):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) if "child" in sys.argv else None
    print(child.pid if child else 0, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def owner(tmp_path):
    started = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "run"), *words], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_live_owner_is_named_and_a_dead_one_is_taken_over(owner, tmp_path):
    process, _ = owner()
    words = f"run is in use by process {process.pid} on .*another output folder"
    with pytest.raises(ValueError, match=words), one_process(tmp_path / "run"):
        pass
    process.kill()
    process.wait()
    with one_process(tmp_path / "run"):
        assert str(os.getpid()) in (tmp_path / "run" / LOCK).read_text()
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_worker_that_outlives_its_owner_does_not_hold_the_folder(owner, tmp_path):
    process, worker = owner("child")
    process.send_signal(signal.SIGKILL)
    process.wait()
    try:
        with one_process(tmp_path / "run"):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_the_same_process_may_enter_again_and_keeps_the_folder(tmp_path):
    with one_process(tmp_path):
        with one_process(tmp_path / "." / ""):
            pass
        assert (tmp_path / LOCK).exists()
    assert not (tmp_path / LOCK).exists()


def test_half_written_files_of_killed_runs_are_removed_and_others_kept(tmp_path):
    (tmp_path / "kd_head").mkdir()
    torn = [tmp_path / ".results.json.ab12cd34.tmp", tmp_path / "kd_head" / ".model.pth.tar-3.x_y1z2w3.tmp"]
    kept = [tmp_path / "results.json", tmp_path / "kd_head" / "model.pth.tar-2", tmp_path / "notes.tmp"]
    for path in torn + kept:
        path.write_text("x")
    with one_process(tmp_path):
        assert not any(path.exists() for path in torn) and all(path.exists() for path in kept)


def test_many_starts_at_once_and_one_at_a_time_inside(tmp_path):
    """Each process appends two lines while it has the folder; they must never mix."""
    code = (
        "import sys, time\nfrom dho_prompt.runs.lock import one_process\nfolder = sys.argv[1]\n"
        "end = time.time() + 60\n"
        "while time.time() < end:\n"
        "    try:\n"
        "        with one_process(folder):\n"
        "            with open(folder + '/log', 'a') as log:\n"
        "                print(sys.argv[2], file=log, flush=True); time.sleep(0.05); print(sys.argv[2], file=log)\n"
        "        break\n"
        "    except ValueError:\n"
        "        time.sleep(0.01)\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(number)]) for number in range(6)]
    assert [process.wait(timeout=90) for process in processes] == [0] * 6
    lines = (tmp_path / "log").read_text().split()
    assert sorted(lines) == sorted(str(number) for number in range(6) for _ in "ab")
    assert all(first == second for first, second in zip(lines[::2], lines[1::2]))
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize("kind", ["file", "below a file", "long", "locale"])
def test_a_folder_that_cannot_be_is_named_with_what_to_do(kind, tmp_path):
    (tmp_path / "file").write_text("kept")
    paths = {"file": "file", "below a file": "file/run", "long": "x" * 300, "locale": "\udcff\ud800"}
    remedies = {"file": "move that", "below a file": "move the file", "long": "shorten it", "locale": "LC_ALL=C.UTF-8"}
    folder, message = tmp_path / paths[kind], f"the output folder .* cannot be written .*{remedies[kind]}.*--output-dir"
    with pytest.raises(OSError, match=message), one_process(folder):
        pass
    assert (tmp_path / "file").read_text() == "kept"


def test_letters_that_the_locale_has_not(tmp_path):
    """The file system takes such a name, the writers of event files and logs do not."""
    with pytest.raises(OSError, match="letters that the locale has not"), one_process(tmp_path / "\udcc3\udca9"):
        pass
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_found_before_anything_is_loaded(train_args, tmp_path, capsys):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(SystemExit, match="the output folder .*run.* cannot be written .File exists"):
        main(train_args("CoOpDHO"))
    assert "Loading" not in capsys.readouterr().out
