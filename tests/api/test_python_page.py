"""Every block of docs/python.md runs as it stands, one after the other, as a reader would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from own_images import write_own_folder

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def python(code, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_loop_of_ones_own(tmp_path):
    (loop,) = (code for code in blocks("python") if "def step" in code)
    assert python(f"{loop}\nprint(tuple(probabilities.shape), probabilities.sum(1).tolist())", tmp_path).startswith(
        "(5, 10) [1"
    )


def test_the_table_of_arguments_has_every_argument_and_its_default():
    from inspect import signature

    from dho_prompt import fit

    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? ?\|", PAGE[PAGE.index("## fit") : PAGE.index("## Predict")], re.M)
    given = {name: value.default for name, value in signature(fit).parameters.items()}
    assert [name for name, _ in rows] == list(given)
    for name, default in rows:
        empty = ("images", "recipe", "settings")
        assert (not default) if name in empty else default.strip('"') == str(given[name]), name


@pytest.mark.slow
def test_the_page_on_the_digits_and_its_command(tmp_path):
    digits, predict = (code for code in blocks("python") if "digits" in code)
    python(f"from dho_prompt import fit\n{digits}", tmp_path)
    printed = python(
        f"{predict}\nprint(found.names, *(tuple(p.shape) for p in found.probabilities.values()))", tmp_path
    )
    assert printed.startswith("['four', ") and "(2, 10)" in printed
    (command,) = blocks("bash")
    python("import runpy, sys; sys.argv = " + repr(command.split()[2:]) + "; runpy.run_module(sys.argv[0], "
           "run_name='__main__')", tmp_path)  # fmt: skip


@pytest.mark.slow
def test_the_first_lines_on_a_folder(tmp_path):
    """With the digits' CLIPs in the place of those that would be fetched."""
    folder = write_own_folder(tmp_path / "my_images")
    (tmp_path / "new").mkdir()
    for name, image in zip(("one.jpg", "two.jpg"), sorted((folder / "test" / "bee").iterdir())):
        image.rename(tmp_path / "new" / name)
    code = blocks("python")[0]
    assert code.count('output="out")') == 1
    code = code.replace('output="out")', 'output="out", recipe="digits", settings={"OPTIM.MAX_EPOCH": 1})')
    assert "'images': 13" in python(code, tmp_path)
