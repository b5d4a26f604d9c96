"""Four ways to install, each used from a folder that has its own ``trainers``, ``datasets`` and ``clip``."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
USE = """
import trainers, datasets, clip
assert trainers.OWNER == datasets.OWNER == clip.OWNER == "host"
import dho_prompt
assert "open_clip" not in __import__("sys").modules
from dho_prompt.train import find_config
from dho_prompt.trainers.coop_dho import CoOpDHO
from dho_prompt.engine import TRAINER_REGISTRY
assert TRAINER_REGISTRY.get("CoOpDHO") is CoOpDHO and CoOpDHO.__module__ == "dho_prompt.trainers.coop_dho"
assert "CoOp" not in TRAINER_REGISTRY.registered_names()
import dho_prompt.trainers.coop_dho
from pathlib import Path
for config in ("datasets/digits.yaml", "trainers/CoOpDHO/digits.yaml"):
    assert Path(find_config(config)).is_file()
models = Path(dho_prompt.__file__).parent / "models"
assert (models / "digits-student" / "open_clip_model.safetensors").is_file()
print("used", Path(dho_prompt.__file__).parent)
"""


@pytest.fixture
def host(tmp_path):
    folder = tmp_path / "host"
    for name in ("trainers", "datasets", "clip"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text('OWNER = "host"\n')
    return folder


def used_from(host, python_path):
    environment = {**os.environ, "PYTHONPATH": str(python_path)}
    environment.pop("PYTHONSAFEPATH", None)
    command = [sys.executable, "-c", USE]
    done = subprocess.run(command, cwd=host, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(arguments, source, target):
    command = [sys.executable, "setup.py", "-q", *arguments, str(target)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the checkout, so that building leaves nothing in it."""
    import shutil

    folder = tmp_path_factory.mktemp("source") / "checkout"
    ignored = shutil.ignore_patterns(".git", "*.egg-info", "build", "dist", "data", "output", "__pycache__", ".*_cache")
    # data is also the name of one of our packages, so only the top-level folder is left out
    shutil.copytree(REPOSITORY, folder, ignore=lambda path, names: ignored(path, names) - (
        set() if Path(path) == REPOSITORY else {"data", "output"}))  # fmt: skip
    return folder


def unpack_wheel(folder, target):
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def test_plain_checkout(host, source):
    assert str(source) in used_from(host, source)


def test_wheel_installs_dho_prompt_alone(host, source, tmp_path):
    pytest.importorskip("setuptools")
    build(["bdist_wheel", "--dist-dir"], source, tmp_path / "dist")
    site = unpack_wheel(tmp_path / "dist", tmp_path / "site")
    assert {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")} == {"dho_prompt"}
    assert str(site) in used_from(host, site)


def test_wheel_built_from_the_source_distribution(host, source, tmp_path):
    pytest.importorskip("setuptools")
    build(["sdist", "--dist-dir"], source, tmp_path / "sdist")
    import tarfile

    (archive,) = (tmp_path / "sdist").glob("*.tar.gz")
    safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 and later
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "unpacked", **safely)
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    build(["bdist_wheel", "--dist-dir"], unpacked, tmp_path / "dist")
    assert str(tmp_path / "site") in used_from(host, unpack_wheel(tmp_path / "dist", tmp_path / "site"))


def test_editable_install(host, source, tmp_path):
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    # the packages that this test runs with, found from the new environment
    (path,) = (environment / "lib").glob("python*/site-packages")
    (path / "outer.pth").write_text("\n".join(entry for entry in sys.path if entry.endswith("site-packages")) + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    install = [*pip, "install", "-q", "--no-deps", "--no-build-isolation", "-e", str(source)]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([str(python), "-c", USE], cwd=host, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(source) in done.stdout
