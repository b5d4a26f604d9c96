"""Every shipped configuration merges, and the script runs, resumes, skips and ends with a table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dho_prompt.config import check_choice, extend_cfg, merge_file
from dho_prompt.data.datasets import DATASET_REGISTRY
from dho_prompt.engine import get_cfg_default
from dho_prompt.train import find_config, register, setup_cfg
from dho_prompt.train import parser as train_parser

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = sorted((REPOSITORY / "configs").rglob("*.yaml"))
SCRIPT = REPOSITORY / "scripts" / "coop_dho.sh"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(REPOSITORY / "configs")))
def test_configuration_merges_and_names_what_exists(path):
    register()
    cfg = extend_cfg(get_cfg_default())
    merge_file(cfg, str(path))
    if path.parent.name == "datasets":
        for name in (cfg.DATASET.NAME, *cfg.TEST.SHIFTED_SETS):
            assert name in DATASET_REGISTRY.registered_names()
    else:
        check_choice("PREC", cfg.TRAINER.COOP.PREC, ("fp32", "fp16", "amp", "bf16"))
        assert cfg.MODEL.BACKBONE.NAME and cfg.OPTIM.MAX_EPOCH > 0
        assert "Command:" in path.read_text() and "Expected" in path.read_text()


def test_merge_order_is_coops(tmp_path):
    dataset, trainer = tmp_path / "dataset.yaml", tmp_path / "trainer.yaml"
    dataset.write_text("DATASET: {NAME: A, NUM_SHOTS: 1}\nOPTIM: {MAX_EPOCH: 1}\nSEED: 3\n")
    trainer.write_text("OPTIM: {MAX_EPOCH: 2, LR: 0.5}\nMODEL: {BACKBONE: {NAME: RN50}}\n")
    flags = ["--dataset-config-file", str(dataset), "--config-file", str(trainer), "--backbone", "RN101", "--seed", "0"]
    cfg = setup_cfg(train_parser().parse_args([*flags, "OPTIM.MAX_EPOCH", "3"]))
    assert (cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.LR, cfg.MODEL.BACKBONE.NAME, cfg.SEED) == (3, 0.5, "RN101", 0)
    assert cfg.DATASET.NUM_SHOTS == 1 and cfg.is_frozen()


def test_configurations_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("trainers/CoOpDHO/vit_b16_ep50.yaml", "configs/datasets/imagenet.yaml"):
        assert Path(find_config(name)).is_file()
    assert find_config("absent.yaml") == "absent.yaml"


def run_script(tmp_path, *arguments, **variables):
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    environment.update(DATA=str(tmp_path / "data"), OUTPUT=str(tmp_path / "output"), **variables)
    return subprocess.run(["bash", str(SCRIPT), *arguments], env=environment, capture_output=True, text=True)


def test_script_runs_skips_and_ends_with_a_table(tmp_path):
    arguments = ("digits", "1", "OPTIM.MAX_EPOCH", "1", "VERBOSE", "False")
    first = run_script(tmp_path, *arguments, SEEDS="0 4")
    assert first.returncode == 0, first.stderr
    for text in ("**Digits, 1 shot**", "CoOpDHO (KD head)", "gain by CoOpDHO", "DigitsA", "2 seeds", "seeds 0 4"):
        assert text in first.stdout
    folder = tmp_path / "output" / "digits"
    (config,) = (path.name for path in (folder / "CoOpDHO").iterdir())
    assert config.endswith("_1shots")
    assert (folder / f"coop_dho_{config}.md").exists() and (folder / f"coop_dho_{config}.png").exists()

    (folder / "CoOp" / config / "seed4" / "results.json").unlink()  # as if it had been killed before its end
    again = run_script(tmp_path, *arguments, SEEDS="0 4")
    assert "5 of 6 runs are finished, 1 interrupted, to go on" in again.stderr
    logs = (folder / "CoOp" / config / "seed4").glob("log.txt*")
    assert "will resume training" in "".join(path.read_text() for path in logs)
    assert again.stdout.split("**Digits")[1] == first.stdout.split("**Digits")[1]

    other = run_script(tmp_path, *arguments, "TRAINER.DHO.ALPHA", "0.1", SEEDS="0", METHODS="CoOpDHO")
    assert other.returncode == 1 and "TRAINER.DHO.ALPHA: 0.5 -> 0.1" in other.stderr and "TAG=name" in other.stderr


def test_script_explains_itself(tmp_path):
    done = run_script(tmp_path)
    assert done.returncode == 2 and "DATASET SHOTS" in done.stderr and "SEEDS=" in done.stderr
    done = run_script(tmp_path, "digitz", "4")
    assert done.returncode == 1 and "no configuration file configs/datasets/digitz.yaml" in done.stderr
