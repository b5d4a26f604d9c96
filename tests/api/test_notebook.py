"""The notebook runs as it stands, and what it prints is what stands in it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "digits.ipynb"
CELLS = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
RUN = """
import json, sys
for cell in json.loads(sys.stdin.read()):
    exec(compile(cell, "cell", "exec"), globals())
    print("=== end of cell")
"""


def printed(cell):
    outputs = [output for output in cell["outputs"] if output["output_type"] == "stream"]
    return "".join("".join(output["text"]) for output in outputs)


def test_it_was_executed_from_top_to_bottom_without_an_error():
    assert [cell["execution_count"] for cell in CELLS] == list(range(1, len(CELLS) + 1))
    outputs = [output for cell in CELLS for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"stream", "display_data"}
    assert all(output["name"] == "stdout" for output in outputs if output["output_type"] == "stream")
    assert NOTEBOOK.stat().st_size < 100_000


@pytest.mark.slow
def test_its_cells_print_what_stands_in_it(tmp_path):
    pytest.importorskip("matplotlib")
    codes = ["".join(cell["source"]).replace("%matplotlib inline", "") for cell in CELLS]
    environment = {**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", RUN], input=json.dumps(codes), cwd=tmp_path, env=environment,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = done.stdout.split("=== end of cell\n")[:-1]
    assert len(found) == len(CELLS)
    number = r"\d+(?:\.\d+)?"
    for now, cell in zip(found, CELLS):
        then = printed(cell)
        assert re.sub(number, "0", now) == re.sub(number, "0", then) or "names" in "".join(cell["source"])
        for value, before in zip(re.findall(number, now), re.findall(number, then)):
            assert float(value) == pytest.approx(float(before), abs=8)  # other processors round otherwise
