"""Tables: means, spread, paired gains, and runs that must not be averaged."""

import json

import pytest

from dho_prompt.evaluation.table import cell, markdown, read_results, tables
from dho_prompt.report import main


def result(trainer, seed, accuracy, shots=4, lr=0.002, labelled="abc"):
    heads = {"blend": 0, "ce": 1, "kd": -1} if trainer.endswith("DHO") else {"ce": 0}
    sets = {
        name: {**{head: value + shift for head, shift in heads.items()}, "images": 10}
        for name, value in accuracy.items()
    }
    made = {
        "trainer": trainer, "dataset": "Digits", "shots": shots, "seed": seed, "accuracy": sets,
        "epochs": 5, "device": "cpu",
        "split": {"hash": f"h{seed}", "labelled_hash": f"{labelled}{seed}", "labelled": 40, "unlabelled": 800},
        "engine": "embedded 0", "versions": {"torch": "2"},
        "config": {"SEED": seed, "OUTPUT_DIR": f"o{seed}", "OPTIM": {"LR": lr}, "MODEL": {"BACKBONE": {"NAME": "s"}}},
    }  # fmt: skip
    if "blend" in heads:
        made.update(mix={"alpha": 0.5, "beta": 1.0, "chosen": "fixed"}, teacher={"name": "t"})
    return made


@pytest.fixture
def runs():
    return [
        result("CoOp", 1, {"test": 60.0, "V2": 50.0, "A": 20.0}),
        result("CoOp", 2, {"test": 64.0, "V2": 54.0, "A": 20.0}),
        result("CoOpDHO", 2, {"test": 70.0, "V2": 58.0, "A": 20.0}),
        result("CoOpDHO", 1, {"test": 68.0, "V2": 50.0, "A": 24.0}),
    ]


def test_means_spread_and_gain_paired_by_seed(runs):
    (table,) = tables(runs)
    assert table.columns == ["test", "V2", "A", "mean shifted"]
    by_name = {row.name: row.accuracy for row in table.rows}
    assert by_name["CoOp"]["test"] == [60.0, 64.0] and by_name["CoOpDHO"]["test"] == [68.0, 70.0]
    assert by_name["CoOpDHO (CE head)"]["V2"] == [51.0, 59.0]
    assert by_name["CoOp"]["mean shifted"] == [35.0, 37.0]
    assert by_name["gain by DHO"]["test"] == [8.0, 6.0] and by_name["gain by DHO"]["mean shifted"] == [2.0, 2.0]
    text = markdown(table)
    assert "62.00 ± 2.83" in text and "+7.00 ± 1.41" in text and "2 seeds" in text
    assert "alpha 0.5, beta 1.0 (fixed)" in text and "splits h1 h2" in text


def test_one_seed_has_no_spread(runs):
    assert cell([60.0]) == "60.00"
    assert "One seed" in markdown(tables(runs[:1])[0])


def test_gain_needs_the_same_seeds_and_labelled_images(runs):
    assert tables(runs[:3])[0].rows[-1].name != "gain by DHO"
    other = [result("CoOpDHO", seed, {"test": 68.0}, labelled="xyz") for seed in (1, 2)]
    assert tables(runs[:2] + other)[0].rows[-1].name != "gain by DHO"


def test_runs_of_different_shots_get_tables_of_their_own(runs):
    assert [table.title for table in tables(runs + [result("CoOp", 1, {"test": 1.0}, shots=16)])] == [
        "Digits, 4 shots",
        "Digits, 16 shots",
    ]


def test_what_differs_is_not_averaged(runs):
    with pytest.raises(ValueError, match="different configurations.*OPTIM.LR: 0.002 -> 0.1"):
        tables(runs[:1] + [result("CoOp", 2, {"test": 1.0}, lr=0.1)])
    with pytest.raises(ValueError, match="seed 1 has several results"):
        tables(runs + [runs[0]])


def test_command_line_prints_saves_and_draws(runs, tmp_path, capsys):
    for run in runs:
        folder = tmp_path / run["trainer"] / f"seed{run['seed']}"
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(run))
    main([str(tmp_path), "--save", str(tmp_path / "out" / "table")])
    assert "gain by DHO" in capsys.readouterr().out
    assert "gain by DHO" in (tmp_path / "out" / "table.md").read_text()
    assert (tmp_path / "out" / "table.png").read_bytes()[:4] == b"\x89PNG"


def test_nothing_finished_and_damage_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit, match="no results.json below .* no run there is finished"):
        main([str(tmp_path)])
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match="results.json is not valid JSON"):
        read_results([tmp_path])
