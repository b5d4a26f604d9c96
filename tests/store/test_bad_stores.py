"""What is no store for a run, or none any longer, is said by name; nothing is made anew or used without a word."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dho_prompt.store import writing
from dho_prompt.store.__main__ import main as store
from dho_prompt.store.images import StoredImages
from dho_prompt.store.locks import Lock, say_writing
from dho_prompt.store.rows import StoredRows
from dho_prompt.train import run
from tests_support import write_clip, write_imagenet
from trainer_contract import build

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = "TRAINER.DHO.TEACHER.STORE"


def begin(arguments):
    trainer = build(arguments)
    trainer.before_train()
    return trainer


def shards(folder):
    return sorted(Path(folder).glob("shard-*.npy"))


def test_no_store(arguments, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"there is no store in {tmp_path}/none .*python -m dho_prompt.store"):
        build(arguments(more={KEY: tmp_path / "none"}))


def test_cut_short(arguments, made):
    folder = made()
    (shard,) = shards(folder)
    content = shard.read_bytes()
    for wrong in (content[:-5], content[:50], b"", content + b"1"):
        shard.write_bytes(wrong)
        with pytest.raises(ValueError, match="shard-00000.npy is (cut short or damaged|of another form or length)"):
            begin(arguments(more={KEY: folder}))
    shard.write_bytes(content)
    begin(arguments(more={KEY: folder}))


@pytest.mark.parametrize("field", ["crop", "row", "check"])
def test_a_flipped_byte(made, field):
    folder = made()
    manifest, (shard,) = StoredRows(folder).manifest, shards(folder)
    records = np.load(shard)
    at = len(shard.read_bytes()) - records.nbytes + manifest.record.fields[field][1] + 1
    at += manifest.record.itemsize * (2 * 40 + 7)  # view 2 of image 7
    content = bytearray(shard.read_bytes())
    content[at] ^= 4
    shard.write_bytes(content)
    rows = StoredRows(folder)
    rows.read(np.arange(40), np.full(40, 1))
    with pytest.raises(ValueError, match="shard-00000.npy is damaged: view 2 of image 7 does not match its checksum"):
        rows.read(np.array([3, 7]), np.array([0, 2]))
    with pytest.raises(SystemExit, match="view 2 of image 7 does not match"):
        store(["check", folder])


def test_a_record_in_another_ones_place(made):
    folder = made()
    (shard,) = shards(folder)
    records = np.load(shard)
    records[1, 3], records[1, 4] = records[1, 4], records[1, 3].copy()
    np.save(shard, records)
    with pytest.raises(ValueError, match="view 1 of image 3"):
        StoredRows(folder).check(0)


def test_damage_beside_the_shards(made):
    folder = Path(made(flags=("--holds", "features")))
    text = folder / "text_features.npy"
    content = text.read_bytes()
    text.write_bytes(content[:-1] + b"7")
    with pytest.raises(ValueError, match="text_features.npy is missing or damaged"):
        StoredRows(folder)
    text.write_bytes(content)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"views": 3', '"views": 4'))
    with pytest.raises(ValueError, match="manifest.json is damaged or was edited"):
        StoredRows(folder)


def test_another_teacher(arguments, made, tmp_path):
    other = write_clip(tmp_path / "teacher", 48, 40, seed=7)  # of the same name and form
    with pytest.raises(ValueError, match="STORE is .*of something else.*\n  model.weights: "):
        begin(arguments(more={KEY: made(), "TRAINER.DHO.TEACHER.NAME": other}))


@pytest.mark.parametrize("setting, value, words", [
    ("TRAINER.DHO.TEACHER.TEMPLATES", "('a drawing of a {}.',)", "templates: "),
    ("TRAINER.DHO.ZETA", "0.02", "zeta: 0.0 -> 0.02"),
    ("INPUT.RRCROP_SCALE", "(0.3, 1.0)", "crops.scale: "),
    ("INPUT.TRANSFORMS", "('random_resized_crop', 'normalize')", "crops.flip: True -> False"),
    ("INPUT.INTERPOLATION", "bicubic", "crops.interpolation: 'bilinear' -> 'bicubic'"),
    ("DATASET.SUBSAMPLE_CLASSES", "base", "classes: "),
])  # fmt: skip
def test_another_setting(arguments, made, setting, value, words):
    folder = made()
    with pytest.raises(ValueError, match="of something else") as caught:
        begin(arguments(more={KEY: folder, setting: value}))
    assert words in str(caught.value)


def test_another_kind_and_another_precision(arguments, made):
    student = made(kind="student")
    with pytest.raises(
        ValueError, match="is a store of a student, and TRAINER.DHO.TEACHER.STORE takes one of a teacher"
    ):
        begin(arguments(more={KEY: student}))
    with pytest.raises(ValueError, match="made in fp32, and TRAINER.DHO.TEACHER.PREC is bf16"):
        begin(arguments(more={KEY: made(), "TRAINER.DHO.TEACHER.PREC": "bf16"}))


@pytest.mark.parametrize("change", ["pixels", "more", "fewer"])
def test_other_images(arguments, made, tmp_path, change):
    folder = made()
    root = write_imagenet(tmp_path / "copy")
    paths = sorted((root / "imagenet" / "images" / "train").rglob("*.JPEG"))
    arguments_of_copy = ["--root", str(root), *arguments(more={KEY: folder})[2:]]
    begin(arguments_of_copy)
    if change == "pixels":
        image = Image.open(paths[17]).convert("RGB")
        image.putpixel((3, 4), (1, 2, 3))
        image.save(paths[17], format="PNG")
    elif change == "more":
        shutil.copy(paths[3], paths[3].with_name("another.JPEG"))
    else:
        paths[3].unlink()
    with pytest.raises(ValueError, match=r"\n  images.hash: "):
        begin(arguments_of_copy)


def test_fewer_views_than_epochs(arguments, made, tmp_path):
    folder = made(2)
    words = "holds 2 views of an image, and this run of 3 epochs shows each labelled image 3 times and each unlabelled "
    words += "image 3 times: make a store of 3 views, or set DATALOADER.STORE_REUSE True"
    with pytest.raises(ValueError, match=words):
        begin(arguments(more={KEY: folder}))
    run(arguments(more={KEY: folder, "DATALOADER.STORE_REUSE": True}))
    told = json.loads((tmp_path / "run" / "results.json").read_text())["stores"]
    assert told["views"] == 2 and told["shown"] == {"labelled": 3, "unlabelled": 3} and told["reused"] is True


def test_what_is_asked_of_an_old_store(made):
    made(2)
    for views, flags, words in ((3, (), "dtype"), (3, ("--dtype", "float32"), "views is 2, not 3"),
                                (2, ("--dtype", "float32", "--holds", "features"), "holds is logits")):  # fmt: skip
        with pytest.raises(SystemExit, match=words):
            made(views, flags=flags)
    made(2)  # nothing is missing


def test_being_written(arguments, made):
    folder = made()
    (shard,) = shards(folder)
    shard.rename(f"{shard}.away")
    with pytest.raises(ValueError, match="not complete: 1 of 1 shards are missing .00000.. nobody is writing it"):
        begin(arguments(more={KEY: folder}))
    writing_now = say_writing(folder)
    try:
        with pytest.raises(ValueError, match=f"process {os.getpid()} on .* is writing it: wait for it"):
            begin(arguments(more={KEY: folder}))
    finally:
        writing_now.release()


def test_a_full_disk(made, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1000))
        with pytest.raises(SystemExit, match="the store needs .* KiB in .*, where 1e.03 B are free"):
            made(64)
    tries = []

    def full(path, write, sync=True):
        tries.append(path)
        if len(tries) == 2:
            raise OSError(errno.ENOSPC, f"no space left to write {path}")
        return original(path, write, sync)

    original = writing.atomic_write
    with monkeypatch.context() as patch:
        patch.setattr(writing, "atomic_write", full)
        with pytest.raises(SystemExit, match="no space left to write .*shard-00001.npy"):
            made(64)
    folder = tmp_path / "store-teacher"
    assert [path.name for path in shards(folder)] == ["shard-00000.npy"] and not list(folder.glob("*.lock"))
    made(64)
    assert len(shards(folder)) == 5 and same(folder, made(64, name="again"))


def test_a_folder_that_cannot_be_made(made, tmp_path):
    (tmp_path / "store-teacher").write_text("mine")
    with pytest.raises(SystemExit, match="needs a folder where there is the file .*store-teacher"):
        made()


def test_reading_writes_nothing(arguments, made):
    """So that a store on a read-only disk will do."""
    folder = made()
    before = {path.name: path.stat().st_mtime_ns for path in [Path(folder), *Path(folder).iterdir()]}
    begin(arguments(more={KEY: folder}))
    assert before == {path.name: path.stat().st_mtime_ns for path in [Path(folder), *Path(folder).iterdir()]}


def same(first, second):
    names = [path.name for path in shards(first)]
    assert names == [path.name for path in shards(second)]
    return all((Path(first) / name).read_bytes() == (Path(second) / name).read_bytes() for name in names)


def test_parts_make_the_whole(made):
    whole = made(64)
    made(64, name="parts", flags=("--dtype", "float32", "--shard", "1/2"))
    parts = Path(whole).with_name("parts-teacher")
    assert [path.name for path in shards(parts)] == ["shard-00001.npy", "shard-00003.npy"]
    made(64, name="parts", flags=("--dtype", "float32", "--shard", "0/2"))
    assert same(whole, parts)


def test_what_another_process_has_begun_is_waited_for(made, monkeypatch):
    whole = made(64)
    other = Path(made(64, name="other"))
    taken = other / "shard-00002.npy"
    taken.rename(f"{taken}.away")
    lock = Lock(other / "shard-00002.lock")
    waits = []

    def wait(seconds):
        waits.append(seconds)
        assert not taken.exists()
        if len(waits) == 2:
            lock.release()  # the other process has died

    monkeypatch.setattr(writing.time, "sleep", wait)
    made(64, name="other")
    assert len(waits) == 2 and same(whole, other)


def test_killed_and_started_again(arguments, made, tmp_path):
    whole = made(64)
    folder = tmp_path / "torn"
    command = [sys.executable, "-m", "dho_prompt.store", "teacher", "--store", str(folder), "--views", "64"]
    command += ["--dtype", "float32", *arguments()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(shards(folder)) < 2:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(shards(folder))
    assert 2 <= done < 5
    store(command[3:])
    assert same(whole, folder)


def test_images_are_told_by_names_sizes_and_contents(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    items = [SimpleNamespace(impath=str(path)) for path in paths]

    def found(content=b"abc", count=3):
        for path in paths:
            path.write_bytes(b"abc")
        paths[0].write_bytes(content)
        return StoredImages(items[:count], tmp_path).hash()

    hashes = [found(), found(b"abd"), found(b"abcd"), found(count=2)]
    assert len(set(hashes)) == 4 and found() == hashes[0]
