"""Tables: means, spread, paired gains, the paper's figures, and runs that must not be averaged."""

import csv
import io
import json
import warnings

import pytest

from dho_prompt.report import main
from dho_prompt.runs.figure import draw, draw_shots, has_shots
from dho_prompt.runs.groups import labelled_by, read_results
from dho_prompt.runs.paper import SETS, TABLE_13
from dho_prompt.runs.render import cell, comma_separated, latex, markdown
from dho_prompt.runs.table import tables


def result(
    trainer, seed, accuracy, shots=4, lr=0.002, labelled="abc", pool=800, dataset="Digits", backbone="s", **more
):
    heads = {"blend": 0, "ce": 1, "kd": -1} if trainer.endswith("DHO") else {"ce": 0}
    sets = {name: {head: value + shift for head, shift in heads.items()} for name, value in accuracy.items()}
    made = {
        "trainer": trainer, "dataset": dataset, "shots": shots, "seed": seed,
        "accuracy": {name: {**found, "images": 10} for name, found in sets.items()},
        "ece": {name: {head: value / 10 for head, value in found.items()} for name, found in sets.items()},
        "classes": {name: {"own": 10, "scored": 10} for name in sets}, "epochs": 5, "device": "cpu",
        "split": {"hash": f"h{seed}", "labelled_hash": f"{labelled}{seed}", "labelled": 40, "unlabelled": pool},
        "engine": "embedded 0", "versions": {"torch": "2"},
        "config": {
            "SEED": seed, "OUTPUT_DIR": f"o{seed}", "OPTIM": {"LR": lr}, "DATASET": {"NAME": dataset},
            "MODEL": {"BACKBONE": {"NAME": backbone}}, "TRAINER": {},
        },
    }  # fmt: skip
    if "blend" in heads:
        made.update(mix={"alpha": 0.5, "beta": 1.0, "chosen": "fixed"}, teacher={"name": "t"})
    return {**made, **more}


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
    assert "of seeds 2 alone" in markdown(table) and "over the seeds" in markdown(table)
    other = [result("CoOpDHO", seed, {"test": 68.0}, labelled="xyz") for seed in (1, 2)]
    (table,) = tables(runs[:2] + other)
    assert not rows_of(table, "gain") and "with seed 1 they have other labelled images" in markdown(table)
    assert "Not tested by all runs, so left out: A, V2" in markdown(table)
    (table,) = tables([runs[0], runs[2]])
    assert not rows_of(table, "gain") and "no seed in common" in markdown(table)
    (table,) = tables([runs[0], {**runs[3], "split": None}])
    assert not rows_of(table, "gain") and "images not recorded" in markdown(table)


def with_config(run, **dataset):
    return {**run, "config": {**run["config"], "DATASET": {**run["config"]["DATASET"], **dataset}}}


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


def imagenet(trainer, shots=16, every=False, **more):
    sets = dict(zip(SETS, (72.5, 65.2, 49.0, 76.2, 51.7)))
    run = result(trainer, 1, sets, shots=shots, dataset="ImageNet", backbone="ViT-B/16", **more)
    run["classes"] = {name: {"own": 200 if name[-1] in "RA" else 1000, "scored": 1000} for name in sets}
    for name in ("ImageNetR", "ImageNetA"):
        run["classes"][name]["scored"] = 1000 if every else 200
    return run


def test_the_papers_figures_stand_beside_ours():
    (table,) = tables([imagenet("CoOp"), imagenet("CoOpDHO"), imagenet("CoOpDHO", pool=0)])
    assert table.columns[-2:] == ["ImageNetA (200-way)", "mean shifted"]
    paper, difference = rows_of(table, "paper"), rows_of(table, "difference")
    assert paper["CoOp, paper"]["test"] == [71.5] and paper["zero-shot CLIP, paper"]["ImageNetA (200-way)"] == [47.8]
    assert paper["CoOpDHO, labeled only, paper"]["ImageNetR (200-way)"] == [76.4]
    assert difference["CoOp, ours - paper"]["test"] == pytest.approx([1.0])
    assert difference["CoOp, ours - paper"]["mean shifted"] == pytest.approx([1.25])
    assert paper["CoOp, paper"]["mean shifted"] == pytest.approx([(64.2 + 48.0 + 75.2 + 49.7) / 4])
    assert "Table 13" in markdown(table)
    # of the same labelled images, the same student and the same classes only
    assert list(rows_of(tables([imagenet("CoOp", shots=4)])[0], "paper")) == ["zero-shot CLIP, paper"]
    assert set(rows_of(tables([imagenet("CoOp", every=True)])[0], "paper")["CoOp, paper"]) == set(SETS[:3])
    assert not rows_of(tables([result("CoOp", 1, {"test": 1.0}, 16)])[0], "paper")
    other = imagenet("CoOp")
    other["config"]["MODEL"]["BACKBONE"]["NAME"] = "RN50"
    assert not rows_of(tables([other])[0], "paper")
    vpt = imagenet("VPTDHO")
    vpt["config"]["TRAINER"] = {"VPT": {"PROMPT_DEPTH_VISION": 9}}
    assert rows_of(tables([vpt])[0], "paper")["VPTDHO, paper"]["test"] == [75.6]
    probe = with_config(imagenet("LinearProbe", shots=-1), LABELED_PERCENT=1.0)
    assert rows_of(tables([probe])[0], "paper")["LinearProbe, paper"]["ImageNetV2"] == [64.2]


def test_the_papers_averages_over_four_sets_are_those_it_prints():
    """Sec. D.2: average improvements of 0.9 and 0.3 points upon CoOp and PromptSRC."""
    mean = {name: sum(row.accuracy[1:]) / 4 for name, row in TABLE_13.items()}
    assert mean["CoOpDHO, labeled only"] - mean["CoOp"] == pytest.approx(0.9, abs=0.05)
    assert mean["PromptSRCDHO, labeled only"] - mean["PromptSRC"] == pytest.approx(0.3, abs=0.05)


def test_the_figures_are_those_of_table_13():
    """Copied a second time, by its rows: method, labelled images, and accuracy on the five sets."""
    rows = """
        LinearProbe | 1 % | 72.8 64.2 47.0 74.6 48.6
        LinearProbeDHO, labeled only | 1 % | 73.4 65.3 48.3 75.8 49.4
        LinearProbeDHO | 1 % | 74.6 66.4 49.2 76.1 49.8
        VPT-3 | 16 shots | 73.6 64.6 47.7 75.2 48.7
        VPT-3DHO, labeled only | 16 shots | 73.6 65.3 48.7 75.9 49.1
        VPT-3DHO | 16 shots | 75.1 66.8 50.0 76.9 50.5
        VPT-9DHO, labeled only | 16 shots | 74.0 65.9 48.9 75.8 46.5
        VPT-9DHO | 16 shots | 75.6 67.4 50.8 77.3 46.5
        CoOp | 16 shots | 71.5 64.2 48.0 75.2 49.7
        CoOpDHO, labeled only | 16 shots | 72.8 65.5 49.3 76.4 49.5
        CoOpDHO | 16 shots | 73.4 66.2 49.5 77.0 50.5
        PromptSRC | 16 shots | 71.3 64.4 49.6 77.8 50.9
        PromptSRCDHO, labeled only | 16 shots | 73.0 65.3 49.5 77.8 51.3
        PromptSRCDHO | 16 shots | 73.6 66.1 49.8 78.1 51.0"""
    read = [[part.strip() for part in row.split("|")] for row in rows.strip().splitlines()]
    assert {name: (how, tuple(map(float, figures.split()))) for name, how, figures in read} == TABLE_13


def test_calibration_errors_have_a_table_of_their_own(runs):
    (table,) = tables(runs, "ece")
    assert rows_of(table)["CoOpDHO"]["test"] == [6.8, 7.0] and not rows_of(table, "gain")
    assert "ECE (%, 15 bins)" in markdown(table)
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


def many(shots):
    sets = {"test": 70.0 + shots, "V2": 60.0, "ImageNetA": 50.0, "R": 40.0}
    plain = [result(name, seed, sets, shots) for name in ("CoOp", "PromptSRC") for seed in (1, 2)]
    dho = [
        result(f"{run['trainer']}DHO", run["seed"], sets, shots, pool=pool) for run in plain for pool in (0, 800)
    ]  # fmt: skip
    return plain + dho


def test_pictures_are_drawn_without_warnings(tmp_path):
    made = tables(many(1) + many(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw(made, tmp_path / "bars.png").read_bytes()[:4] == b"\x89PNG"
        assert has_shots(made) and not has_shots(made[:1])
        assert "</svg>" in draw_shots(made, tmp_path / "lines.svg").read_text()


def test_command_line_prints_saves_and_draws(runs, tmp_path, capsys):
    for run in runs:
        folder = tmp_path / run["trainer"] / f"seed{run['seed']}"
        folder.mkdir(parents=True)
        (folder / "evaluation.json").write_text(json.dumps(run))
    main([str(tmp_path), "--file", "evaluation.json", "--ece", "--save", str(tmp_path / "out" / "table")])
    assert "gain by CoOpDHO" in capsys.readouterr().out
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {f"table.{ending}" for ending in ("md", "csv", "tex", "png", "svg")}
    assert "gain by CoOpDHO" in (out / "table.md").read_text() and "ECE" in (out / "table.tex").read_text()
    assert (out / "table.png").read_bytes()[:4] == b"\x89PNG"


def test_nothing_finished_and_damage_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit, match="no results.json below .* no run there is finished"):
        main([str(tmp_path)])
    with pytest.raises(SystemExit, match="no evaluation.json below .*ood_eval"):
        main([str(tmp_path), "--file", "evaluation.json"])
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match="results.json is not valid JSON"):
        read_results([tmp_path])
