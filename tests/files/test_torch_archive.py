"""TorchScript archives: the same weights as torch.jit.load gives, and nothing in them is run."""

import io
import zipfile

import pytest
import torch
from torch import nn

from dho_prompt.clip.loading import cpu_runs_float16
from dho_prompt.files.torch_archive import is_script_archive, read_archive, read_script_weights


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4).half()
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("mask", torch.ones(2, 2).bool(), persistent=False)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.linear(x.half()).float()) * self.count


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Inner(), Inner()
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.tied = self.blocks[0].weight  # one storage, two names
        self.row = nn.Parameter(torch.arange(12.0).reshape(3, 4).t()[1:])  # not contiguous, with an offset
        self.sizes, self.scale = [1, 2], 0.5

    def forward(self, x):
        return self.blocks[1](self.blocks[0](self.first(x) + self.second(x))) * self.scale + self.row.sum()


@pytest.fixture(params=["script", "trace"])
def archive(request, tmp_path):
    torch.manual_seed(1)
    module = Outer().eval()
    if request.param == "trace" and not cpu_runs_float16():
        pytest.skip("torch too old to compute in float16 on a CPU, which tracing does")
    made = torch.jit.script(module) if request.param == "script" else torch.jit.trace(module, torch.randn(2, 3))
    made.save(str(tmp_path / "module.pt"))
    return tmp_path / "module.pt"


def test_the_weights_are_those_of_torchs_own_reader(archive):
    wanted, found = torch.jit.load(str(archive)).state_dict(), read_script_weights(archive)
    assert is_script_archive(archive) and set(found) == set(wanted) and len(found) > 20
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


WRITES = """
class Writes(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))
    @torch.jit.export
    def __getstate__(self):
        return (self.weight, self.training)
    @torch.jit.export
    def __setstate__(self, state: Tuple[Tensor, bool]):
        written = torch.from_file({marker!r}, True, 4, dtype=torch.uint8).fill_(88)
        self.weight = state[0] + 0 * written.sum()
        self.training = state[1]
    def forward(self, x):
        return x * self.weight
"""


@pytest.fixture
def hostile(tmp_path):
    """An archive that writes a marker when torch.jit.load opens it."""
    marker = tmp_path / "marker"
    (tmp_path / "writes.py").write_text(
        "import torch\nfrom typing import Tuple\nfrom torch import Tensor\n" + WRITES.format(marker=str(marker))
    )
    import importlib.util

    spec = importlib.util.spec_from_file_location("writes", tmp_path / "writes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.jit.script(module.Writes()).save(str(tmp_path / "hostile.pt"))
    marker.write_bytes(b"....")
    torch.jit.load(str(tmp_path / "hostile.pt"))
    assert marker.read_bytes() == b"XXXX"  # it does write
    marker.write_bytes(b"....")
    return tmp_path / "hostile.pt", marker


def test_nothing_in_an_archive_is_run(hostile):
    path, marker = hostile
    with pytest.raises(ValueError, match=r"Writes keeps its state in a way that only its own code could read"):
        read_script_weights(path)
    assert marker.read_bytes() == b"...."


@pytest.mark.parametrize("key", ["MODEL.BACKBONE.WEIGHTS", "TRAINER.DHO.TEACHER.WEIGHTS", "hub"])
def test_weights_of_a_run_do_not_run_anything_either(hostile, key, train_args, tmp_path, monkeypatch):
    from dho_prompt.clip.loading import load_clip
    from dho_prompt.train import main

    path, marker = hostile
    if key == "hub":
        bin_file = tmp_path / "open_clip_pytorch_model.bin"
        bin_file.write_bytes(path.read_bytes())
        monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, name: str(bin_file))
        with pytest.raises(ValueError, match="cannot be read as CLIP weights.*only its own code could read"):
            load_clip("open_clip:ViT-B-32:laion2b_s34b_b79k")
    else:
        with pytest.raises(SystemExit, match="cannot be read as CLIP weights.*only its own code could read"):
            main(train_args("CoOpDHO", key, path))
    assert marker.read_bytes() == b"...."


def rewritten(path, change):
    """The archive with its data.pkl changed."""
    content = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(content, "w") as new:
        for record in old.infolist():
            data = old.read(record)
            new.writestr(record.filename, change(data) if record.filename.endswith("data.pkl") else data)
    path.write_bytes(content.getvalue())


def test_a_tensor_outside_of_its_storage_is_refused(tmp_path):
    path = tmp_path / "saved.pt"
    for value in (torch.arange(6.0).reshape(2, 3), torch.arange(6.0)[2:]):
        torch.save({"state_dict": {"weight": value}}, path)
        assert torch.equal(read_archive(path)["state_dict"]["weight"], value)
    rewritten(path, lambda data: data.replace(b"K\x02K\x04\x85", b"K\x03K\x04\x85"))  # offset 3, size 4 of 6 values
    with pytest.raises(ValueError, match=r"size \(4,\), stride \(1,\) and offset 3 does not lie within its 6 values"):
        read_archive(path)


def test_damage_is_one_error(tmp_path):
    path = tmp_path / "saved.pt"
    torch.save({"weight": torch.arange(100.0)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="saved.pt is damaged or no archive"):
        read_archive(path)
    start = whole.index(torch.arange(100.0).numpy().tobytes())
    path.write_bytes(whole[: start + 40] + bytes([whole[start + 40] ^ 4]) + whole[start + 41 :])
    with pytest.raises(ValueError, match="Bad CRC-32"):
        read_archive(path)
    with pytest.raises(ValueError, match="no TorchScript archive"):
        path.write_bytes(whole)
        read_script_weights(path)
