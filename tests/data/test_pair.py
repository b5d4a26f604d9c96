"""Labelled and unlabelled batches side by side; no label leaks out of the pool."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from dho_prompt.data.batches.pair import PairLoader, UnlabelledImages


def loaders(labelled=10, unlabelled=28, batch=4):
    x = [{"img": torch.tensor(float(n)), "label": n % 3} for n in range(labelled)]
    u = [{"img": torch.tensor(100.0 + n), "index": n} for n in range(unlabelled)]
    return DataLoader(x, batch, drop_last=True), DataLoader(u, batch, drop_last=True)


@pytest.mark.parametrize("count, steps", [("train_x", 2), ("train_u", 7), ("smaller_one", 2)])
def test_an_epoch_is_what_count_says_and_the_shorter_loader_starts_again(count, steps):
    pairs = PairLoader(*loaders(), count)
    batches = list(pairs)
    assert len(batches) == len(pairs) == steps
    assert all(set(batch) == {"img", "label", "img_u", "index_u"} for batch in batches)
    assert [int(batch["img_u"][0]) for batch in batches] == [100 + 4 * step for step in range(steps)]
    assert [int(batch["img"][0]) for batch in batches] == [0, 4, 0, 4, 0, 4, 0][:steps]


def test_without_a_pool_the_labelled_batches_are_untouched():
    loader_x, _ = loaders()
    pairs = PairLoader(loader_x, None)
    for plain, paired in zip(loader_x, pairs):
        assert set(paired) == set(plain) and torch.equal(paired["img"], plain["img"])
    assert pairs.dataset is loader_x.dataset


def test_labelled_only_can_match_the_number_of_steps():
    assert len(list(PairLoader(loaders()[0], None, "train_u", length_u=7))) == 7


def test_unlabelled_images_give_no_label():
    secret = SimpleNamespace(impath="a.png", label=5, classname="five")
    sample = UnlabelledImages([secret], lambda image: {"img": image}, lambda path: path.upper())[0]
    assert sample == {"img": "A.PNG", "index": 0}


def test_unknown_count_is_refused():
    with pytest.raises(ValueError, match="TRAIN.COUNT_ITER is 'train_y'; allowed are train_x"):
        PairLoader(*loaders(), "train_y")


def test_unlabelled_draws_do_not_disturb_the_labelled_ones():
    data = [{"img": torch.tensor(float(number))} for number in range(12)]

    def drawn(with_pool, seed=5, epochs=2):
        torch.manual_seed(seed)
        pairs = PairLoader(DataLoader(data, 3, shuffle=True), DataLoader(data, 5, shuffle=True) if with_pool else None)
        return [[batch for batch in pairs] for _ in range(epochs)]

    alone, paired = drawn(False), drawn(True)
    images = lambda epochs, key: [[batch[key].tolist() for batch in epoch] for epoch in epochs]  # noqa: E731
    assert images(alone, "img") == images(paired, "img")
    assert images(paired, "img_u") == images(drawn(True), "img_u")  # reproducible
    assert images(paired, "img_u") != images(drawn(True, seed=6), "img_u")
    assert images(paired, "img_u")[0] != images(paired, "img_u")[1]  # a fresh order each epoch


class Cropped(Dataset):
    """Images whose crop is drawn when they are read."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return {"img": float(index), "crop": torch.rand(1)}


def test_every_unlabelled_batch_has_draws_of_its_own_and_the_pool_an_order_of_each_pass():
    pairs = PairLoader(DataLoader(Cropped(), 1), DataLoader(Cropped(), 3, shuffle=True))
    batches = list(pairs)  # six steps: the pool is passed three times
    assert len({value for batch in batches for value in batch["crop_u"].flatten().tolist()}) == 18
    images = [value for batch in batches for value in batch["img_u"].tolist()]
    passes = [images[start : start + 6] for start in (0, 6, 12)]
    assert all(sorted(found) == [0, 1, 2, 3, 4, 5] for found in passes) and len(set(map(tuple, passes))) > 1
