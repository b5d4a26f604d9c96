"""scripts/benchmark.py: both ways give the same, and what is written can be drawn again."""

import json
import sys
from pathlib import Path

import pytest
import torch

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    """Run the script in this process: ``benchmark(words...)`` -> the records."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    import benchmark as script

    def run(*words):
        output = tmp_path / "out"
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *words, "--small", "--repeats", "1", "--output", str(output)])
        script.main()
        assert output.with_suffix(".png").stat().st_size > 10_000
        return json.loads(output.with_suffix(".json").read_text())["measured"]

    yield run
    for name in [name for name in sys.modules if name.split(".")[0] in ("benchmark", "benchmarks")]:
        del sys.modules[name]


def test_both_ways_give_the_same(benchmark, capsys):
    records = benchmark("--classes", "7", "--batch", "3", "--n-ctx", "5")
    assert [record["name"].split(", 7")[0].split(", b")[0] for record in records] == [
        "text tower",
        "image tower with prompts",
        "CoOp step",
        "CoOp step, stored image features",
        "PromptSRC step",
        "CoOp evaluation",
    ]
    for record in records:
        assert record["setting"].get("classes", 7) == 7 and record["setting"].get("batch", 3) == 3
        assert record["ratio"] == record["published"][0] / record["ours"][0] > 0
        assert all(0 <= value < 2e-5 for value in record["difference"].values()), record
    gradients = [name for name in records[4]["difference"] if "gradient of" in name]
    assert len(gradients) == 6  # three depths in two towers
    assert capsys.readouterr().out.count("largest relative difference") == 6


def test_classes_in_parts_are_the_whole(benchmark, monkeypatch):
    import benchmarks.published

    monkeypatch.setattr(benchmarks.published, "PART", 3)
    for record in benchmark("text", "coop", "promptsrc", "--classes", "8", "--batch", "2"):
        assert all(value < 2e-5 for value in record["difference"].values()), record


def test_a_stored_teacher_is_the_teacher(benchmark):
    records = benchmark("dho", "--classes", "5", "--batch", "2")
    assert [record["name"].split(" ")[0] for record in records] == [
        "LinearProbe",
        "CoOp",
        "VPT",
        "PromptSRC",
        "PromptSRC",
    ]
    for record in records:
        assert record["setting"]["teacher"] == "ViT-L-14-336" and record["goal"] is None
        assert record["difference"]["loss"] < 1e-3  # float16
        assert 0 < record["difference"]["gradient"] < 1e-2


def test_records_of_other_comparisons_stay_and_curves_are_replaced(benchmark):
    benchmark("image", "--batch", "2")
    benchmark("growth")
    records = benchmark("growth")
    assert records[0]["name"].startswith("image tower") and "curve" not in records[0]
    points = [(record["curve"], record["at"]) for record in records[1:]]
    assert len(points) == len(set(points)) == 10
