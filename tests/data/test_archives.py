"""Archives unpack into their folder and nowhere else."""

import io
import stat
import tarfile
import zipfile

import pytest

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


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w"])
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
    for content in (whole[: len(whole) // 2], b"", b"<html>", bytes(flipped), bytes(flipped)[:5000]):
        (tmp_path / "damaged").write_bytes(content)
        with pytest.raises(ValueError, match="damaged is cut short or damaged"):
            unpack(tmp_path / "damaged", tmp_path / "out")
        assert not (tmp_path / "out").exists()
