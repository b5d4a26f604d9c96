"""Checksums of files: torch's archives record by record, the hub's files by their name in its cache."""

import hashlib
import os
import random
import zipfile
from pathlib import Path

import pytest
import torch

from dho_prompt.engine.checkpoint import UnreadableCheckpoint, load_checkpoint, save_checkpoint
from dho_prompt.files.checksums import hub_digest, records_match, sha256_of


def equal(one, other):
    """Whether two contents are the same to the bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        alike = (one.dtype, one.shape, one.stride()) == (other.dtype, other.shape, other.stride())
        return alike and one.numpy().tobytes() == other.numpy().tobytes()
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(value, other[name]) for name, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    layer = torch.nn.Linear(40, 30)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    layer(torch.ones(1, 40)).sum().backward()
    optimizer.step()
    state = {"state_dict": layer.state_dict(), "epoch": 2, "optimizer": optimizer.state_dict(), "scheduler": None}
    return save_checkpoint({**state, "half": torch.ones(3).half(), "none": torch.zeros(0)}, str(tmp_path / "layer"))


def damaged(whole, position, bit):
    content = bytearray(whole)
    content[position] ^= 1 << bit
    return bytes(content)


@pytest.mark.filterwarnings("ignore")  # torch warns about the pickles that it then refuses
def test_a_flipped_bit_is_noticed_or_changes_no_value(checkpoint):
    """Those that pass stand in padding, times of day and the like; a quarter of so small a file is the table."""
    whole, good = Path(checkpoint).read_bytes(), load_checkpoint(checkpoint)
    draw, noticed = random.Random(1), 0
    for _ in range(600):
        Path(checkpoint).write_bytes(damaged(whole, draw.randrange(len(whole)), draw.randrange(8)))
        try:
            found = load_checkpoint(checkpoint)
        except UnreadableCheckpoint as error:
            assert checkpoint in str(error)
            noticed += 1
        else:
            assert equal(found, good)
    assert noticed > 400


def test_every_bit_of_every_tensor_counts(checkpoint):
    whole = Path(checkpoint).read_bytes()
    with zipfile.ZipFile(checkpoint) as archive:
        starts = {}
        for record in archive.infolist():
            content = archive.read(record)
            starts[record.filename] = (whole.index(content, record.header_offset + 30), len(content))
    draw = random.Random(2)
    for start, length in starts.values():
        for _ in range(20 if length else 0):
            Path(checkpoint).write_bytes(damaged(whole, start + draw.randrange(length), draw.randrange(8)))
            with pytest.raises(ValueError, match="do not match their checksums"):
                records_match(checkpoint)
            with pytest.raises(UnreadableCheckpoint, match="is damaged .* delete it and use another epoch's"):
                load_checkpoint(checkpoint)
    assert sum("/data/" in name for name in starts) >= 6


def test_a_record_that_claims_to_be_a_folder(checkpoint):
    """torch hands out memory that it never filled for such a record; zipfile reads it as any other."""
    whole = Path(checkpoint).read_bytes()
    with zipfile.ZipFile(checkpoint) as archive:
        entry = archive.start_dir
        names = [record.filename for record in archive.infolist()]
    for name in names:
        assert whole[entry : entry + 4] == b"PK\x01\x02"
        if name.endswith("/data/0"):
            break
        lengths = (int.from_bytes(whole[entry + at : entry + at + 2], "little") for at in (28, 30, 32))
        entry += 46 + sum(lengths)
    Path(checkpoint).write_bytes(damaged(whole, entry + 38, 4))
    with zipfile.ZipFile(checkpoint) as archive:
        assert archive.testzip() is None
    with pytest.raises(ValueError, match="data/0' claims to be a folder"):
        records_match(checkpoint)


@pytest.mark.parametrize("position", [0, -48], ids=["beginning", "place of the table"])
def test_a_damaged_frame_is_named(checkpoint, position):
    """The system refuses to go to a place before a file's beginning."""
    Path(checkpoint).write_bytes(damaged(Path(checkpoint).read_bytes(), position, 0))
    with pytest.raises(ValueError, match="records"):
        records_match(checkpoint)
    with pytest.raises(UnreadableCheckpoint, match="is damaged"):
        load_checkpoint(checkpoint)


def test_files_without_checksums_load_with_a_note(tmp_path, capsys):
    old, bare = tmp_path / "old.pt", tmp_path / "bare.pt"
    state = {"state_dict": {"w": torch.ones(2)}, "epoch": 1}
    torch.save(state, old, _use_new_zipfile_serialization=False)
    assert not records_match(old) and equal(load_checkpoint(str(old)), state)
    assert "old.pt has no checksums" in capsys.readouterr().out
    torch.save(state, bare)
    assert records_match(bare) and equal(load_checkpoint(str(bare)), state) and capsys.readouterr().out == ""
    if hasattr(torch.serialization, "set_crc32_options"):
        torch.serialization.set_crc32_options(False)
        try:
            torch.save(state, bare)
        finally:
            torch.serialization.set_crc32_options(True)
        assert not records_match(bare) and equal(load_checkpoint(str(bare)), state)
        assert "bare.pt has no checksums" in capsys.readouterr().out


def test_the_hubs_cache_names_a_file_by_its_content(tmp_path):
    digest = hashlib.sha256(b"weights").hexdigest()
    (tmp_path / digest).write_bytes(b"weights")
    (tmp_path / "weights.bin").symlink_to(tmp_path / digest)
    assert hub_digest(tmp_path / "weights.bin") == digest == sha256_of(tmp_path / "weights.bin")
    (tmp_path / "0a1b2c").write_bytes(b"{}")  # small files are named by git's hash
    assert hub_digest(tmp_path / "0a1b2c") == "" and os.path.exists(tmp_path / "weights.bin")
