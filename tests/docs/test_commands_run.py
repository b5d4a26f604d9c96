"""The commands of the pages that need no download, for real, for three epochs: every script and module once.

They share an output folder, as a reader's do who follows the pages.
"""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from page_blocks import Place, blocks

OURS = re.compile(r"^(?:\w+=\S+ )*(bash scripts/|python -m dho_prompt\.)")
TRAINS = re.compile(r"scripts/(?!ood_eval)\w+\.sh|dho_prompt\.train")
HERE = re.compile(r"\bdigits\b|my_images")  # each run takes seconds
NOT_HERE = ("path/to", "...", "compare_methods", "out/digits")  # the last one is test_python_page.py's
FIRST = "bash scripts/coop_dho.sh digits 4"  # others test and report its runs


def lines():
    """Commands of one line each, with what they begin with: the program and the data set."""
    found = {}
    for block in blocks("bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            line = re.sub(r"\s+#.*", "", line)
            if OURS.match(line) and HERE.search(line) and not any(text in line for text in NOT_HERE):
                program = re.search(r"(scripts/\w+\.sh|-m [\w.]+)( \w+)?", line)[0]
                found.setdefault(program, line)
    del found["scripts/coop_dho.sh digits"]  # FIRST
    return list(found.values())


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """``reader(line)`` runs it in a folder like the repository that also has ``my_images``, 30 of them labelled."""
    place = Place(tmp_path_factory.mktemp("reader"))
    python = place.programs / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    digits, names = load_digits(), ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    for label, name in enumerate(names):
        images = digits.images[digits.target == label].astype(np.uint8) * 15
        for part, chosen in (
            (f"train/{name}", images[:3]),
            (f"test/{name}", images[3:8]),
            ("unlabelled", images[8:12]),
        ):
            folder = place.folder / "my_images" / part
            folder.mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(chosen):
                Image.fromarray(image).resize((32, 32)).save(folder / f"{name}{number}.png")

    def run(line):
        own = {"SEEDS": "1", "OMP_NUM_THREADS": "1", "RECORD": os.devnull}
        if "image_folder" in line:
            own["CFG"] = "digits"  # small models that are here
        environment = {**os.environ, **own, "PATH": f"{place.programs}:{os.environ['PATH']}"}
        line += " OPTIM.MAX_EPOCH 3" if TRAINS.search(line) else ""
        command = ["bash", "-euo", "pipefail", "-c", line]
        done = subprocess.run(command, cwd=place.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    run(FIRST)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("line", lines(), ids=lambda line: line.split("/")[-1][:40])
def test_a_reader_s_commands(reader, line):
    assert reader(line)
