"""A finished run evaluated again from the command line, and the script over all runs of a method."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dho_prompt.evaluate import main, parser
from dho_prompt.train import main as train

REPOSITORY = Path(__file__).resolve().parents[2]


def fails(arguments):
    with pytest.raises(SystemExit) as caught:
        main(list(map(str, arguments)))
    return str(caught.value.code)


def read(path):
    return json.loads(path.read_text())


def test_a_run_is_tested_again_with_its_own_configuration(train_args, tmp_path, capsys):
    run = tmp_path / "run"
    train(train_args("CoOpDHO", "TRAINER.COOP.N_CTX", "3", "TRAINER.DHO.ALPHA", "0.3"))
    before = {path.name: path.read_bytes() for path in run.glob("*.json")}
    sets = tmp_path / "sets.yaml"
    sets.write_text("DATASET: {NAME: Other}\nTEST: {SHIFTED_SETS: ['ImageNet']}\n")
    arguments = [run, "--dataset-config-file", sets]
    main(list(map(str, arguments)))
    trained, evaluated = read(run / "results.json"), read(run / "evaluation.json")
    assert {path.name: path.read_bytes() for path in run.glob("*.json") if path.name in before} == before
    assert evaluated["accuracy"]["test"] == trained["accuracy"]["test"] == evaluated["accuracy"]["ImageNet"]
    assert evaluated["mix"] == trained["mix"] and evaluated["split"] == trained["split"]
    assert evaluated["evaluated"]["run"] == str(run) and (run / "evaluation.log").exists()

    capsys.readouterr()
    main(list(map(str, arguments)))
    assert "nothing to do" in capsys.readouterr().out
    main([str(run), "TRAINER.DHO.ALPHA", "1.0", "--file", "alone.json"])  # overrides and flags in any order
    alone = read(run / "alone.json")
    assert alone["mix"]["alpha"] == 1 and alone["accuracy"]["test"]["blend"] == trained["accuracy"]["test"]["ce"]
    assert read(run / "evaluation.json") == evaluated
    main([*map(str, arguments), "TRAINER.DHO.ALPHA", "1.0"])  # another evaluation under the same name replaces it
    assert read(run / "evaluation.json")["mix"]["alpha"] == 1


def test_the_searched_mix_is_used_unless_the_search_is_switched_off(train_args, tmp_path):
    """The kept file stands for a search; nothing is chosen anew when a run is evaluated."""
    run = tmp_path / "run"
    train(train_args("CoOpDHO", "TRAINER.DHO.SEARCH", "True", "OPTIM.MAX_EPOCH", "1"))
    kept = {"alpha": 0.9, "beta": 0.2, "chosen": "searched on 10 validation images: 50.00%"}
    (run / "mix.json").write_text(json.dumps(kept))
    main([str(run)])
    assert read(run / "evaluation.json")["mix"] == kept
    main([str(run), "TRAINER.DHO.SEARCH", "False"])
    mix = read(run / "evaluation.json")["mix"]
    assert (mix["alpha"], mix["beta"], mix["chosen"]) == (0.5, 1.0, "fixed by the configuration")


def test_what_is_no_finished_run_is_refused(train_args, tmp_path):
    assert "is no finished run" in fails([tmp_path])
    train(train_args("CoOp", "OPTIM.MAX_EPOCH", "1"))
    run = tmp_path / "run"
    for name in ("results.json", "config.json", "mix.json", "split.json", "../other.json", "a.txt"):
        assert "takes the name of a new .json file" in fails([run, "--file", name])
    assert "unknown configuration key" in fails([run, "TEST.ALL_CLASES", "True"])
    config, results = read(run / "config.json"), (run / "results.json").read_text()
    config["TRAINER"]["COCOOP"] = {"N_CTX": 4}
    (run / "config.json").write_text(json.dumps(config))
    message = fails([run])
    assert "config.json is damaged or was edited" in message and "under 'config'" in message
    assert "If the edit was meant, remove that entry" in message
    (run / "config.json").write_text(json.dumps({name: value for name, value in config.items() if name != "sha256"}))
    assert "TRAINER.COCOOP.N_CTX" in fails([run])
    for content in ("[1]", "null", "{}"):
        (run / "config.json").write_text(content)
        assert "config.json is not of the form" in fails([run])
        (run / "results.json").write_text(content)
        assert "results.json is not of the form" in fails([run])
        (run / "results.json").write_text(results)
    (run / "results.json").unlink()
    assert "has no results.json" in fails([run])
    assert parser().parse_intermixed_args(["run"]).opts == []


def script(name, tmp_path, *arguments, **variables):
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    environment.update(DATA=str(tmp_path / "data"), OUTPUT=str(tmp_path / "output"), **variables)
    command = ["bash", str(REPOSITORY / "scripts" / name), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def rows(text, name):
    """The cells of the rows of that name in Markdown tables, whatever the columns' width."""
    found = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return [cells for cells in found if cells[0] == name]


def test_script_evaluates_what_is_there_and_says_how_the_rest_is_made(tmp_path):
    quick = ("OPTIM.MAX_EPOCH", "1", "VERBOSE", "False")
    trained = script("coop_dho.sh", tmp_path, "digits", "1", *quick, SEEDS="0", METHODS="CoOpDHO")
    assert trained.returncode == 0, trained.stderr
    done = script("ood_eval.sh", tmp_path, "coop_dho", "digits", "1", SEEDS="0", METHODS="CoOp CoOpDHO")
    assert done.returncode == 1 and "CoOp/digits_1shots/seed0" in done.stderr
    assert 'METHODS="CoOp CoOpDHO" SEEDS="0" bash scripts/coop_dho.sh digits 1' in done.stderr
    folder = tmp_path / "output" / "digits"
    run = folder / "CoOpDHO" / "digits_1shots" / "seed0"
    evaluated, first = read(run / "evaluation.json"), read(run / "results.json")
    for key in ("accuracy", "ece", "classes"):
        assert evaluated[key] == first[key] and len(evaluated[key]) == 5
    table = (folder / "coop_dho_digits_1shots_evaluation.md").read_text()
    (row,) = rows(table.split("**")[2], "CoOpDHO")
    assert row in rows(trained.stdout, "CoOpDHO") and len(row) == 7 and "ECE (%, 15 bins" in table

    wrong = script("ood_eval.sh", tmp_path, "coop", "digits", "1")
    assert wrong.returncode == 2 and "METHOD is one of: " in wrong.stderr and " coop_dho finetune_dho " in wrong.stderr


def test_a_run_folder_does_not_choose_what_is_imported(train_args, tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    (tmp_path / "strange_sets.py").write_text(
        f"open({str(marker)!r}, 'a').close()\n"
        "from dho_prompt.data.datasets import ImageNet\n\n\nclass Set(ImageNet):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    run = tmp_path / "run"
    train(train_args("CoOp", "OPTIM.MAX_EPOCH", "1"))
    config = read(run / "config.json")
    for key, value in (("NAME", "strange_sets:Set"), ("SHIFTED", ["strange_sets:Set"])):
        changed = json.loads(json.dumps(config))
        changed.pop("sha256")
        if key == "NAME":
            changed["DATASET"]["NAME"] = value
        else:
            changed["TEST"]["SHIFTED_SETS"] = value
        (run / "config.json").write_text(json.dumps(changed))
        message = fails([run])
        assert "strange_sets:Set" in message and "--import-classes" in message and not marker.exists()
    main([str(run), "TEST.SHIFTED_SETS", "('strange_sets:Set',)"])
    assert marker.exists() and set(read(run / "evaluation.json")["accuracy"]) == {"test", "strange_sets:Set"}
    marker.unlink()
    sys.modules.pop("strange_sets")
    from dho_prompt.engine import DATASET_REGISTRY

    entries = getattr(DATASET_REGISTRY, "_entries", None) or DATASET_REGISTRY._obj_map
    entries.pop("strange_sets:Set")
    main([str(run), "--import-classes", "--file", "other.json"])
    assert marker.exists() and set(read(run / "other.json")["accuracy"]) == {"test", "strange_sets:Set"}
