"""Tables: means, spread, paired gains, the paper's figures, and runs that must not be averaged."""

import csv
import io
import json

import pytest

from dho_prompt.report import main
from dho_prompt.tables.groups import labelled_by
from dho_prompt.tables.render import cell, comma_separated, latex, markdown
from dho_prompt.tables.table import tables
from made_results import result, with_config


@pytest.fixture
def runs():
    return [
        result("CoOp", 1, {"test": 60.0, "V2": 50.0, "A": 20.0}),
        result("CoOp", 2, {"test": 64.0, "V2": 54.0, "A": 20.0}),
        result("CoOpDHO", 2, {"test": 70.0, "V2": 58.0, "A": 20.0}),
        result("CoOpDHO", 1, {"test": 68.0, "V2": 50.0, "A": 24.0}),
    ]


def alone(runs, gain):
    """The DHO runs of ``runs`` again, on labelled images alone."""
    return [
        result("CoOpDHO", run["seed"], {name: found["blend"] + gain for name, found in run["accuracy"].items()}, pool=0)
        for run in runs
        if "mix" in run
    ]


def rows_of(table, kind=None):
    return {row.name: row.values for row in table.rows if kind in (None, row.kind)}


def test_means_spread_and_gains_paired_by_seed(runs):
    (table,) = tables(runs + alone(runs, -5))
    assert table.columns == ["test", "V2", "A", "mean shifted"]
    rows = rows_of(table)
    assert list(rows) == [
        "CoOp",
        "CoOpDHO, labeled only", "CoOpDHO, labeled only (CE head)", "CoOpDHO, labeled only (KD head)",
        "CoOpDHO", "CoOpDHO (CE head)", "CoOpDHO (KD head)",
        "gain by CoOpDHO, labeled only", "gain by CoOpDHO",
    ]  # fmt: skip
    assert rows["CoOp"]["test"] == [60.0, 64.0] and rows["CoOpDHO"]["test"] == [68.0, 70.0]
    assert rows["CoOpDHO (CE head)"]["V2"] == [51.0, 59.0]
    assert rows["CoOp"]["mean shifted"] == [35.0, 37.0]
    assert rows["gain by CoOpDHO"]["test"] == [8.0, 6.0] and rows["gain by CoOpDHO"]["mean shifted"] == [2.0, 2.0]
    assert rows["gain by CoOpDHO, labeled only"]["test"] == [3.0, 1.0]
    text = markdown(table)
    assert "62.00 ± 2.83" in text and "+7.00 ± 1.41" in text and "2 seeds" in text
    assert "alpha 0.5, beta 1.0 (fixed)" in text and "splits h1 h2" in text


def test_one_seed_has_no_spread(runs):
    assert cell([60.0]) == "60.00"
    assert "One seed" in markdown(tables(runs[:1])[0])


def test_a_gain_is_of_the_seeds_that_both_have_and_of_the_same_labelled_images(runs):
    (table,) = tables(runs[:3])
    assert rows_of(table, "gain")["gain by CoOpDHO"]["test"] == [6.0]
    assert "of seed 2 alone" in markdown(table) and "over the seeds" in markdown(table)
    other = [result("CoOpDHO", seed, {"test": 68.0}, labelled="xyz") for seed in (1, 2)]
    (table,) = tables(runs[:2] + other)
    assert not rows_of(table, "gain") and "with seed 1 they have other labelled images" in markdown(table)
    assert "Not tested by all runs, so left out: A, V2" in markdown(table)
    (table,) = tables([runs[0], runs[2]])
    assert not rows_of(table, "gain") and "no seed in common" in markdown(table)
    (table,) = tables([runs[0], {**runs[3], "split": None}])
    assert not rows_of(table, "gain") and "images not recorded" in markdown(table)


def test_runs_are_grouped_by_data_set_and_choice_of_labelled_images(runs):
    listed = with_config(result("CoOp", 1, {"test": 1.0}, shots=-1), LABELED_LIST="a/1percent.txt", LABELED_PERCENT=0.0)
    share = with_config(result("CoOp", 1, {"test": 1.0}, shots=-1), LABELED_LIST="", LABELED_PERCENT=1.0)
    more = [
        listed, share, result("CoOp", 1, {"test": 1.0}, shots=16), result("CoOp", 1, {"test": 1.0}, shots=-1),
        result("CoOp", 1, {"test": 1.0}, shots=1), result("CoOp", 1, {"test": 1.0}, dataset="Animals"),
        result("CoOp", 1, {"test": 1.0}, evaluated={"trained_on": {"NAME": "Other"}}),
    ]  # fmt: skip
    assert [table.title for table in tables(runs + more)] == [
        "Animals, 4 shots",
        "Digits, 1 shot",
        "Digits, 4 shots",
        "Digits, 16 shots",
        "Digits, all labelled",
        "Digits, 1 %",
        "Digits, labelled by 1percent.txt",
        "Digits (trained on Other), 4 shots",
    ]
    assert labelled_by(share) == "1 %"


def test_what_differs_is_not_averaged(runs):
    with pytest.raises(ValueError, match="different configurations.*OPTIM.LR: 0.002 -> 0.1"):
        tables(runs[:1] + [result("CoOp", 2, {"test": 1.0}, lr=0.1)])
    with pytest.raises(ValueError, match="seed 1 has several results"):
        tables(runs + [runs[0]])


def test_calibration_errors_have_a_table_of_their_own(runs):
    (table,) = tables(runs, "ece")
    assert rows_of(table)["CoOpDHO"]["test"] == [6.8, 7.0]
    assert rows_of(table, "gain") == {"change by CoOpDHO": table.rows[-1].values}
    assert table.rows[-1].values["test"] == pytest.approx([0.8, 0.6])
    text = markdown(table)
    assert "ECE (%, 15 bins, lower is better)" in text and "+0.70 ± 0.14" in text
    assert "a negative change is an improvement" in text
    del runs[0]["ece"]
    with pytest.raises(ValueError, match="without calibration errors.*ood_eval"):
        tables(runs, "ece")


def test_csv_and_latex_say_the_same(runs):
    made = tables(runs)
    lines = list(csv.DictReader(io.StringIO(comma_separated(made))))
    (line,) = (line for line in lines if (line["row"], line["set"]) == ("gain by CoOpDHO", "test"))
    assert (line["mean"], line["seeds"], line["values"], line["kind"]) == ("7.0", "2", "8.0 6.0", "gain")
    assert float(line["std"]) == pytest.approx(2**0.5)
    text = latex(made[0])
    assert r"CoOp & $62.00$ {\scriptsize$\pm$2.83} &" in text and r"accuracy (\%) & test & V2" in text
    assert text.count(r"\midrule") == 2 and text.count(r" \\") == len(made[0].rows) + 1


def test_command_line_prints_saves_and_draws(runs, tmp_path, capsys):
    for run in runs:
        folder = tmp_path / run["trainer"] / f"seed{run['seed']}"
        folder.mkdir(parents=True)
        (folder / "evaluation.json").write_text(json.dumps(run))
    main([str(tmp_path), "--file", "evaluation.json", "--ece", "--save", str(tmp_path / "out" / "table")])
    assert "gain by CoOpDHO" in capsys.readouterr().out
    out = tmp_path / "out"
    endings = (".md", ".csv", ".tex", ".png", ".svg", "_ece.png", "_ece.svg")
    assert {path.name for path in out.iterdir()} == {f"table{ending}" for ending in endings}
    assert "gain by CoOpDHO" in (out / "table.md").read_text() and "ECE" in (out / "table.tex").read_text()
    assert (out / "table.png").read_bytes()[:4] == b"\x89PNG"


def test_without_matplotlib_the_tables_are_saved_and_the_extra_is_named(runs, tmp_path, capsys, monkeypatch):
    (tmp_path / "results.json").write_text(json.dumps(runs[0]))
    monkeypatch.setattr("dho_prompt.report.find_spec", lambda name: None)
    main([str(tmp_path), "--save", str(tmp_path / "table")])
    assert (tmp_path / "table.md").is_file() and not (tmp_path / "table.png").exists()
    assert "pip install 'dho-prompt[plot]'" in capsys.readouterr().out


def titles(runs):
    return [table.title for table in tables(runs)]


def own(folder, root="/data"):
    return with_config(result("CoOp", 1, {"test": 1.0}, dataset="ImageFolder"), FOLDER=folder, ROOT=root)


def test_a_folder_of_ones_own_has_its_name():
    assert titles([own("photos/")]) == ["photos, 4 shots"]
    assert titles([own("/elsewhere/birds")]) == ["birds, 4 shots"]
    assert titles([own("", root="/here/animals")]) == ["animals, 4 shots"]
    assert titles([own("old/photos"), own("new/photos")]) == ["new/photos, 4 shots", "old/photos, 4 shots"]
    assert titles([own("photos"), {**own("photos", root="/other"), "seed": 2}]) == ["photos, 4 shots"]
    named = result("CoOp", 1, {"test": 1.0, "other.sets:Drawings": 2.0}, dataset="my.sets:Flowers")
    (table,) = tables([named])
    assert table.title == "Flowers, 4 shots" and table.columns == ["test", "Drawings"]
    same = result("CoOp", 1, {"test": 1.0, "a.sets:Drawings": 2.0, "b.sets:Drawings": 3.0})
    assert tables([same])[0].columns == ["test", "Drawings", "b.sets:Drawings", "mean shifted"]


def test_halves_of_the_classes_are_not_all_of_them():
    def half(classes, **more):
        return with_config(result("CoOp", 1, {"test": 1.0}, **more), SUBSAMPLE_CLASSES=classes)

    trained = {"trained_on": {"NAME": "Digits", "SUBSAMPLE_CLASSES": "base", "NUM_SHOTS": 16}}
    assert titles([half("all"), half("base"), half("new", evaluated=trained)]) == [
        "Digits, 4 shots",
        "Digits, base classes, 4 shots",
        "Digits, new classes (trained on base classes), 16 shots",
    ]


def test_names_do_not_break_latex():
    text = latex(tables([own("a_b"), {**own("a_b"), "trainer": "Co$t^2"}])[0])
    assert r"Co\$t\textasciicircum{}2 &" in text
