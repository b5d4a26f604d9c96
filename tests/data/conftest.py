"""Small trees of every data set, and copies to be damaged."""

import shutil

import pytest
from pickles import dumper
from trees import config, write_tree

from dho_prompt.data.datasets import DATASETS
from dho_prompt.data.layouts.table import LAYOUTS, find_layout


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("all")
    for layout in LAYOUTS:
        write_tree(root, layout)
    return root


@pytest.fixture
def broken(root, tmp_path):
    """A copy of one data set, to be damaged; gives its folder and a function that returns the error's text."""

    def copy(name):
        layout = find_layout(name)
        shutil.copytree(root / layout.folder, tmp_path / layout.folder)

        def message(error=(ValueError, OSError), *opts):
            with pytest.raises(error) as caught:
                DATASETS[layout.name](config(tmp_path, layout.name, *opts))
            return str(caught.value)

        return tmp_path / layout.folder, message

    return copy


@pytest.fixture
def dump(monkeypatch):
    """Write a few-shot pickle: ``dump(path, train=[(path, label), ...], val=...)``."""
    return dumper(monkeypatch)
