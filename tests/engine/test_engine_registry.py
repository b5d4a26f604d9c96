"""Registries, the choice of the engine, seeds and the log file."""

import os
import random
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from dho_prompt import engine
from dho_prompt.engine import choose
from dho_prompt.engine.embedded.registry import Registry
from dho_prompt.engine.rng import untouched_rng


def test_register_get_and_list():
    registry = Registry("THING")

    @registry.register()
    class First:
        pass

    class Second:
        pass

    registry.register(Second)
    assert registry.get("First") is First
    assert registry.registered_names() == ["First", "Second"]
    with pytest.raises(KeyError, match="'First' is already registered"):
        registry.register(First)
    with pytest.raises(KeyError, match="Did you mean 'Second'.*Allowed: First, Second"):
        registry.get("Secont")


def test_registering_twice_fails_on_the_engine_too():
    class TinyImages:
        pass

    with pytest.raises(KeyError):
        engine.DATASET_REGISTRY.register(TinyImages)


def test_register_if_absent_keeps_what_is_there():
    class TinyImages:
        pass

    theirs = engine.DATASET_REGISTRY.get("TinyImages")
    assert engine.register_if_absent(engine.DATASET_REGISTRY, TinyImages) is theirs
    assert engine.DATASET_REGISTRY.get("TinyImages") is theirs
    name = "TinyImagesUnderAnotherName"
    assert engine.register_if_absent(engine.DATASET_REGISTRY, TinyImages, name) is TinyImages
    assert engine.DATASET_REGISTRY.get(name) is TinyImages


@pytest.mark.parametrize(
    "build, key",
    [
        (engine.build_dataset, "DATASET__NAME"),
        (engine.build_trainer, "TRAINER__NAME"),
        (engine.build_evaluator, "TEST__EVALUATOR"),
    ],
)
def test_unknown_names_in_the_config(make_cfg, build, key):
    with pytest.raises(ValueError, match="Klassification"):
        build(make_cfg(**{key: "Klassification"}))


def test_default_config_merges_a_dassl_recipe_and_refuses_unknown_keys():
    cfg = engine.get_cfg_default()
    cfg.merge_from_list(["TRAINER.FIXMATCH.WEIGHT_U", 2.0, "DATALOADER.TRAIN_U.SAME_AS_X", False])
    assert cfg.TRAINER.FIXMATCH.WEIGHT_U == 2.0
    assert engine.get_cfg_default().TRAINER.FIXMATCH.WEIGHT_U == 1.0
    with pytest.raises(AssertionError):
        cfg.merge_from_list(["TRAIN.COUNT_ITERS", "train_x"])
    assert cfg.OPTIM.LR == 0.0003
    assert cfg.INPUT.RRCROP_SCALE == (0.08, 1.0)


def draws():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_seed_zero_counts():
    engine.set_random_seed(0)
    first = draws()
    later = draws()
    engine.set_random_seed(0)
    assert draws() == first
    engine.set_random_seed(1)
    assert draws() != first
    assert all(a != b for a, b in zip(first, later))
    with pytest.raises(ValueError, match="-1"):
        engine.set_random_seed(-1)


def test_draws_that_leave_no_trace():
    engine.set_random_seed(3)
    expected = draws()
    engine.set_random_seed(3)
    with pytest.raises(KeyError), untouched_rng():
        draws()
        raise KeyError
    assert draws() == expected


def run_python(code, **environment):
    """Run code in a process of its own that finds this checkout; a variable given as None is taken out."""
    root = str(Path(engine.__file__).parents[2])
    path = os.pathsep.join([*environment.pop("path", []), root, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    environment = {key: value for key, value in environment.items() if value is not None}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


def test_log_file_copies_stdout_and_the_second_run_gets_its_own(tmp_path):
    # a process of its own: the logger replaces sys.stdout, which belongs to pytest here
    code = f"""
import sys
from dho_prompt.engine.logger import setup_logger
plain = sys.stdout
setup_logger({str(tmp_path)!r})
print("first run, \\u00e9t\\u00e9")
setup_logger({str(tmp_path)!r})
print("second run")
"""
    done = run_python(code, PYTHONIOENCODING="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "first run, \u00e9t\u00e9\nsecond run\n"
    assert done.stderr == ""
    first, second = sorted(os.listdir(tmp_path))
    assert (first, second[:8]) == ("log.txt", "log.txt-")
    assert (tmp_path / first).read_text(encoding="utf-8") == "first run, \u00e9t\u00e9\n"
    assert (tmp_path / second).read_text(encoding="utf-8") == "second run\n"


def test_environment_is_described_in_a_few_lines():
    lines = engine.collect_env_info().splitlines()
    assert f"torch {torch.__version__}" in lines
    assert len(lines) < 20
    assert engine.ENGINE in ("dassl", "embedded")


def test_choice_of_the_engine(monkeypatch):
    monkeypatch.setenv(choose.VARIABLE, "embedded")
    assert choose.choose_engine() == "embedded"
    monkeypatch.setenv(choose.VARIABLE, "Dasl")
    with pytest.raises(ValueError, match="'Dasl'; allowed: dassl, embedded"):
        choose.choose_engine()
    monkeypatch.delenv(choose.VARIABLE)
    monkeypatch.setitem(sys.modules, "dassl", types.ModuleType("dassl"))
    assert choose.choose_engine() == "dassl"


def test_a_broken_dassl_is_not_silently_replaced(tmp_path):
    package = tmp_path / "dassl"
    package.mkdir()
    (package / "__init__.py").write_text("import a_package_that_is_missing\n")
    done = run_python("import dho_prompt.engine", path=[str(tmp_path)], **{choose.VARIABLE: None})
    assert done.returncode != 0
    assert "No module named 'a_package_that_is_missing'" in done.stderr
    assert "0.6.3" in done.stderr.splitlines()[-1]


def test_importing_the_package_needs_torch_alone():
    code = """
import sys
for name in ("yacs", "torchvision", "tqdm", "tabulate", "sklearn", "PIL", "tensorboard"):
    sys.modules[name] = None
import dho_prompt
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
