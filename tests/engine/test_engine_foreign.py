"""Checkpoints that pickle live objects give their weights and run nothing."""

import os
import zipfile

import pytest
import torch

from dho_prompt import engine
from dho_prompt.engine.foreign import read_weights


class Warmup:
    """Like Dassl's warm-up: keeps the schedule that follows it, and with it the optimiser, as attributes."""

    def __init__(self, optimizer):
        self.successor = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
        self.warmup_epoch = 1


class Trap:
    def __reduce__(self):
        return (os.system, ("touch sprung",))


@pytest.fixture
def weights():
    buffer = torch.arange(12, dtype=torch.float16).reshape(3, 4)
    return {"ctx": torch.randn(4, 8), "half": buffer.t()[1:, :2], "empty": torch.zeros(0), "step": torch.tensor(7)}


def save(path, state_dict, **more):
    torch.save({"state_dict": state_dict, "epoch": 50, **more}, path)
    return str(path)


def test_weights_of_a_file_with_a_live_schedule(tmp_path, weights):
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    parameter.sum().backward()
    optimizer.step()
    path = save(tmp_path / "model", weights, scheduler=vars(Warmup(optimizer)), optimizer=optimizer.state_dict())
    with pytest.raises(ValueError, match="can run code when opened"):
        engine.load_checkpoint(path)
    read = engine.load_checkpoint(path, weights=True)
    assert set(read) == {"state_dict", "epoch"} and read["epoch"] == 50
    assert all(torch.equal(read["state_dict"][name], value) for name, value in weights.items())
    assert {name: value.dtype for name, value in read["state_dict"].items()} == {
        name: value.dtype for name, value in weights.items()
    }


def test_nothing_in_the_file_is_run(tmp_path, weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "model", weights, val_result=Trap(), list=[Trap()], keyed={"a": Trap()})
    read = engine.load_checkpoint(path, weights=True)
    assert torch.equal(read["state_dict"]["ctx"], weights["ctx"])
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(ValueError, match="no state_dict of tensors"):
        read_weights(save(tmp_path / "other", Trap()))
    with pytest.raises(ValueError, match="no state_dict of tensors"):
        read_weights(save(tmp_path / "other", {"ctx": Trap()}))
    assert not (tmp_path / "sprung").exists()


def test_parameters_and_shared_storage(tmp_path):
    base = torch.randn(6)
    read = read_weights(save(tmp_path / "m", {"a": torch.nn.Parameter(base[:4]), "b": base[2:]}, extra=Warmup))
    assert torch.equal(read["state_dict"]["a"], base[:4]) and torch.equal(read["state_dict"]["b"], base[2:])


def test_damage_is_named(tmp_path, weights):
    path = tmp_path / "model"
    save(path, weights, extra=Warmup)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="is damaged or no archive"):
        read_weights(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"garbage")
    with pytest.raises(ValueError, match="is damaged or no archive"):
        read_weights(str(path))
