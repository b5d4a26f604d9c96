"""Fetching a data set from a server in this process: resumed, checked, complete or not there."""

import hashlib
import http.server
import io
import json
import os
import shutil
import sys
import tarfile
import threading
import zipfile
from types import SimpleNamespace

import pytest
from trees import write_tree

from dho_prompt.data.__main__ import main
from dho_prompt.data.fetch import check as checking
from dho_prompt.data.fetch.prepare import prepare
from dho_prompt.data.fetch.sources import DRIVE, SOURCES, Download, Source
from dho_prompt.data.layouts.table import LAYOUTS, find_layout

PETS = find_layout("OxfordPets")


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.files``; understands Range; breaks off after ``server.cut`` bytes of an answer."""

    def do_GET(self):
        server = self.server
        body = server.files.get(self.path)
        start = self.headers.get("Range")
        server.asked.append((self.path, start))
        if body is None:
            self.send_error(404)
            return
        first = int(start[6:-1]) if start and server.ranges else 0
        if first and first >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        self.wfile.write(body[first : first + server.cut] if server.cut else body[first:])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked, server.cut, server.ranges = {}, [], 0, True
        server.address_of = lambda name: f"http://127.0.0.1:{server.server_address[1]}/{name}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def tar_of(folder, *names):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in names:
            archive.add(folder / name, name)
    return buffer.getvalue()


def md5(body):
    return hashlib.md5(body).hexdigest()


class Drive:
    """A stand-in for gdown."""

    def __init__(self, files):
        self.files, self.asked = files, []

    def download(self, id, output, resume):
        self.asked.append(id)
        if id not in self.files:
            raise RuntimeError("Cannot retrieve the public link of the file")
        with open(output, "wb") as file:
            file.write(self.files[id])
        return output


@pytest.fixture
def pets(server, tmp_path, monkeypatch):
    """A small OxfordPets behind the server and on the stand-in Drive."""
    write_tree(tmp_path / "made", PETS)
    made = tmp_path / "made" / PETS.folder
    body = server.files["/images.tar.gz"] = tar_of(made, "images")
    drive = Drive({"split-id": (made / PETS.split).read_bytes()})
    monkeypatch.setitem(sys.modules, "gdown", SimpleNamespace(download=drive.download))
    images = Download(server.address_of("images.tar.gz"), "images.tar.gz", md5(body), (("images", "images"),))
    source = Source("CC", (images, Download(f"{DRIVE}split-id", PETS.split)))
    return SimpleNamespace(source=source, drive=drive, root=tmp_path / "data", body=body)


def contents(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*")) if root.exists() else []


def test_a_data_set_is_fetched_laid_out_and_complete(pets, server):
    prepare(PETS, pets.root, pets.source)
    assert checking.check(["OxfordPets"], pets.root)
    assert sorted(path.name for path in pets.root.iterdir()) == ["oxford_pets"]  # no working folder is left
    assert sorted(path.name for path in (pets.root / "oxford_pets").iterdir()) == ["images", PETS.split]
    asked = len(server.asked)
    prepare(PETS, pets.root, pets.source)
    assert len(server.asked) == asked and len(pets.drive.asked) == 1  # nothing is fetched twice


def test_a_broken_download_is_continued(pets, server):
    server.cut = 300
    for _ in range(2):
        with pytest.raises(OSError, match="OxfordPets: .*images.tar.gz cannot be fetched.*\nTo do it by hand, fetch"):
            prepare(PETS, pets.root, pets.source)
        assert not (pets.root / "oxford_pets").exists()
    server.cut = 0
    prepare(PETS, pets.root, pets.source)
    assert [start for _, start in server.asked] == [None, "bytes=300-", "bytes=600-"]
    assert checking.check(["OxfordPets"], pets.root)


def test_a_server_without_ranges_and_a_complete_part(pets, server):
    work = pets.root / ".oxford_pets.preparing"
    work.mkdir(parents=True)
    part = work / "images.tar.gz.part"
    server.ranges = False
    part.write_bytes(b"x" * 100)
    prepare(PETS, pets.root, pets.source)
    assert checking.check(["OxfordPets"], pets.root)

    shutil.rmtree(pets.root)
    work.mkdir(parents=True)
    part.write_bytes(pets.body)  # killed between the last byte and the renaming, after a kill while unpacking
    (work / "images.tar.gz.unpacked").mkdir()
    server.ranges = True
    prepare(PETS, pets.root, pets.source)
    assert checking.check(["OxfordPets"], pets.root)


def test_a_wrong_checksum_is_removed(pets, server):
    server.files["/images.tar.gz"] = pets.body[:-1] + b"?"
    with pytest.raises(ValueError, match="has not the MD5 sum"):
        prepare(PETS, pets.root, pets.source)
    assert contents(pets.root) == []
    server.files["/images.tar.gz"] = pets.body
    prepare(PETS, pets.root, pets.source)


def test_a_folder_that_cannot_be_written_is_named_before_a_download(pets, server, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="nothing can be written in .*file/data .*; name a folder .* with --root"):
        prepare(PETS, tmp_path / "file" / "data", pets.source)
    monkeypatch.setitem(SOURCES, "OxfordPets", pets.source)
    assert main(["prepare", "oxford_pets", "--root", str(tmp_path / "file" / "data")]) == 1
    assert "error: nothing can be written in" in capsys.readouterr().out
    (pets.root / "oxford_pets").mkdir(parents=True)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "oxford_pets" and access(path, mode))
    with pytest.raises(OSError, match="nothing can be written in .*oxford_pets is not writable.; name a folder"):
        prepare(PETS, pets.root, pets.source)
    assert server.asked == [] and contents(pets.root) == ["oxford_pets"]


def test_hostile_and_strange_archives_leave_nothing(pets, server, tmp_path):
    (tmp_path / "evil").write_text("x")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(tmp_path / "evil", "images/../../../evil2")
    for body, reason in (
        (buffer.getvalue(), "lies outside the folder"),
        (pets.body[:-50], "cut short or damaged"),
        (tar_of(tmp_path, "evil"), "does not hold images"),
    ):
        server.files["/images.tar.gz"] = body
        images = pets.source.downloads[0]._replace(md5="")
        with pytest.raises(ValueError, match=reason):
            prepare(PETS, pets.root, Source("", (images,)))
        assert contents(pets.root) == [] and not (tmp_path / "evil2").exists()


def test_an_answer_that_is_no_split_file_is_refused(pets):
    split = json.loads(pets.drive.files["split-id"])
    for answer in (b"<html>Quota exceeded</html>", json.dumps({"train": split["train"]}).encode()):
        pets.drive.files["split-id"] = answer
        with pytest.raises(
            ValueError, match="is not split_zhou_OxfordPets.json.*\nTo do it by hand, fetch https://drive"
        ):
            prepare(PETS, pets.root, pets.source)
    assert [path.name for path in (pets.root / "oxford_pets").iterdir()] == ["images"]
    del pets.drive.files["split-id"]
    with pytest.raises(OSError, match="drive.google.com/file/d/split-id/view cannot be fetched .Cannot retrieve"):
        prepare(PETS, pets.root, pets.source)
    assert sorted(path.name for path in pets.root.iterdir()) == ["oxford_pets"]


def test_gdown_is_optional(pets, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(ImportError, match="lies on Google Drive: pip install gdown"):
        prepare(PETS, pets.root, pets.source)


def test_an_archive_in_an_archive_and_parts_in_several_places(server, tmp_path):
    layout = find_layout("FGVCAircraft")
    write_tree(tmp_path, layout)
    (tmp_path / layout.folder).rename(tmp_path / "data")
    inner = tar_of(tmp_path, "data")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("in/side.tar.gz", inner)
    server.files["/outer.zip"] = (tmp_path / "outer.zip").read_bytes()
    moves = tuple((f"data/{place}", place) for _, place in SOURCES["FGVCAircraft"].downloads[0].moves)
    download = Download(server.address_of("outer.zip"), "outer.zip", "", moves, inner="in/side.tar.gz")
    root = tmp_path / "root"
    (root / layout.folder).mkdir(parents=True)
    (root / layout.folder / "variants.txt").write_text("the user's own")
    prepare(layout, root, Source("", (download,)))
    assert (root / layout.folder / "variants.txt").read_text() == "the user's own"
    assert len(list((root / layout.folder / "images").iterdir())) == 27


def test_the_table_fits_the_layouts(monkeypatch):
    assert set(SOURCES) == {layout.name for layout in LAYOUTS}
    for layout in LAYOUTS:
        source = SOURCES[layout.name]
        places = {place for download in source.downloads for _, place in download.moves or ((0, download.name),)}
        needed = {layout.split or "images_variant_val.txt", layout.images} if layout.counts[1] else set()
        if layout.name in ("ImageNet", "StanfordCars"):
            needed, layout_manual = set(), True
        else:
            layout_manual = not needed
        assert needed <= places and bool(source.manual) == layout_manual
        assert source.licence and all(len(download.md5) in (0, 32) for download in source.downloads)


def test_the_command_says_what_is_wrong_and_what_to_do(tmp_path, capsys):
    assert main(["prepare", "oxford_cats", "--root", str(tmp_path)]) == 1
    assert "no data set is called oxford_cats" in capsys.readouterr().out
    write_tree(tmp_path, find_layout("ImageNetR"))
    assert main(["prepare", "imagenet_r", "--root", str(tmp_path)]) == 0  # complete: nothing is fetched
    assert "imagenet-r.tar by the link" in capsys.readouterr().out
