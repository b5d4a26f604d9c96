"""Result files: none, damaged, of runs that were not tested, or tested on validation images."""

import json

import pytest

from dho_prompt.report import main
from dho_prompt.tables.render import markdown
from dho_prompt.tables.results import read_results
from dho_prompt.tables.table import tables
from made_results import result, three_rows


def write(folder, *runs):
    for number, run in enumerate(runs):
        path = folder / f"{run['trainer']}{number}" / "results.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(run))


def fails(*arguments):
    with pytest.raises(SystemExit) as caught:
        main(list(map(str, arguments)))
    return str(caught.value.code)


def on(name, runs):
    """The runs as if their own images had been called ``name``."""
    renamed = ("accuracy", "ece", "classes")
    return [{**run, **{key: {name: run[key]["test"]} for key in renamed}} for run in runs]


def untested(run):
    config = {**run["config"], "TEST": {"NO_TEST": True}}
    return {**run, "accuracy": {}, "ece": {}, "classes": {}, "config": config}


def test_nothing_finished_and_damage_are_named(tmp_path):
    assert "no results.json below" in fails(tmp_path) and "no run there is finished" in fails(tmp_path)
    assert "ood_eval" in fails(tmp_path, "--file", "evaluation.json")
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match="results.json is not valid JSON"):
        read_results([tmp_path])


def test_what_is_no_result_is_named(tmp_path):
    run = result("CoOp", 1, {"test": 60.0})
    del run["split"], run["engine"]
    write(tmp_path, run)
    assert "results.json has no split, engine, so nothing can be said of it; delete it" in fails(tmp_path)


def test_results_on_no_images_are_refused_by_name(tmp_path):
    run = result("CoOp", 1, {"test": 60.0, "V2": 0.0})
    run["accuracy"]["V2"] = {"images": 0}
    write(tmp_path, run)
    message = fails(tmp_path)
    assert f"{tmp_path / 'CoOp0' / 'results.json'}: V2 was tested on 0 images" in message and "SHIFTED_SETS" in message


def test_no_numbers_are_refused_by_name(tmp_path):
    run = result("CoOp", 1, {"test": 60.0})
    run["ece"]["test"]["ce"] = float("nan")
    write(tmp_path, run)
    assert "results.json: ece of test (ce) is nan, which is no number" in fails(tmp_path)


def test_runs_that_were_not_tested(tmp_path, capsys):
    write(tmp_path / "all", untested(result("CoOp", 1, {"test": 60.0})))
    message = fails(tmp_path / "all")
    assert message.startswith("dho_prompt: error: nothing to report: not tested (TEST.NO_TEST True): ")
    assert str(tmp_path / "all" / "CoOp0") in message
    assert "python -m dho_prompt.evaluate RUN TEST.NO_TEST False" in message and "--file evaluation.json" in message
    some = three_rows("CoOp", seeds=(1, 2))
    write(tmp_path / "some", *some[:-1], untested(some[-1]))
    main([str(tmp_path / "some"), "--ece"])
    printed = capsys.readouterr().out
    assert "The gain of CoOpDHO over CoOp is of seed 1 alone." in printed
    assert f"Left out, not tested (TEST.NO_TEST True): {tmp_path / 'some' / 'CoOpDHO5'}." in printed
    with pytest.raises(ValueError, match="not tested .TEST.NO_TEST True.: CoOp, seed 1"):
        tables([untested(result("CoOp", 1, {"test": 60.0}))])


def test_runs_that_were_tested_on_validation_images(tmp_path, capsys):
    runs = on("val", three_rows("CoOp", seeds=(1, 2)))
    write(tmp_path, *runs)
    main([str(tmp_path), "--ece", "--save", str(tmp_path / "table")])
    printed = capsys.readouterr().out
    assert "gain by CoOpDHO" in printed and "| val " in printed
    assert printed.count("val: validation images (TEST.SPLIT val).") == 2
    (table,) = tables(runs)
    assert table.columns == ["val"] and len([row for row in table.rows if row.kind == "gain"]) == 2


def test_what_was_chosen_on_the_validation_images_is_said():
    searched = {"alpha": 0.9, "beta": 2.0, "chosen": "searched on 40 validation images: 65.00%"}
    runs = [{**run, "mix": searched} if "mix" in run else run for run in on("val", three_rows("CoOp"))]
    assert "on which alpha and beta of some runs were chosen, which favours those." in markdown(tables(runs)[0])
    for run in runs:
        run["config"]["TEST"] = {"FINAL_MODEL": "best_val"}
    assert "alpha and beta and the checkpoint" in markdown(tables(runs)[0])
    assert "were chosen" not in markdown(tables(three_rows("CoOp"))[0])


def test_shifted_sets_of_runs_tested_on_validation_images():
    runs = [
        result("CoOp", 1, {"val": 60.0, "V2": 50.0, "A": 20.0}),
        result("CoOpDHO", 1, {"val": 62.0, "V2": 55.0, "A": 25.0}),
    ]
    for run in runs:
        run["classes"]["A"] = {"own": 2, "scored": 2}
    (table,) = tables(runs)
    assert table.columns == ["val", "V2", "A (2-way)", "mean shifted"]
    assert table.rows[-1].values["mean shifted"] == [5.0], "without the validation images"


def test_runs_without_a_common_set_are_refused_by_name():
    runs = three_rows("CoOp", seeds=(1,), sets={"test": 60.0})
    with pytest.raises(
        ValueError, match="no test set in common .CoOp on val; CoOpDHO, labeled only on test; CoOpDHO on"
    ):
        tables(on("val", runs[:1]) + runs[1:])
    both = [result("CoOp", 1, {"val": 60.0, "V2": 50.0}), result("CoOpDHO", 1, {"test": 60.0, "V2": 55.0})]
    (table,) = tables(both)
    assert table.columns == ["V2"] and "left out: test, val." in markdown(table)
    assert table.rows[-1].values["V2"] == [5.0]
