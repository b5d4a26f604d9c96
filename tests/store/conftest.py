"""Stores of the small models and images of the other tests, and runs that read them."""

import pytest

from dho_prompt.store.__main__ import main as store

SETTINGS = {
    "DATALOADER.TRAIN_X.BATCH_SIZE": 4, "DATALOADER.TRAIN_U.SAME_AS_X": False, "DATALOADER.TRAIN_U.BATCH_SIZE": 5,
    "TRAIN.COUNT_ITER": "train_x", "INPUT.RRCROP_SCALE": "(0.3, 0.9)", "TEST.SHIFTED_SETS": "()",
}  # fmt: skip


@pytest.fixture
def arguments(train_args):
    """``arguments(trainer, {key: value})``"""

    def of(trainer="CoOpDHO", more=None, **flags):
        options = {**SETTINGS, **(more or {})}
        return list(map(str, train_args(trainer, *(word for pair in options.items() for word in pair), **flags)))

    return of


@pytest.fixture
def made(arguments, tmp_path):
    """``made(views, kind, flags, settings)``: folder of a store."""

    def make(views=3, kind="teacher", flags=("--dtype", "float32"), more=None, name="store"):
        folder = tmp_path / f"{name}-{kind}"
        store([kind, "--store", str(folder), "--views", str(views), *flags, *arguments("CoOpDHO", more)])
        return str(folder)

    return make
