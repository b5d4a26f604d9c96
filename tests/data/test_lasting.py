"""Workers that stay give the batches, and draw the numbers, of workers that are started for each pass."""

import os
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from dho_prompt.data.batches.lasting import lasting
from dho_prompt.data.batches.pair import PairLoader


class Drawing(Dataset):
    """Every generator is drawn from when an image is read."""

    def __len__(self):
        return 11

    def __getitem__(self, index):
        drawn = torch.tensor([torch.rand(1).item(), random.random(), np.random.rand()], dtype=torch.float64)
        return {"img": drawn, "label": index, "process": os.getpid()}


def passes(make, count=3, steps=None, workers=2):
    """The batches of several passes, of which each ends after ``steps``, and what is drawn after them."""
    torch.manual_seed(5)
    loader = make(DataLoader(Drawing(), 2, shuffle=True, num_workers=workers, drop_last=True))
    found = []
    for _ in range(count):
        found.append([batch for batch, _ in zip(loader, range(steps or 99))])
    return found, torch.rand(3)


@pytest.mark.parametrize("steps", [None, 2])
def test_batches_and_draws_are_those_of_new_workers(steps):
    (new, new_next), (kept, kept_next) = passes(lambda loader: loader, 3, steps), passes(lasting, 3, steps)
    assert torch.equal(new_next, kept_next)
    for one, other in zip(new, kept):
        assert len(one) == len(other) == (steps or 5)
        for theirs, ours in zip(one, other):
            assert torch.equal(theirs["img"], ours["img"]) and torch.equal(theirs["label"], ours["label"])
    images = [batch["img"].tolist() for epoch in kept for batch in epoch]
    assert all(images.count(image) == 1 for image in images)


def test_workers_stay():
    found, _ = passes(lasting)
    processes = [{int(process) for batch in epoch for process in batch["process"]} for epoch in found]
    assert processes[0] == processes[1] == processes[2] and len(processes[0]) == 2


def test_a_loader_without_workers_is_left_as_it_is():
    loader = DataLoader(Drawing(), 2)
    assert lasting(loader) is loader


def test_what_a_loader_was_given_holds():
    loader = DataLoader(
        Drawing(), 3, num_workers=1, collate_fn=len, drop_last=True, timeout=7, prefetch_factor=5, worker_init_fn=print,
        generator=torch.Generator(),
    )  # fmt: skip
    kept = lasting(loader)
    names = ("batch_size", "num_workers", "collate_fn", "drop_last", "timeout", "prefetch_factor", "worker_init_fn")
    for name in (*names, "generator", "pin_memory", "multiprocessing_context"):
        assert getattr(kept, name) == getattr(loader, name), name
    assert len(kept) == 3 and len(kept.dataset) == 11 and lasting(kept) is kept


def test_pairs_keep_their_workers_and_show_their_own_data_set():
    data = Drawing()
    loaders = [DataLoader(data, 2, shuffle=True, num_workers=1) for _ in range(2)]
    pairs = PairLoader(*loaders)
    assert pairs.dataset is data
    batches = [batch for _ in range(2) for batch in pairs]
    for key in ("process", "process_u"):
        assert len({int(process) for batch in batches for process in batch[key]}) == 1
