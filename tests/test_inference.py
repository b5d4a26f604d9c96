"""Hand-worked mixes, limits, and the determinism of the search."""

import pytest
import torch

import by_hand
from dho_prompt.inference import ALPHAS, BETAS, blend, search_mix


def test_hand_worked_mix():
    ce = torch.log(torch.tensor([[0.7, 0.2, 0.1]]))
    kd = torch.log(torch.tensor([[0.1, 0.3, 0.6]])) * 2  # beta 2 undoes the doubling
    mixed = blend(ce, kd, alpha=0.25, beta=2.0)
    torch.testing.assert_close(mixed, torch.tensor([[0.25, 0.275, 0.475]]))


def test_limits_are_the_single_heads():
    ce, kd = torch.randn(5, 4), torch.randn(5, 4)
    torch.testing.assert_close(blend(ce, kd, alpha=1.0), ce.softmax(-1))
    torch.testing.assert_close(blend(ce, kd, alpha=0.0, beta=3.0), (kd / 3).softmax(-1))
    torch.testing.assert_close(blend(ce, ce, alpha=0.3), ce.softmax(-1))


def test_probabilities_are_float32_and_sum_to_one():
    mixed = blend(torch.randn(6, 9).half() * 30, torch.randn(6, 9).half() * 30, 0.4, 0.5)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed.sum(-1), torch.ones(6))


def test_class_subset_is_gathered_before_each_softmax():
    ce = torch.tensor([[1.0, 9.0, 2.0]])  # class 1 takes nearly all the mass of the 3-way softmax
    kd = torch.tensor([[3.0, 0.0, 2.9]])
    classes = torch.tensor([2, 0])
    torch.testing.assert_close(blend(ce, kd, 0.5, 1.0, classes), blend(ce[:, classes], kd[:, classes], 0.5, 1.0))
    after = blend(ce, kd, 0.5, 1.0)[:, classes]
    assert blend(ce, kd, 0.5, 1.0, classes).argmax() != after.argmax()


def test_search_finds_the_mix_that_only_beats_both_heads():
    labels = torch.tensor([0, 0, 1])
    ce = torch.tensor([[3.0, 0.0], [-0.2, 0.0], [0.5, 0.0]])  # right on image 0 only
    kd = torch.tensor([[-1.0, 0.0], [2.0, 0.0], [-2.5, 0.0]])  # wrong on image 0 only
    found = search_mix(ce, kd, labels)
    assert found.accuracy == 1.0
    assert (blend(ce, kd, found.alpha, found.beta).argmax(-1) == labels).all()
    assert (ce.argmax(-1) == labels).sum() == 1 and (kd.argmax(-1) == labels).sum() == 2


def test_of_equally_right_mixes_the_likelier_is_taken():
    """All of them are right on 3 of 4 images; a KD head that is too sure of its mistake makes the labels unlikely."""
    labels = torch.tensor([0, 0, 1, 1])
    ce = torch.tensor([[0.4, 0.0], [0.4, 0.0], [0.1, 0.0], [0.1, 0.0]])  # right on the first two
    kd = torch.tensor([[9.0, 0.0], [-4.0, 0.0], [-9.0, 0.0], [-9.0, 0.0]])  # wrong on the second alone
    accuracies = [search_mix(ce, kd, labels, alphas=(0.5,), betas=(beta,)).accuracy for beta in (0.1, 1.0, 4.0)]
    assert accuracies == [0.75, 0.75, 0.75]
    assert search_mix(ce, kd, labels, alphas=(0.5,), betas=(0.1, 4.0)) == (0.5, 4.0, 0.75)
    assert search_mix(ce, kd, labels, alphas=(0.1,), betas=(0.1, 2.0)) == (0.1, 2.0, 0.75)


def test_the_likeliest_mix_gives_way_where_the_fixed_one_is_right_more_often():
    labels = torch.tensor([0, 0, 0])
    ce = torch.tensor([[0.1, 0.0], [0.1, 0.0], [0.1, 0.0]])  # right on all, hardly sure
    kd = torch.tensor([[6.0, 0.0], [6.0, 0.0], [-0.3, 0.0]])  # wrong on the last, and the likelier
    found = search_mix(ce, kd, labels, fixed=(0.9, 0.7))
    assert found == (0.9, 0.7, 1.0) and search_mix(ce, kd, labels, fixed=(0.0, 0.7)).accuracy == pytest.approx(2 / 3)


@pytest.mark.parametrize("fixed", [(0.5, 1.0), (0.3, 0.7)])
def test_the_search_is_the_one_written_by_hand(fixed):
    draw, kept = torch.Generator().manual_seed(3), 0
    for images in range(3, 24):
        ce, kd = (3 * torch.randn(images, 5, generator=draw) for _ in range(2))
        labels = torch.randint(5, (images,), generator=draw)
        labels[::2] = (ce + 2 * kd).argmax(1)[::2]
        found = search_mix(ce, kd, labels, fixed)
        right, alpha, beta = by_hand.search(ce.double(), kd.double(), labels, fixed)
        assert found == (alpha, beta, pytest.approx(right / 100))
        kept += found[:2] == fixed
    assert 0 < kept < 21  # either is the answer now and then


def test_ties_go_to_the_papers_fixed_values():
    logits, labels, even = torch.eye(3) * 5, torch.arange(3), torch.zeros(3, 3)
    assert search_mix(logits, logits, labels, betas=(1.0,))[:2] == (0.5, 1.0)  # alpha means nothing
    assert search_mix(logits, logits, labels, alphas=ALPHAS[::-1], betas=(1.0,))[:2] == (0.5, 1.0)
    assert search_mix(logits, logits, labels, alphas=(0.6, 0.4), betas=(1.0,))[:2] == (0.4, 1.0)
    assert search_mix(logits, even, labels, alphas=(0.3,), betas=BETAS[::-1])[:2] == (0.3, 1.0)  # and here beta
    assert search_mix(logits, even, labels, alphas=(0.3,), betas=(0.1, 4.0))[:2] == (0.3, 4.0)


def test_grid_is_the_documented_one():
    assert ALPHAS[0] == 0 and ALPHAS[-1] == 1 and len(ALPHAS) == 21
    assert BETAS[0] == 0.1 and BETAS[-1] == 4.0


def test_bad_arguments_are_named():
    logits = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="alpha must lie"):
        blend(logits, logits, alpha=1.2)
    with pytest.raises(ValueError, match="beta must be positive"):
        blend(logits, logits, beta=0)
    with pytest.raises(ValueError, match="heads disagree"):
        blend(logits, torch.zeros(2, 4))
    with pytest.raises(ValueError, match="empty validation set"):
        search_mix(logits[:0], logits[:0], torch.zeros(0, dtype=torch.long))
