"""Hand-worked mixes, limits, and the determinism of the search."""

import pytest
import torch

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
    found = search_mix(ce, kd, labels, by="accuracy")
    assert found.accuracy == 1.0
    assert (blend(ce, kd, found.alpha, found.beta).argmax(-1) == labels).all()
    assert (ce.argmax(-1) == labels).sum() == 1 and (kd.argmax(-1) == labels).sum() == 2


def test_the_search_needs_beta_where_the_kd_head_is_too_sure_of_its_mistakes():
    labels = torch.tensor([0, 0, 1, 1])
    ce = torch.tensor([[0.4, 0.0], [0.4, 0.0], [0.1, 0.0], [0.1, 0.0]])  # right on the first two
    kd = torch.tensor([[9.0, 0.0], [-4.0, 0.0], [-9.0, 0.0], [-9.0, 0.0]])  # wrong on the second alone
    found = search_mix(ce, kd, labels, alphas=(0.5,), betas=(1.0, 4.0, 40.0), by="accuracy")
    assert found.accuracy == 1.0 and found.beta == 40.0
    assert search_mix(ce, kd, labels, alphas=(0.5,), betas=(1.0,), by="accuracy").accuracy == 0.75


def test_likelihood_sees_what_accuracy_does_not():
    """Both heads are right on all images; one is far surer, and the search says so instead of a tie."""
    labels = torch.tensor([0, 1, 1])
    sure, unsure = torch.eye(2)[labels] * 6, torch.eye(2)[labels] * 0.2
    assert search_mix(sure, unsure, labels, by="accuracy")[:2] == (0.5, 1.0)
    assert search_mix(sure, unsure, labels).alpha == 1.0 and search_mix(unsure, sure, labels).alpha == 0.0
    with pytest.raises(ValueError, match="by likelihood or accuracy, not by 'luck'"):
        search_mix(sure, unsure, labels, by="luck")


def test_one_image_that_a_head_is_sure_to_miss_does_not_decide():
    labels = torch.tensor([0] * 20)
    ce = torch.tensor([[0.5, 0.0]] * 20)
    kd = torch.tensor([[4.0, 0.0]] * 19 + [[-800.0, 0.0]])
    found = search_mix(ce, kd, labels, betas=(1.0,))
    assert 0 < found.alpha < 0.5 and found.accuracy == 0.95


def test_the_likeliest_mix_gives_way_where_the_fixed_one_is_right_more_often():
    labels = torch.tensor([0, 0, 0])
    ce = torch.tensor([[0.1, 0.0], [0.1, 0.0], [0.1, 0.0]])  # right on all, hardly sure
    kd = torch.tensor([[6.0, 0.0], [6.0, 0.0], [-0.3, 0.0]])  # wrong on the last, and the likelier
    assert search_mix(ce, kd, labels).accuracy == pytest.approx(2 / 3)
    assert search_mix(ce, kd, labels, fixed=(0.9, 0.7)) == (0.9, 0.7, 1.0)
    assert search_mix(ce, kd, labels, fixed=(0.0, 0.7)) == search_mix(ce, kd, labels)  # as often right: the likelier


def test_ties_go_to_the_papers_fixed_values():
    logits = torch.eye(3) * 5
    labels = torch.arange(3)
    assert search_mix(logits, logits, labels, by="accuracy")[:2] == (0.5, 1.0)
    assert search_mix(logits, logits, labels, ALPHAS[::-1], BETAS[::-1], by="accuracy")[:2] == (0.5, 1.0)
    assert search_mix(logits, logits, labels, (0.6, 0.4), (4.0, 0.1), by="accuracy")[:2] == (0.4, 4.0)
    assert search_mix(logits, logits, labels, ALPHAS[::-1], betas=(1.0,))[:2] == (0.5, 1.0)


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
