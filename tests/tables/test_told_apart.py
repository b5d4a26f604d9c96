"""Rows told apart by settings: names, gains over the host of the same settings, pictures, what must not be averaged."""

import json

import pytest

from dho_prompt.report import main
from dho_prompt.tables.curves import figure_over_shots
from dho_prompt.tables.figure import figure_of
from dho_prompt.tables.look import looks
from dho_prompt.tables.over_shots import over_shots
from dho_prompt.tables.render import latex, markdown
from dho_prompt.tables.settings import told_apart
from dho_prompt.tables.table import tables
from made_results import SETS, result
from picture_faults import faults

KEYS = ("TRAINER.FINETUNE.HEAD", "TRAINER.DHO.LAMBDA")
BRACKETS = "In brackets: TRAINER.FINETUNE.HEAD, TRAINER.DHO.LAMBDA."


def run(trainer, seed, head, weight=None, accuracy=60.0, **more):
    """A result with settings; a plain method does not use ``weight``, whatever its configuration says."""
    made = result(trainer, seed, {name: value + accuracy - 60 + seed / 10 for name, value in SETS.items()}, **more)
    settings = {"FINETUNE": {"HEAD": head, "MODULES": []}, "DHO": {"LAMBDA": 0.5 if weight is None else weight}}
    return {**made, "config": {**made["config"], "TRAINER": settings}}


@pytest.fixture
def runs():
    """Two heads, on each the plain method and two lambdas; three seeds."""
    made = []
    for seed in (1, 2, 3):
        for head, own in (("linear", 50.0), ("cosine", 55.0)):
            made.append(run("Finetune", seed, head, None, own))
            made += [run("FinetuneDHO", seed, head, weight, own + add) for weight, add in ((0.25, 4.0), (0.7, 2.0))]
    return made


def gains_of(table):
    return {row.name: row.values["test"] for row in table.rows if row.kind == "gain"}


def test_runs_of_other_settings_have_rows_of_their_own(runs):
    with pytest.raises(
        ValueError, match=r"seed 1 has several results.*\. A row for each .* --by TRAINER\.FINETUNE\.HEAD$"
    ):
        tables(runs)
    again = [run("FinetuneDHO", 1, "linear", 0.5), run("FinetuneDHO", 1, "linear", 0.5)]
    again[1]["config"]["OUTPUT_DIR"] = "elsewhere"
    with pytest.raises(ValueError, match=r"seed 1 has several results; name folders .*\(one TAG, one config\)$"):
        tables(again)
    again = [run("FinetuneDHO", 1, "linear", 0.5), run("FinetuneDHO", 2, "cosine", 0.7)]
    with pytest.raises(ValueError, match=r"not averaged: .* --by TRAINER\.DHO\.LAMBDA TRAINER\.FINETUNE\.HEAD$"):
        tables(again)
    again = [run("Finetune", 1, "linear"), run("Finetune", 1, "linear", 0.7)]  # another row would be of nothing
    with pytest.raises(ValueError, match=r"seed 1 has several results; .*\(one TAG, one config\)$"):
        tables(told_apart(again, KEYS))
    (table,) = tables(told_apart(runs, KEYS))
    assert [row.name for row in table.rows if row.kind == "run" and "head" not in row.name] == [
        "Finetune [linear, -]", "Finetune [cosine, -]", "FinetuneDHO [linear, 0.25]", "FinetuneDHO [linear, 0.7]",
        "FinetuneDHO [cosine, 0.25]", "FinetuneDHO [cosine, 0.7]",
    ]  # fmt: skip
    assert gains_of(table) == {
        "gain by FinetuneDHO [linear, 0.25]": pytest.approx([4.0] * 3),
        "gain by FinetuneDHO [linear, 0.7]": pytest.approx([2.0] * 3),
        "gain by FinetuneDHO [cosine, 0.25]": pytest.approx([4.0] * 3),
        "gain by FinetuneDHO [cosine, 0.7]": pytest.approx([2.0] * 3),
    }
    assert BRACKETS in markdown(table) and f"% {BRACKETS}" in latex(table)
    (table,) = tables([made for made in runs if made["config"]["TRAINER"].get("DHO") == {"LAMBDA": 0.7}][::2])
    assert "[" not in table.rows[0].name and "brackets" not in markdown(table) + latex(table)


def test_one_plain_method_serves_all_settings_that_it_does_not_have(runs):
    linear = [made for made in runs if made["config"]["TRAINER"]["FINETUNE"]["HEAD"] == "linear"]
    (table,) = tables(told_apart(linear, KEYS[1:]))
    assert list(gains_of(table)) == ["gain by FinetuneDHO [0.25]", "gain by FinetuneDHO [0.7]"]
    cosine = [made for made in runs if "mix" in made and made not in linear]
    (table,) = tables(told_apart([made for made in linear if "mix" not in made] + cosine, KEYS))
    assert not gains_of(table)  # the plain runs have another head
    made = [made for made in runs if "mix" not in made] + [run("FinetuneDHO", 1, "linear", 0.7)]
    del made[-1]["config"]["TRAINER"]["FINETUNE"]
    (table,) = tables(told_apart(made, KEYS))
    assert table.rows[2].name == "FinetuneDHO [-, 0.7]" and not gains_of(table)  # over which of the two?


def test_alone_and_rivals_keep_their_place_and_pictures_tell_all_rows_apart(runs):
    others = [run("FinetuneDHO", seed, "linear", weight, 52.0, pool=0) for seed in (1, 2, 3) for weight in (0.25, 0.7)]
    rivals = [
        run("FinetuneDHO", seed, "linear", weight, 51.0, objective="sskd") for seed in (1, 2, 3) for weight in (0.25,)
    ]
    (table,) = tables(told_apart(others + rivals + runs, KEYS))
    names = [row.name for row in table.rows if row.kind == "run" and "head" not in row.name]
    assert names == [
        "Finetune [linear, -]", "Finetune [cosine, -]", "Finetune, SSKD [linear, 0.25]",
        "FinetuneDHO, labeled only [linear, 0.25]", "FinetuneDHO, labeled only [linear, 0.7]",
        "FinetuneDHO [linear, 0.25]", "FinetuneDHO [linear, 0.7]",
        "FinetuneDHO [cosine, 0.25]", "FinetuneDHO [cosine, 0.7]",
    ]  # fmt: skip
    assert len(gains_of(table)) == 7
    found = looks([table])
    assert list(found) == names
    assert all(found[name].face == "white" for name in names[:2]) and found[names[0]] != found[names[1]]
    assert len({found[name] for name in names[3:]}) == len(names[3:])
    figure = figure_of([table])
    assert faults(figure) == []
    assert figure.legends[0].get_title().get_text().replace("\n", " ").endswith(BRACKETS)


def test_over_shots(runs):
    more = [run("FinetuneDHO", seed, "linear", weight, 70.0, shots=16) for seed in (1, 2, 3) for weight in (0.25, 0.7)]
    made = tables(told_apart(runs + more, KEYS))
    table = over_shots(made)[0]
    assert table.columns == ["4 shots", "16 shots"] and BRACKETS in markdown(table)
    figure = figure_over_shots(made)
    assert faults(figure, dots_apart=False) == []
    assert figure.legends[0].get_title().get_text().replace("\n", " ").endswith(BRACKETS)
    one = tables(told_apart([made for made in runs + more if made["seed"] == 1], KEYS))
    assert figure_over_shots(one).legends[0].get_title().get_text().endswith(BRACKETS)


def test_the_papers_figures_stand_beside_rows_with_settings():
    made = [run("CoOpDHO", 1, "x", weight, shots=16, dataset="ImageNet", backbone="ViT-B/16") for weight in (0.5, 0.7)]
    made = [{**found, "teacher": {"name": "ViT-L/14@336px"}, "epochs": 50} for found in made]
    (table,) = tables(told_apart(made, KEYS[1:]))
    assert [row.name for row in table.rows if row.kind == "difference"] == ["CoOpDHO [0.5], ours - paper"]
    assert "lambda 0.7 (paper 0.5)" in markdown(table)


def test_values_in_words():
    made = run("FinetuneDHO", 1, "linear", 1 / 3)
    made["config"]["TRAINER"]["FINETUNE"]["MODULES"] = ["layer3", "layer4"]
    made["config"]["NOTE"] = ""
    keys = ["TRAINER.DHO.LAMBDA", "TRAINER.FINETUNE.MODULES", "NOTE"]
    assert tables(told_apart([made], keys))[0].rows[0].name == "FinetuneDHO [0.333333, layer3 layer4, -]"


def test_the_command(tmp_path, capsys, runs):
    """Rows stand in the order of the folders."""
    for number, made in enumerate(runs):
        folder = tmp_path / ("b" if made["config"]["TRAINER"]["FINETUNE"]["HEAD"] == "linear" else "a") / str(number)
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(made))
    folders = [str(tmp_path / "b"), str(tmp_path / "a")]
    main([*folders, "--by", *KEYS, "--save", str(tmp_path / "table")])
    said = capsys.readouterr().out
    assert BRACKETS in said and BRACKETS in (tmp_path / "table.md").read_text()
    assert said.index("| FinetuneDHO [linear, 0.25]") < said.index("| FinetuneDHO [cosine, 0.25]")
    main([*folders[::-1], "--by", *KEYS])
    said = capsys.readouterr().out
    assert said.index("| FinetuneDHO [cosine, 0.25]") < said.index("| FinetuneDHO [linear, 0.25]")
    with pytest.raises(SystemExit, match=r"TRAINER\.DHO\.LAMDA: no run has .*near it is TRAINER\.DHO\.LAMBDA"):
        main([*folders, "--by", "TRAINER.DHO.LAMDA"])
    with pytest.raises(SystemExit, match=r"--by TRAINER\.DHO\.LAMBDA is given twice"):
        main([*folders, "--by", "TRAINER.DHO.LAMBDA", "TRAINER.DHO.LAMBDA"])
