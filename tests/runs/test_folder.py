"""Output folders: what makes a finished run, and state files of another form."""

import copy
import json

import pytest

from dho_prompt.data.choose.splits import keep_split
from dho_prompt.files import write_json
from dho_prompt.runs.folder import (
    CONFIG,
    MIX,
    RESULTS,
    SPLIT,
    begin_run,
    read_config,
    read_result,
    run_state,
    trained_run,
)
from dho_prompt.runs.mix import read_mix
from dho_prompt.tables.results import read_results

SETTINGS = {"DATASET": {"NAME": "D"}, "OPTIM": {"LR": 0.1}, "TRAINER": {"NAME": "CoOp"}, "TEST": {"NO_TEST": False}}
RESULT = {
    "trainer": "CoOp", "dataset": "D", "shots": 4, "seed": 0, "config": SETTINGS,
    "accuracy": {"test": {"ce": 50.0, "images": 10}},
}  # fmt: skip
WRONG = [[1], None, {}, "text", 3]


def changed(**entries):
    return {**copy.deepcopy(RESULT), **entries}


def test_states_of_a_run(tmp_path):
    assert run_state(tmp_path, SETTINGS) == begin_run(tmp_path, SETTINGS) == "new"
    assert run_state(tmp_path, SETTINGS) == "interrupted" and read_config(tmp_path) == SETTINGS
    write_json(tmp_path / RESULTS, RESULT)
    assert run_state(tmp_path, SETTINGS) == "finished" and read_result(tmp_path / RESULTS) == RESULT
    with pytest.raises(ValueError, match="another configuration.*\n.*OPTIM.LR: 0.1 -> 0.2"):
        run_state(tmp_path, {**SETTINGS, "OPTIM": {"LR": 0.2}})


NO_RESULT = {
    "empty": {},
    "list": [1],
    "null": None,
    "no trainer": {key: value for key, value in RESULT.items() if key != "trainer"},
    "seed": changed(seed="0"),
    "seed true": changed(seed=True),
    "no sets": changed(accuracy={}),
    "no images": changed(accuracy={"test": {"ce": 50.0, "images": 0}}),
    "images text": changed(accuracy={"test": {"ce": 50.0, "images": "10"}}),
    "set is a number": changed(accuracy={"test": 50.0}),
}


@pytest.mark.parametrize("content", NO_RESULT.values(), ids=NO_RESULT)
def test_what_is_no_result_finishes_no_run(tmp_path, content, capsys):
    begin_run(tmp_path, SETTINGS)
    write_json(tmp_path / RESULTS, content)
    assert run_state(tmp_path, SETTINGS) == "interrupted"
    assert "results.json" in (said := capsys.readouterr().out) and "counts as interrupted" in said
    with pytest.raises(ValueError, match="results.json .*delete it, and the command that made it makes it anew"):
        read_results([tmp_path])


@pytest.mark.parametrize("text", ["", "{", '{"accuracy"'])
def test_half_a_result_finishes_no_run(tmp_path, text, capsys):
    begin_run(tmp_path, SETTINGS)
    (tmp_path / RESULTS).write_text(text)
    assert run_state(tmp_path, SETTINGS) == "interrupted" and "is not valid JSON" in capsys.readouterr().out


def test_a_run_that_tests_nothing_is_finished_too(tmp_path):
    untested = changed(accuracy={}, config={**SETTINGS, "TEST": {"NO_TEST": True}})
    begin_run(tmp_path, SETTINGS)
    write_json(tmp_path / RESULTS, untested)
    assert run_state(tmp_path, SETTINGS) == "finished"


@pytest.mark.parametrize("content", WRONG, ids=map(str, WRONG))
def test_a_configuration_of_another_form(tmp_path, content):
    write_json(tmp_path / CONFIG, content)
    for reading in (
        lambda: run_state(tmp_path, SETTINGS), lambda: begin_run(tmp_path, SETTINGS), lambda: trained_run(tmp_path, 3)
    ):  # fmt: skip
        with pytest.raises(ValueError, match="config.json is not of the form .* put a copy in its place"):
            reading()


@pytest.mark.parametrize("content", WRONG, ids=map(str, WRONG))
def test_a_split_of_another_form(tmp_path, content):
    write_json(tmp_path / CONFIG, SETTINGS)
    write_json(tmp_path / SPLIT, content)
    for reading in (lambda: keep_split(tmp_path / SPLIT, {"hash": "x"}), lambda: trained_run(tmp_path, 3)):
        with pytest.raises(ValueError, match="split.json is not of the form .* delete it if the data have not changed"):
            reading()


@pytest.mark.parametrize("content", WRONG, ids=map(str, WRONG))
def test_a_mix_of_another_form(tmp_path, content):
    write_json(tmp_path / MIX, content)
    with pytest.raises(ValueError, match="mix.json is not of the form .* delete it and results.json"):
        read_mix(tmp_path / MIX)


@pytest.mark.parametrize("alpha, beta", [("-0.1", "1"), ("1.5", "1"), ("0.5", "0"), ("NaN", "1"), ("0.5", "1e999")])
def test_a_mix_whose_numbers_mean_nothing(tmp_path, alpha, beta):
    (tmp_path / MIX).write_text(f'{{"alpha": {alpha}, "beta": {beta}, "chosen": "by hand"}}')
    with pytest.raises(ValueError, match="which is no mix; delete it"):
        read_mix(tmp_path / MIX)
    (tmp_path / MIX).write_text('{"alpha": 1, "beta": 0.5, "chosen": "by hand"}')
    assert read_mix(tmp_path / MIX) == {"alpha": 1, "beta": 0.5, "chosen": "by hand"}


def test_a_flipped_digit_in_a_result_is_noticed(tmp_path, capsys):
    begin_run(tmp_path, SETTINGS)
    path = write_json(tmp_path / RESULTS, RESULT)
    path.write_text(path.read_text().replace("50.0", "70.0"))
    assert json.loads(path.read_text())["accuracy"]["test"]["ce"] == 70
    with pytest.raises(ValueError, match="results.json is damaged or was edited"):
        read_results([tmp_path])
    assert run_state(tmp_path, SETTINGS) == "interrupted" and "damaged or was edited" in capsys.readouterr().out
