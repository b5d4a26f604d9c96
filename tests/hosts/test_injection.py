"""One backward pass for two losses."""

from typing import NamedTuple

import pytest
import torch

from dho_prompt.hosts.injection import FeatureTap, add_loss, outputs_changed


class Pair(NamedTuple):
    loss: torch.Tensor
    logits: torch.Tensor


@pytest.mark.parametrize("kind", ["scalar", "logits", "tuple", "named", "dict"])
def test_gradient_is_the_weighted_sum(kind):
    weight = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64, requires_grad=True)
    other = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    inputs = torch.tensor([[0.2, 0.4, -1.0], [1.0, 0.3, 0.7]], dtype=torch.float64)

    def outputs():
        logits = inputs @ weight
        loss = logits.square().sum()
        return {
            "scalar": loss,
            "logits": logits,
            "tuple": (loss, logits, None, inputs, [logits.exp()]),
            "named": Pair(loss, logits),
            "dict": {"loss": loss, "logits": logits, "names": ["a"]},
        }[kind]

    def host_loss(output):
        if kind == "tuple":
            return output[0] + output[1].sin().sum() * output[4][0].sum()
        if kind == "named":
            return output.loss * output.logits.sum()
        if kind == "dict":
            return output["loss"] + output["logits"].sum()
        return output.sum() * 2

    second = (weight * other).sin().sum()
    expected = torch.autograd.grad(0.3 * host_loss(outputs()) + 0.7 * 8 * second, (weight, other))
    second = (weight * other).sin().sum()
    plain, changed = outputs(), add_loss(outputs(), second, 0.3, 0.7 * 8)
    assert type(changed) is type(plain)
    loss = host_loss(changed)
    assert torch.equal(loss, host_loss(plain))
    loss.backward()
    torch.testing.assert_close(weight.grad, expected[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(other.grad, expected[1], rtol=1e-12, atol=0)


def test_an_unused_output_and_an_inplace_change_do_no_harm():
    weight = torch.tensor(2.0, requires_grad=True)
    used, unused = add_loss((weight * 3, weight * 5), weight * 7, 0.5, 0.5)
    used += 1
    used.backward()
    assert weight.grad == 0.5 * 3 + 0.5 * 7 and used == 7


def test_an_output_without_gradient_is_refused():
    with pytest.raises(ValueError, match="no tensor needs a gradient"):
        add_loss(torch.zeros(2, 3), torch.zeros(()), 0.5, 0.5)


def test_the_tap_keeps_the_first_call_and_leaves_no_hook():
    class Tower(torch.nn.Module):
        def forward(self, images, shift, gain=1):
            return images * gain + shift

    tower, tap = Tower(), None
    tap = FeatureTap(tower)
    with tap:
        tower(torch.ones(2), 1.0, gain=3)
        tower(torch.zeros(2), 0.0)
    assert torch.equal(tap.call.output, torch.full((2,), 4.0))
    assert torch.equal(tap.encode(torch.tensor([2.0])), torch.tensor([7.0]))
    with outputs_changed(tower, lambda output: output + 10):
        assert tower(torch.zeros(1), 1.0) == 11
    assert tower(torch.zeros(1), 1.0) == 1 and not tower._forward_hooks


@pytest.mark.parametrize("training", [True, False])
def test_further_images_leave_the_running_statistics(training):
    torch.manual_seed(0)
    tower = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten()).train(training)
    tap, images, weight = FeatureTap(tower), torch.randn(5, 3, 4, 4), tower[0].weight
    with tap:
        output = tower(images)
    buffers = list(tower[1].buffers())
    before = [buffer.clone() for buffer in buffers]
    further = tap.encode(torch.randn(6, 3, 4, 4))
    assert all(now is then for now, then in zip(tower[1].buffers(), buffers))
    assert all(torch.equal(now, then) for now, then in zip(buffers, before))
    both = torch.autograd.grad(output.square().sum() + further.sum(), weight, retain_graph=True)[0]
    parts = [torch.autograd.grad(part, weight)[0] for part in (tower(images).square().sum(), further.sum())]
    assert torch.allclose(both, sum(parts), atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "list", "tuple"])
def test_further_images_are_encoded_as_the_first_were(kind):
    class Tower(torch.nn.Module):
        def forward(self, inputs, *args, gain=1.0):
            images, *beside = inputs if isinstance(inputs, (list, tuple)) else [inputs]
            return gain * images.flatten(1) + sum(beside) + sum(args)

    def first(images):
        return {"plain": images, "list": [images, prompts], "tuple": (images, prompts, 2 * prompts)}[kind]

    prompts = torch.tensor([3.0, -1.0], requires_grad=True)
    images, more = torch.tensor([[1.0, 2.0], [0.5, -4.0]]), torch.tensor([[7.0, 8.0]])
    tap = FeatureTap(Tower())
    with tap:
        output = tap.encoder(first(images), 0.25, gain=2.0)
        tap.encoder(first(more))  # a second call is not kept
    assert torch.equal(tap.call.images, images) and tap.call.output is output
    found = tap.encode(more)
    assert torch.equal(found, tap.encoder(first(more), 0.25, gain=2.0)) and found.requires_grad == (kind != "plain")


@pytest.mark.parametrize("args", [(), ([],), ({"images": 1},), ([None, torch.zeros(1)],)])
def test_a_tower_without_images_in_front_is_refused(args):
    tap = FeatureTap(torch.nn.Identity())
    with pytest.raises(ValueError, match="Identity is called without images as its first argument, or as the first"):
        tap._keep(tap.encoder, args, {}, None)
