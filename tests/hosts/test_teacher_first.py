"""A teacher that is missing is reported before the student is built; an evaluation does without one."""

import sys

import pytest

import dho_prompt.data.datasets  # noqa: F401  registers the data sets
from dho_prompt import engine
from dho_prompt.hosts.with_dho import with_dho
from dho_prompt.train import parser, setup_cfg
from dho_prompt.training.evaluating import evaluates_only, evaluating
from stand_in_hosts import EngineStep

NO_FETCHING = "open_clip:ViT-B-32:laion2b_s34b_b79k"


class StudentBuilt(Exception):
    pass


class Building(EngineStep):
    def build_model(self):
        raise StudentBuilt


class ReadingData(Building):
    def build_data_loader(self):
        raise StudentBuilt


@pytest.fixture
def build(train_args, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("dho_prompt.clip.weights._hub_cache", lambda spec: None)
    monkeypatch.setattr(sys, "argv", ["train.py"])

    def make(host, *opts):
        plugged = host.__name__ in engine.TRAINER_REGISTRY.registered_names()
        cls = engine.TRAINER_REGISTRY.get(host.__name__) if plugged else with_dho(host, name=host.__name__)
        return cls(setup_cfg(parser().parse_args(train_args("any", *opts))))

    return make


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("NAME", "ViT-L/41", r"'ViT-L/41'; nearest are: .*ViT-L/14.*TRAINER\.DHO\.TEACHER\.NAME"),
        ("NAME", "", r"TRAINER\.DHO\.TEACHER\.NAME is ''; it takes a line of text"),
        ("WEIGHTS", "/no/such.pt", r"/no/such\.pt .*does not exist.*TRAINER\.DHO\.TEACHER\.WEIGHTS"),
        ("CHECKPOINT", "/no/prompts", r"no checkpoint /no/prompts \(TRAINER\.DHO\.TEACHER\.CHECKPOINT\)"),
    ],
)
def test_a_teacher_that_is_not_there_comes_first(build, key, value, message):
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        build(ReadingData, f"TRAINER.DHO.TEACHER.{key}", value)


@pytest.mark.parametrize("key", ["NAME", "ALSO"])
def test_weights_that_cannot_be_fetched_come_before_the_student(build, key):
    value = NO_FETCHING if key == "NAME" else f"('{NO_FETCHING}',)"
    with pytest.raises(StudentBuilt):
        build(ReadingData, f"TRAINER.DHO.TEACHER.{key}", value)  # but not before the data
    with pytest.raises(FileNotFoundError, match=r"could not be fetched \(HF_HUB_OFFLINE is set\)"):
        build(Building, f"TRAINER.DHO.TEACHER.{key}", value)


@pytest.mark.parametrize("way", ["--eval-only", "--eval", "evaluating", "LAMBDA"])
def test_what_needs_no_teacher_does_without(build, monkeypatch, way):
    monkeypatch.setattr(sys, "argv", ["train.py", "--trainer", "CoOpDHO", *([way] if way.startswith("--") else [])])
    more = ("TRAINER.DHO.LAMBDA", "1") if way == "LAMBDA" else ()
    with evaluating(True if way == "evaluating" else None), pytest.raises(StudentBuilt):
        build(Building, "TRAINER.DHO.TEACHER.NAME", NO_FETCHING, *more)


def test_a_command_line_is_that_of_an_evaluation_or_not(monkeypatch):
    for words, wanted in ((["--eval-only"], True), (["--ev"], True), (["--evaluate", "-e"], False), ([], False)):
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        assert evaluates_only() is wanted
        with evaluating(not wanted):
            assert evaluates_only() is not wanted
