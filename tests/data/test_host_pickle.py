"""Few-shot pickles are read without running anything in them."""

import pickle
import pickletools

import pytest
from pickles import hostile

from dho_prompt.data.__main__ import main
from dho_prompt.data.choose.host_pickle import Named, read_few_shot


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_reader_gives_paths_and_labels(tmp_path, dump, protocol):
    path = dump(tmp_path / "a.pkl", protocol, train=[("/x/a.jpg", 3), ("/x/b.jpg", 0)], val=[("/x/c.jpg", 1)])
    assert read_few_shot(path) == {"train": [Named("/x/a.jpg", 3), Named("/x/b.jpg", 0)], "val": [Named("/x/c.jpg", 1)]}


@pytest.mark.parametrize("name", hostile(""))
def test_nothing_in_a_pickle_is_run(tmp_path, name):
    marker, path = tmp_path / "marker", tmp_path / "shot_16-seed_1.pkl"
    path.write_bytes(hostile(marker)[name])
    with pytest.raises(ValueError, match=r"shot_16-seed_1.pkl is no few-shot pickle of CoOp's.* and is not read: "):
        read_few_shot(path)
    assert not marker.exists()


def test_the_hostile_ones_are_hostile(tmp_path):
    marker = tmp_path / "marker"
    for name in ("os.system", "eval", "exec behind the images", "of protocol 0"):
        pickle.loads(hostile(marker)[name])
        assert marker.exists()
        marker.unlink()


def test_a_refused_pickle_names_what_it_asks_for(tmp_path):
    (tmp_path / "a.pkl").write_bytes(hostile(tmp_path / "marker")["os.system"])
    with pytest.raises(ValueError, match="it asks for (posix|nt).system, which images do not need"):
        read_few_shot(tmp_path / "a.pkl")
    with pytest.raises(FileNotFoundError, match="there is no few-shot pickle .*b.pkl"):
        read_few_shot(tmp_path / "b.pkl")


def test_a_pickle_cannot_change_the_reader_for_the_next(tmp_path, dump):
    (tmp_path / "evil.pkl").write_bytes(hostile("")["Datum itself changed"])
    with pytest.raises(ValueError):
        read_few_shot(tmp_path / "evil.pkl")
    assert read_few_shot(dump(tmp_path / "a.pkl", train=[("/x/a.jpg", 3)]))["train"] == [Named("/x/a.jpg", 3)]


def test_the_converter_reads_as_safely(tmp_path, capsys):
    (tmp_path / "evil.pkl").write_bytes(hostile(tmp_path / "marker")["os.system"])
    assert main(["list", "--from", str(tmp_path / "evil.pkl"), str(tmp_path / "absent.pkl")]) == 1
    out = capsys.readouterr().out
    assert "error: " in out and "it asks for" in out and "there is no few-shot pickle" in out
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pkl"]


def test_the_stand_in_pickle_is_as_dassls(tmp_path, dump):
    """The one that is written here has the names and operations of a real one (CoOp's read by hand)."""
    path = dump(tmp_path / "a.pkl", train=[("/x/a.jpg", 0)], val=[])
    asked = [arg for opcode, arg, _ in pickletools.genops(path.read_bytes()) if "UNICODE" in opcode.name]
    assert asked[1:3] == ["dassl.data.datasets.base_dataset", "Datum"] and "_impath" in asked
