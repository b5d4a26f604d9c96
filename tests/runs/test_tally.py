"""Accuracy and calibration of several heads, batch by batch, against a plain restatement."""

import numpy as np
import pytest
import torch

from dho_prompt.runs.tally import HeadTally


def expected_error(probabilities, labels, bins=15):
    sure, predicted = probabilities.max(1), probabilities.argmax(1)
    total = 0.0
    for low in range(bins):
        inside = (sure > low / bins) & (sure <= (low + 1) / bins)
        if inside.any():
            total += inside.mean() * abs((predicted[inside] == labels[inside]).mean() - sure[inside].mean())
    return 100 * total


def test_against_a_restatement_over_batches():
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(200, 7, dtype=torch.float64), torch.randint(7, (200,))
    heads = {"ce": logits, "kd": logits.flip(1)}
    tally = HeadTally()
    for part in torch.arange(200).split(64):
        scores = {head: values[part] for head, values in heads.items()}
        tally.add(scores, {head: values.softmax(-1) for head, values in scores.items()}, labels[part])
    summary = tally.summary()
    assert summary["accuracy"]["images"] == 200
    for head, values in heads.items():
        assert summary["accuracy"][head] == pytest.approx(100 * (values.argmax(1) == labels).double().mean().item())
        error = expected_error(values.softmax(-1).numpy(), labels.numpy())
        assert summary["ece"][head] == pytest.approx(error) and error > 5


def test_hand_worked_and_limits():
    tally = HeadTally()
    sure = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    tally.add({"ce": sure}, {"ce": sure}, torch.tensor([0, 1, 1]))
    # two images in the bin of 0.9 (half of them right), one in that of 0.8 (right)
    assert tally.calibration_errors()["ce"] == pytest.approx(100 * (2 / 3 * 0.4 + 1 / 3 * 0.2))
    # a bin holds its upper end: 0.2 lies with 0.19 between 2/15 and 3/15
    rows = torch.tensor([[0.2] * 5, [0.19, 0.19, 0.19, 0.19, 0.24]], dtype=torch.float64)
    tally = HeadTally()
    tally.add({"ce": torch.eye(5)[:2]}, {"ce": rows}, torch.tensor([1, 1]))
    assert tally.calibration_errors()["ce"] == pytest.approx(100 * (1 - 0.39) / 2)
    tally = HeadTally()
    certain = torch.eye(2)
    tally.add({"ce": certain}, {"ce": certain}, torch.tensor([0, 1]))
    assert tally.summary() == {"accuracy": {"ce": 100.0, "images": 2}, "ece": {"ce": 0.0}}


def test_scores_decide_and_probabilities_say_how_sure():
    tally = HeadTally()
    tally.add({"blend": torch.tensor([[1.0, 2.0]])}, {"blend": torch.tensor([[0.5, 0.5]])}, torch.tensor([1]))
    assert tally.percentages()["blend"] == 100 and np.isclose(tally.calibration_errors()["blend"], 50)
    tally = HeadTally()
    tally.add({"blend": torch.tensor([[1.0, 2.0]])}, {"blend": torch.tensor([[0.7, 0.3]])}, torch.tensor([1]))
    assert np.isclose(tally.calibration_errors()["blend"], 70)
