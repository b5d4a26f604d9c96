"""Archives unpack into their folder and nowhere else."""

import io
import stat
import tarfile
import zipfile

import pytest

from dho_prompt.data.fetch import archives
from dho_prompt.data.fetch.archives import unpack


def tar(path, *members, mode="w:gz"):
    """Members are ``(name, text)``, or TarInfo objects for links and devices."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1].encode()))
    return path


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def tree(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz", "w"])
def test_a_tar_is_unpacked(tmp_path, mode):
    unpack(tar(tmp_path / "a", ("x/y/b.txt", "text"), ("c.txt", ""), mode=mode), tmp_path / "out")
    assert (tmp_path / "out" / "x" / "y" / "b.txt").read_text() == "text"
    assert tree(tmp_path / "out") == {"x", "x/y", "x/y/b.txt", "c.txt"}


def test_a_zip_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("empty/", "")
        archive.writestr("x/b.txt", "text")
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert tree(tmp_path / "out") == {"empty", "x", "x/b.txt"}


HOSTILE = {
    "parent": ("../evil.txt", "x"),
    "deep parent": ("a/../../evil.txt", "x"),
    "absolute": ("/{tmp}/evil.txt", "x"),
    "backslash": ("..\\evil.txt", "x"),
    "link out": link("away", "/etc"),
    "relative link out": link("away", "../../etc"),
    "hard link out": link("away", "../evil.txt", tarfile.LNKTYPE),
    "device": link("null", "", tarfile.CHRTYPE),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("with_filters", [True, False])
def test_hostile_tars_are_refused_and_leave_nothing(tmp_path, name, with_filters, monkeypatch):
    if not with_filters:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    member = HOSTILE[name]
    if isinstance(member, tuple):
        member = (member[0].replace("/{tmp}", str(tmp_path)), member[1])
    path = tar(tmp_path / "a.tgz", ("good.txt", "x"), member)
    with pytest.raises(ValueError, match="is refused"):
        unpack(path, tmp_path / "in" / "out")
    assert tree(tmp_path) == {"a.tgz", "in"}


def test_a_file_cannot_be_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    path = tar(tmp_path / "a.tgz", link("x", str(tmp_path / "elsewhere")), ("x/evil.txt", "x"))
    with pytest.raises(ValueError, match="is refused"):
        unpack(path, tmp_path / "out")
    assert tree(tmp_path) == {"a.tgz", "elsewhere"}


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "C:/evil.txt", "a/../../evil.txt", "..\\evil.txt"])
def test_hostile_zips_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good.txt", "x")
        archive.writestr(name, "x")
    with pytest.raises(ValueError, match="lies outside the folder"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert tree(tmp_path) == {"a.zip"}


def test_links_in_zips_are_refused(tmp_path):
    info = zipfile.ZipInfo("away")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc")
    with pytest.raises(ValueError, match="'away' is a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_damaged_archives_are_named_and_leave_nothing(tmp_path):
    body = "".join(chr(33 + number * 7919 % 90) for number in range(20_000))
    tar(tmp_path / "a.tgz", ("x", body))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", body)
    whole = (tmp_path / "a.tgz").read_bytes()
    flipped = bytearray((tmp_path / "a.zip").read_bytes())
    flipped[10_000] ^= 1
    xz = tar(tmp_path / "a.txz", ("x", body), mode="w:xz").read_bytes()
    broken = xz[: len(xz) // 2] + bytes(100) + xz[len(xz) // 2 :]
    for content in (whole[: len(whole) // 2], b"", b"<html>", bytes(flipped), bytes(flipped)[:5000], broken):
        (tmp_path / "damaged").write_bytes(content)
        with pytest.raises(ValueError, match="damaged is cut short or damaged"):
            unpack(tmp_path / "damaged", tmp_path / "out")
        assert not (tmp_path / "out").exists()


def zeros(path, count, size, kind):
    """An archive of ``count`` files of ``size`` zeros."""
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(count):
                archive.writestr(f"{number}", bytes(size))
        return path
    return tar(path, *((f"{number}", "\0" * size) for number in range(count)), mode=kind)


@pytest.mark.parametrize("kind", ["zip", "w:gz", "w:bz2", "w:xz"])
def test_what_expands_too_far_is_refused_and_leaves_nothing(tmp_path, kind, monkeypatch):
    path = zeros(tmp_path / "bomb", 5, 500_000, kind)
    assert path.stat().st_size * archives.MOST_TIMES < 2_500_000
    unpack(path, tmp_path / "small")  # below what is never asked about
    monkeypatch.setattr(archives, "FREE_BYTES", 1_000_000)
    written, add = [], archives._Limit.add
    monkeypatch.setattr(archives._Limit, "add", lambda limit, size: (add(limit, size), written.append(size)))
    with pytest.raises(ValueError, match="bomb is refused: it expands to more than 1 MB or .* unpack it by hand"):
        unpack(path, tmp_path / "out")
    assert written == [500_000, 500_000] and not (tmp_path / "out").exists()  # the third was never begun


@pytest.mark.parametrize("kind", ["zip", "w:gz"])
def test_the_limits_of_size_and_number(tmp_path, kind, monkeypatch):
    path = zeros(tmp_path / "a", 5, 10_000, kind)
    monkeypatch.setattr(archives, "MOST_BYTES", 49_999)
    with pytest.raises(ValueError, match="is refused: it expands"):
        unpack(path, tmp_path / "out")
    monkeypatch.setattr(archives, "MOST_BYTES", 50_000)
    monkeypatch.setattr(archives, "MOST_FILES", 4)
    with pytest.raises(ValueError, match="or 4 files"):
        unpack(path, tmp_path / "out")
    monkeypatch.setattr(archives, "MOST_FILES", 5)
    unpack(path, tmp_path / "out")
    empty = zeros(tmp_path / "b", 13, 0, kind)  # each takes a block of the disk
    monkeypatch.setattr(archives, "MOST_FILES", 99)
    with pytest.raises(ValueError, match="is refused: it expands"):
        unpack(empty, tmp_path / "more")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME], ids=["pax header", "long name"])
def test_a_header_cannot_fill_the_memory(tmp_path, kind):
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, archives.LONGEST_READ + 1
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
        archive.fileobj.write(bytes(info.size))
    with pytest.raises(ValueError, match="a.tgz is refused: it has a header of 16,77"):
        unpack(path, tmp_path / "out")
    assert tree(tmp_path) == {"a.tgz"}


def test_zips_that_cannot_be_read_say_why(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", "text")
    whole = (tmp_path / "a.zip").read_bytes()
    entry = whole.index(b"PK\x01\x02")
    encrypted, unknown = bytearray(whole), bytearray(whole)
    for field, local, value in ((8, 6, 1), (10, 8, 77)):  # flags, compression
        changed = encrypted if value == 1 else unknown
        changed[entry + field] = changed[local] = value
    for content, why in ((encrypted, "encrypted"), (unknown, "compression")):
        (tmp_path / "b.zip").write_bytes(content)
        with pytest.raises(ValueError, match=f"b.zip cannot be unpacked: .*{why}.*; unpack it with a program that can"):
            unpack(tmp_path / "b.zip", tmp_path / "out")
        assert not (tmp_path / "out").exists()
