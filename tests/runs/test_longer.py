"""A run that is to have more epochs: the longer run itself where its first epochs are the same, else refused."""

import json
from pathlib import Path

import pytest
import torch

from dho_prompt import engine
from dho_prompt.engine.embedded.defaults import get_cfg_default
from dho_prompt.hosts.names_used import counts_epochs
from dho_prompt.hosts.with_dho import with_dho
from dho_prompt.runs.longer import is_longer, why_not_longer
from dho_prompt.train import main, parser, setup_cfg
from stand_in_hosts import HOSTS, EngineStep, LossStep, TupleStep

STEPS = ("OPTIM.LR_SCHEDULER", "multi_step", "OPTIM.STEPSIZE", "(2, 4)", "OPTIM.GAMMA", "0.3")
LOSS = with_dho(LossStep, name="LongerLossStep")
COUNTING = with_dho(TupleStep, name="LongerTupleStep")


def settings(epochs, **optim):
    plain = {"LR": 0.2, "MAX_EPOCH": epochs, "LR_SCHEDULER": "multi_step", "STEPSIZE": [2, 4], "GAMMA": 0.3}
    warmup = {"WARMUP_EPOCH": 2, "WARMUP_TYPE": "linear", "WARMUP_MIN_LR": 1e-4, "WARMUP_CONS_LR": 1e-5}
    return {"OPTIM": {**plain, **warmup, "WARMUP_RECOUNT": True, **optim}}


@pytest.mark.parametrize(
    ("optim", "why"),
    [
        ({}, ""),
        ({"LR_SCHEDULER": "single_step", "STEPSIZE": [3]}, ""),
        ({"LR_SCHEDULER": "single_step", "STEPSIZE": [-1]}, ""),
        ({"LR_SCHEDULER": "cosine", "WARMUP_EPOCH": 1}, "LR_SCHEDULER cosine spreads"),
        ({"LR_SCHEDULER": "cosine"}, ""),  # its third epoch is the first behind the warm-up, at the full rate
        ({"LR_SCHEDULER": "cosine", "WARMUP_EPOCH": 3}, ""),  # all that is done is warm-up, which is its own
        ({"LR_SCHEDULER": "cosine", "WARMUP_EPOCH": 3, "WARMUP_RECOUNT": False}, ""),
        ({"SCHEDULE_BY": "iteration"}, "SCHEDULE_BY iteration spreads"),
        ({"EMA": 0.99}, "OPTIM.EMA 0.99 has put the average of its 3 epochs"),
    ],
)
def test_which_runs_can_be_longer(optim, why):
    found = why_not_longer(settings(3, **optim), settings(5, **optim))
    assert (why in found) and bool(why) == bool(found)
    assert why_not_longer(settings(3, **optim), settings(5, **optim), "it counts") == "it counts"


def test_what_is_a_longer_run():
    before, after = settings(3), settings(5)
    assert is_longer(["OPTIM.MAX_EPOCH: 3 -> 5"], before, after)
    assert not is_longer(["OPTIM.MAX_EPOCH: 5 -> 3"], after, before)
    assert not is_longer(["OPTIM.LR: 1 -> 2", "OPTIM.MAX_EPOCH: 3 -> 5"], before, after)
    assert not is_longer([], before, before)


@pytest.fixture
def train(train_args, tmp_path):
    """``train(epochs, output)``: our CoOp, or a host, on a schedule of steps; returns its tensors."""

    def run(trainer, epochs, output, *opts, kill_in=None):
        words = train_args("CoOpDHO", *STEPS, "OPTIM.MAX_EPOCH", epochs, *opts, output=tmp_path / output)
        if isinstance(trainer, type):
            engine.set_random_seed(1)
            built = trainer(setup_cfg(parser().parse_args(words)))
            if kill_in is not None:
                step = built.forward_backward
                built.forward_backward = lambda batch: kill(built.epoch == kill_in) or step(batch)
            built.train()
        else:
            main(words)
        files = sorted((tmp_path / output).glob(f"*/model.pth.tar-{epochs}"))
        assert len(files) == 2
        states = [torch.load(file, weights_only=True)["state_dict"] for file in files]
        return [value for state in states for value in state.values()]

    return run


class Killed(Exception):
    pass


def kill(now):
    if now:
        raise Killed


@pytest.mark.parametrize("trainer", ["CoOpDHO", LOSS], ids=["ours", "host"])
def test_a_finished_run_goes_on_as_a_longer_one(train, trainer, tmp_path, capsys):
    whole = train(trainer, 5, "whole")
    short = train(trainer, 3, "run")
    first = json.loads((tmp_path / "run" / "results.json").read_text())
    capsys.readouterr()
    longer = train(trainer, 5, "run", "TRAIN.PRINT_FREQ", 7)
    printed = capsys.readouterr().out
    assert "holds a run of 3 epochs, which goes on to 5" in printed and "Previous epoch: 3" in printed
    assert all(torch.equal(one, other) for one, other in zip(longer, whole))
    assert not all(torch.equal(one, other) for one, other in zip(longer, short))
    results = [json.loads((tmp_path / run / "results.json").read_text()) for run in ("run", "whole")]
    assert results[0]["accuracy"] == results[1]["accuracy"] and results[0]["epochs"] == 5
    assert json.loads((tmp_path / "run" / "results-3-epochs.json").read_text()) == first
    assert json.loads((tmp_path / "run" / "config.json").read_text())["OPTIM"]["MAX_EPOCH"] == 5
    assert {path.name for path in Path(tmp_path / "run").glob("results*")} == {"results.json", "results-3-epochs.json"}


def test_one_that_is_killed_on_its_way_is_not_finished(train, tmp_path):
    whole = train(LOSS, 5, "whole")
    train(LOSS, 3, "run")
    for kill_in in (3, 4):
        with pytest.raises(Killed):
            train(LOSS, 5, "run", kill_in=kill_in)
        assert not (tmp_path / "run" / "results.json").exists()
    assert all(torch.equal(one, other) for one, other in zip(train(LOSS, 5, "run"), whole))


def test_others_are_refused_and_say_how(train, tmp_path, capsys):
    cosine = ("OPTIM.LR_SCHEDULER", "cosine")
    train(LOSS, 3, "run", *cosine)
    before = {path: path.read_bytes() for path in sorted((tmp_path / "run").rglob("*.json"))}
    words = r"run of 3 epochs, and OPTIM.MAX_EPOCH is 4: .*LR_SCHEDULER cosine spreads .*--resume \S+run\)"
    with pytest.raises(ValueError, match=words):
        train(LOSS, 4, "run", *cosine)
    with pytest.raises(ValueError, match="OPTIM.MAX_EPOCH: 3 -> 2"):
        train(LOSS, 2, "run", *cosine)
    assert {path: path.read_bytes() for path in before} == before
    capsys.readouterr()
    train(LOSS, 4, "further", *cosine, "RESUME", str(tmp_path / "run"))  # what the message offers
    assert "Previous epoch: 3" in capsys.readouterr().out


def test_a_trainer_that_counts_its_epochs_is_refused_by_name(train):
    train(COUNTING, 2, "run")
    with pytest.raises(ValueError, match="because TupleStep's own code uses their number, so that") as found:
        train(COUNTING, 3, "run")
    assert "--resume" not in str(found.value)
    assert [counts_epochs(host) for host in HOSTS] == [host is TupleStep for host in HOSTS]


def helper(cfg):
    return Averaged(cfg)


class Averaged:
    def __init__(self, cfg):
        self.weights = [1 / epoch for epoch in range(1, cfg.OPTIM.MAX_EPOCH)]


class ByHelper(EngineStep):
    def build_model(self):
        super().build_model()
        self.average = helper(self.cfg)


def test_epochs_are_found_where_a_hosts_helper_counts_them():
    assert counts_epochs(ByHelper) and counts_epochs(type("Child", (ByHelper,), {}))
    assert "MAX_EPOCH" in get_cfg_default().OPTIM
