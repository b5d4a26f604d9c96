"""Weights files are compared with their checksums: the bundled models', the hub's, those in torch's archives."""

import gzip
import json
import random
import shutil

import pytest
import torch
from safetensors.torch import save_file

from dho_prompt.clip.loading import load_clip
from dho_prompt.clip.names import BUNDLED, BUNDLED_FOLDER, resolve_name
from dho_prompt.clip.weights import read_state_dict
from dho_prompt.files import read_json
from dho_prompt.files.checksums import sha256_of

NO_CHECKSUMS = "has no checksums, so damage in it would not be noticed"


def flip(path, position, bit=0):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


@pytest.fixture(params=BUNDLED)
def bundled(request, tmp_path):
    return shutil.copytree(BUNDLED_FOLDER / request.param, tmp_path / request.param)


def test_bundled_models_say_what_their_weights_are(bundled, capsys):
    digest = sha256_of(bundled / "open_clip_model.safetensors")
    assert read_json(bundled / "open_clip_config.json")["weights_sha256"] == digest
    assert resolve_name(bundled.name).weights_digest == digest
    assert load_clip(str(bundled)).embed_dim == 64 and "Note" not in capsys.readouterr().out


def test_a_flipped_bit_in_a_bundled_model_is_noticed(bundled):
    draw = random.Random(3)
    for name in ("open_clip_model.safetensors", "open_clip_config.json", "bpe.txt.gz"):
        path = bundled / name
        whole = path.read_bytes()
        for _ in range(5):
            # gzip's header holds a time and a system, which nobody reads
            flip(path, draw.randrange(10 if name.endswith("gz") else 0, len(whole)), draw.randrange(8))
            with pytest.raises(ValueError, match=rf"{name}.*(damaged|not valid JSON|sha256|are damaged)"):
                load_clip(str(bundled))
            path.write_bytes(whole)
    load_clip(str(bundled))


def test_a_folder_of_somebody_else_loads_with_a_note(bundled, capsys):
    path = bundled / "open_clip_config.json"
    config = {name: value for name, value in json.loads(path.read_text()).items() if "sha256" not in name}
    path.write_text(json.dumps(config))
    load_clip(str(bundled))
    assert f"open_clip_model.safetensors {NO_CHECKSUMS}" in capsys.readouterr().out
    (bundled / "bpe.txt.gz").write_bytes(gzip.compress(b"#version\n")[:-4])
    with pytest.raises(ValueError, match="the merges of .*bpe.txt.gz, are damaged"):
        load_clip(str(bundled))


@pytest.mark.parametrize("content", ["[1]", "null", "{}", '{"model_cfg": 1}', "{"])
def test_a_configuration_of_another_form(bundled, content):
    (bundled / "open_clip_config.json").write_text(content)
    with pytest.raises(ValueError, match="open_clip_config.json .*take it from the model's source again"):
        load_clip(str(bundled))


def test_a_preprocessing_of_another_form(bundled):
    path = bundled / "open_clip_config.json"
    path.write_text(json.dumps({"model_cfg": read_json(path)["model_cfg"], "preprocess_cfg": [0.5]}))
    with pytest.raises(ValueError, match="preprocess_cfg of .* is .0.5., not a mapping"):
        load_clip(str(bundled))


def test_weights_given_by_name_are_not_those_of_the_folder(bundled, tmp_path, capsys):
    state = read_state_dict(bundled / "open_clip_model.safetensors", resolve_name(str(bundled)).weights_digest)
    torch.save(state, tmp_path / "other.pt")
    assert load_clip(str(bundled), str(tmp_path / "other.pt")).weights_source.endswith("other.pt")
    assert "Note" not in capsys.readouterr().out


@pytest.mark.parametrize("write", [save_file, torch.save])
def test_a_flipped_bit_in_a_file_of_the_hub_is_noticed(tmp_path, write):
    """The hub's cache links a name in a snapshot to a file that is named by its content."""
    state = {"weight": torch.arange(8.0)}
    write(state, tmp_path / "made")
    blob = (tmp_path / "made").rename(tmp_path / sha256_of(tmp_path / "made"))
    linked = tmp_path / ("w.safetensors" if write is save_file else "w.bin")
    linked.symlink_to(blob)
    assert torch.equal(read_state_dict(linked)["weight"], state["weight"])
    flip(blob, blob.read_bytes().index(state["weight"].numpy().tobytes()) + 5)
    with pytest.raises(ValueError, match=rf"{linked.name} is damaged, or another file than it was.*Fetch it again"):
        read_state_dict(linked)


def test_a_flipped_bit_in_a_file_of_torchs_is_noticed(tmp_path, capsys):
    path, state = tmp_path / "weights.pt", {"weight": torch.arange(8.0)}
    torch.save(state, path)
    flip(path, path.read_bytes().index(state["weight"].numpy().tobytes()) + 5)
    assert not torch.equal(torch.load(path, weights_only=True)["weight"], state["weight"])  # torch is silent
    with pytest.raises(ValueError, match="weights.pt cannot be read as CLIP weights: .* do not match their checksums"):
        read_state_dict(path)
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_state_dict(path)["weight"], state["weight"])
    assert f"weights.pt {NO_CHECKSUMS}" in capsys.readouterr().out
