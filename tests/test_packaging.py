"""Four ways to install, each used from a folder that has its own ``trainers``, ``datasets`` and ``clip``; metadata."""

import email
import os
import re
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


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    """Folder with the wheel."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("built")
    build(["bdist_wheel", "--dist-dir"], source, folder)
    return folder


def test_wheel_installs_dho_prompt_alone(host, built, tmp_path):
    site = unpack_wheel(built, tmp_path / "site")
    assert {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")} == {"dho_prompt"}
    assert str(site) in used_from(host, site)


def test_the_wheel_holds_all_files_of_the_package_and_no_others(built):
    (wheel,) = built.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = set()
    for top, below in (("dho_prompt", ""), ("trainers", "dho_prompt/"), ("configs", "dho_prompt/")):
        files = [path for path in (REPOSITORY / top).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        wanted |= {below + path.relative_to(REPOSITORY).as_posix() for path in files}
    assert inside == wanted
    assert "dho_prompt/py.typed" in inside and not any("test" in name.split("/")[-1] for name in inside)


def test_metadata_of_the_wheel(built):
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    read = lambda ending: zipfile.ZipFile(wheel).read(next(n for n in names if n.endswith(ending))).decode()  # noqa: E731
    said = email.message_from_string(read("dist-info/METADATA"))
    assert said["Name"] == "dho-prompt" and said["Requires-Python"] == ">=3.9"
    assert said["Description-Content-Type"] == "text/markdown"
    assert said.get_payload().strip() == (REPOSITORY / "README.md").read_text(encoding="utf-8").strip()
    extras = {extra: set() for extra in said.get_all("Provides-Extra")}
    assert set(extras) == {"dassl", "dev", "docs", "plot"}
    for line in said.get_all("Requires-Dist"):
        package, _, extra = re.fullmatch(r"([\w-]+)(.*?)(?:; extra == .(\w+).)?", line.strip()).groups()
        extras.setdefault(extra or "", set()).add(package)
    assert {"torch", "torchvision", "open-clip-torch", "yacs", "pillow", "numpy"} <= {
        name.replace("_", "-") for name in extras[""]
    }
    assert extras["plot"] == {"matplotlib"} < extras["dev"] and {"pytest", "mypy", "ruff"} < extras["dev"]
    for extra, packages in extras.items():  # what the package itself imports is never in an extra alone
        assert "torch" not in packages or not extra
    commands = re.findall(r"^([\w-]+) = ([\w.]+):main$", read("entry_points.txt"), re.MULTILINE)
    assert {name for name, _ in commands} == {"dho-prompt-train", "dho-prompt-report", "dho-prompt-predict"}
    for _, module in commands:
        assert callable(__import__(module, fromlist=["main"]).main)
    assert any(name.endswith("/LICENSE") for name in names)


def test_wheel_built_from_the_source_distribution(host, source, tmp_path):
    pytest.importorskip("setuptools")
    build(["sdist", "--dist-dir"], source, tmp_path / "sdist")
    import tarfile

    (archive,) = (tmp_path / "sdist").glob("*.tar.gz")
    safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 and later
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "unpacked", **safely)
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert (unpacked / "LICENSE").is_file() and (unpacked / "README.md").is_file()
    build(["bdist_wheel", "--dist-dir"], unpacked, tmp_path / "dist")
    assert str(tmp_path / "site") in used_from(host, unpack_wheel(tmp_path / "dist", tmp_path / "site"))


def test_editable_install(host, source, tmp_path):
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    # the packages that this test runs with, found from the new environment
    (path,) = (folder / "lib").glob("python*/site-packages")
    (path / "outer.pth").write_text("\n".join(entry for entry in sys.path if entry.endswith("site-packages")) + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    install = [*pip, "install", "-q", "--no-deps", "--no-build-isolation", "-e", str(source)]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(python), "-c", USE], cwd=host, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(source) in done.stdout


def test_the_workflow_runs_what_the_readme_says():
    import yaml

    jobs = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))["jobs"]
    said = [step.get("run", "") for step in jobs["versions"]["steps"]]
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "pip install -e '.[dev]' && pytest" in readme and "pip install -c torch.txt -e '.[dev]' && pytest" in said
    pythons = {row["python"] for row in jobs["versions"]["strategy"]["matrix"]["include"]}
    assert pythons == {"3.9", "3.11", "3.13"}
    assert jobs["everything"]["steps"][-1]["run"] == "bash .ci/run"
    checks = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert {"ruff check .", "ruff format --check .", "mypy"} <= set(checks)
