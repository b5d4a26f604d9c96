"""Files that cannot be written: each cause is named with its path and remedy, and what was there stays."""

import errno
import os
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from dho_prompt import files
from dho_prompt.files import atomic_write, write_json
from dho_prompt.files.unwritable import unwritable

LARGE = 1 << 20


def large(file):
    file.write(b"x" * LARGE)


def large_tensor(file):
    torch.save({"w": torch.zeros(LARGE)}, file)


@contextmanager
def small_files():
    """Files of this process may have 64 KiB, as by ulimit -f; only here, for the log of the tests may be larger."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("write", [large, large_tensor])
def test_a_limit_on_the_size_of_files(tmp_path, write):
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")
    words = "model.pt is larger than this process may write.*ulimit -f unlimited"
    with pytest.raises(OSError, match=words) as caught, small_files():
        atomic_write(path, write)
    assert caught.value.errno == errno.EFBIG and "it resumes" in str(caught.value)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["model.pt"]


@pytest.mark.parametrize("below", ["a.json", "deep/er/a.json"])
def test_a_file_where_a_folder_is_needed(tmp_path, below):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OSError, match=f"needs a folder where there is the file {tmp_path}/out .*Move that file away"):
        write_json(tmp_path / "out" / below, {})
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_where_a_file_is_to_be_written(tmp_path):
    (tmp_path / "a.json" / "kept").mkdir(parents=True)
    with pytest.raises(OSError, match="a.json is a folder, where a file is to be written.*Move that folder away"):
        write_json(tmp_path / "a.json", {})
    assert os.listdir(tmp_path) == ["a.json"] and os.listdir(tmp_path / "a.json") == ["kept"]


def test_a_name_that_is_too_long(tmp_path):
    for path in (tmp_path / ("n" * 300), tmp_path / ("n" * 300) / "a.json"):
        with pytest.raises(
            OSError, match="a name in .*nnn.* is longer than the file system takes.*Shorten it"
        ) as caught:
            write_json(path, {})
        assert caught.value.errno == errno.ENAMETOOLONG
    assert os.listdir(tmp_path) == []


def test_a_path_that_the_locale_cannot_write(tmp_path):
    with pytest.raises(OSError, match=r"'.*out\\ud800/a.json' has letters that cannot be written.*LC_ALL=C.UTF-8"):
        write_json(f"{tmp_path}/out\ud800/a.json", {})
    assert os.listdir(tmp_path) == []


def test_letters_in_the_content_are_another_matter(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        atomic_write(tmp_path / "a.txt", lambda file: file.write("\ud800".encode()))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "number, message",
    [
        (errno.EROFS, "a.json is on a read-only file system .*Mount it writable"),
        (errno.EACCES, "is not writable for this user, so .*a.json is not written.*Make it writable"),
        (errno.EPERM, "is not writable for this user, so .*a.json is not written.*Make it writable"),
        (errno.ENOENT, "was removed while .*a.json was written.*Keep other processes out of it"),
    ],
)
@pytest.mark.parametrize("function", ["mkstemp", "replace"])
def test_folders_that_may_not_be_written(tmp_path, monkeypatch, number, message, function):
    path = tmp_path / "a.json"
    path.write_text("old")

    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.tempfile if function == "mkstemp" else files.os, function, refuse)
    with pytest.raises(OSError, match=message) as caught:
        write_json(path, {})
    assert caught.value.errno == number and "or set another output folder" in str(caught.value)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    os.chmod(tmp_path, 0o500)
    try:
        with pytest.raises(OSError, match="is not writable for this user"):
            write_json(tmp_path / "a.json", {})
    finally:
        os.chmod(tmp_path, 0o700)


def test_errors_of_other_kinds_stay_what_they_are():
    path = Path("out/a.json")
    interrupted = KeyboardInterrupt()
    interrupted.__context__ = OSError(errno.ENOSPC, "full")
    assert unwritable(path, interrupted, writing=True) is None
    assert unwritable(path, RuntimeError("a shape"), writing=True) is None
    # while the content is written, such an error speaks of another file
    assert unwritable(path, PermissionError(errno.EACCES, "no", "other"), writing=True) is None
    assert unwritable(path, OSError(errno.EBADF, "bad"), writing=False) is None
