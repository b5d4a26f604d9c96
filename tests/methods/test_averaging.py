"""Gaussian averaging against a plain loop."""

import math

import pytest
import torch

from dho_prompt.methods.averaging import GaussianAverage, gaussian_weights


def density(epoch, mean, std):
    return math.exp(-((epoch - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))


@pytest.mark.parametrize("epochs, mean, std", [(20, 15, 1), (20, 6, 10), (50, 30, 30), (50, 45, 5), (1, 15, 1.5)])
def test_weights_are_the_normal_density_scaled_to_one(epochs, mean, std):
    wanted = [density(epoch, mean, std) for epoch in range(1, epochs + 1)]
    wanted = [value / sum(wanted) for value in wanted]
    assert gaussian_weights(epochs, mean, std).tolist() == pytest.approx(wanted, rel=1e-12)


def test_weights_stay_numbers_where_the_density_underflows():
    assert gaussian_weights(3, 200, 1).tolist() == pytest.approx([0, 0, 1])
    with pytest.raises(ValueError, match="GPA_STD is 0"):
        gaussian_weights(3, 2, 0)


def trained_module(dtype=torch.float32):
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2).to(dtype)
    module.bias.requires_grad_(False)
    return module


def step(module):
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn_like(weight))


def test_average_is_the_plain_loops_and_leaves_what_is_not_trained():
    module, weights = trained_module(), gaussian_weights(7, 4, 2).tolist()
    average, wanted = GaussianAverage(module, 7, 4, 2), torch.zeros(2, 3, dtype=torch.float64)
    for epoch in range(7):
        step(module)
        average.add()
        wanted += weights[epoch] * module.weight.detach().double()
    bias = module.bias.clone()
    average.apply()
    torch.testing.assert_close(module.weight.detach().double(), wanted, rtol=1e-6, atol=1e-6)
    assert torch.equal(module.bias, bias) and module.weight.requires_grad


def test_it_sums_in_float32_whatever_the_parameters_are():
    module = trained_module(torch.bfloat16)
    average = GaussianAverage(module, 100, 50, 1000)
    for _ in range(100):
        average.add()
    assert average.state_dict()["sum"]["weight"].dtype == torch.float32
    before = module.weight.clone()
    average.apply()
    assert torch.equal(module.weight, before)


def test_saved_and_restored_halfway_it_ends_the_same():
    whole, parts = trained_module(), trained_module()
    averages = [GaussianAverage(module, 5, 3, 1) for module in (whole, parts)]
    for epoch in range(5):
        if epoch == 2:
            state = averages[1].state_dict()
            averages[1] = GaussianAverage(parts, 5, 3, 1)
            averages[1].load_state_dict(state)
        for module, average in zip((whole, parts), averages):
            torch.manual_seed(epoch)
            step(module)
            average.add()
    for average in averages:
        average.apply()
    assert torch.equal(whole.weight, parts.weight)


def test_other_weights_do_not_go_on():
    module = trained_module()
    state = GaussianAverage(module, 5, 3, 1).state_dict()
    with pytest.raises(ValueError, match="with MAX_EPOCH 5, GPA_STD 1.0, this run with MAX_EPOCH 6, GPA_STD 2.0"):
        GaussianAverage(module, 6, 3, 2).load_state_dict(state)
