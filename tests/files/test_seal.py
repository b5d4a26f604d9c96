"""The checksum inside a JSON file: any change of a value is noticed, another layout is none."""

import json

import pytest

from dho_prompt.files import read_json, write_json
from dho_prompt.files.seal import SEAL, seal, unseal

CONTENT = {"alpha": 0.1, "names": ["é", "b\n"], "deep": {"c": None, "b": [1, True, -2.5e-7]}, "seed": 3}


def test_content_comes_back_without_its_checksum():
    sealed = seal(CONTENT)
    assert set(sealed) == {*CONTENT, SEAL} and unseal(sealed) == CONTENT
    assert unseal(CONTENT) == CONTENT  # nobody sealed it
    assert seal(sealed) == sealed and seal({}) != seal({"a": 1})


def test_names_and_lists_that_json_changes():
    assert unseal(json.loads(json.dumps(seal({2: (1, 2), "10": 0})))) == {"2": [1, 2], "10": 0}


def test_another_layout_is_no_damage(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(dict(reversed(seal(CONTENT).items())), indent=7))
    assert read_json(tmp_path / "a.json") == CONTENT


def test_every_flipped_bit_is_noticed_or_changes_no_value(tmp_path):
    path = write_json(tmp_path / "a.json", CONTENT)
    whole, noticed, flips = path.read_bytes(), 0, 0
    for position in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            flips += 1
            try:
                found = read_json(path)
            except ValueError as error:
                assert str(path) in str(error) and "delete it to have it made anew" in str(error)
                noticed += 1
            else:
                assert found == CONTENT and json.dumps(found) == json.dumps(CONTENT)
    assert flips == 8 * len(whole) and noticed > 0.99 * flips


def test_what_was_meant_and_what_was_not():
    sealed = seal(CONTENT)
    with pytest.raises(ValueError, match="does not match its checksum 'sha256'"):
        unseal({**sealed, "alpha": 0.2})
    with pytest.raises(ValueError, match="does not match"):
        unseal({**sealed, SEAL: None})
    with pytest.raises(ValueError, match="'sha257' was 'sha256'"):
        unseal({"sha257" if name == SEAL else name: value for name, value in sealed.items()})
