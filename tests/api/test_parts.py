"""The parts in a loop of one's own, with plain tensors; and the public names."""

import subprocess
import sys

import pytest
import torch

import dho_prompt
from dho_prompt import CosineHead, DHOLoss, blend, make_head, search_mix


def test_a_loop_of_ones_own(capsys):
    torch.manual_seed(0)
    centres = torch.randn(5, 8)  # five classes in a space of eight features
    labels = torch.arange(40) % 5
    features, more = centres[labels] + 0.6 * torch.randn(40, 8), centres[labels] + 0.6 * torch.randn(40, 8)
    teach = lambda points: 4 * torch.nn.functional.cosine_similarity(points[:, None], centres[None], dim=-1)  # noqa: E731

    ce_head, kd_head, loss = make_head(8, 5, "linear"), CosineHead(8, 5, zeta=0.25), DHOLoss(lam=0.4, temperature=1.5)
    optimizer = torch.optim.SGD([*ce_head.parameters(), *kd_head.parameters()], lr=0.5)
    totals = []
    for _ in range(60):
        terms = loss(ce_head(features[:10]), labels[:10], kd_head(features[:10]), teach(features[:10]),
                     kd_head(more), teach(more))  # fmt: skip
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        totals.append(terms.total.item())
        assert totals[-1] == pytest.approx(0.4 * terms.ce.item() + 0.6 * (terms.kd_x + terms.kd_u).item(), rel=1e-5)
    assert totals[-1] < 0.2 * totals[0] and terms.kd_u < 0.02
    with torch.no_grad():
        mix = search_mix(ce_head(features[10:25]), kd_head(features[10:25]), labels[10:25])
        mixed = blend(ce_head(features[25:]), kd_head(features[25:]), mix.alpha, mix.beta)
    assert mixed.shape == (15, 5) and torch.allclose(mixed.sum(1), torch.ones(15))
    assert (mixed.argmax(1) == labels[25:]).float().mean() > 0.8


def test_public_names_are_what_is_asked_for_and_torch_is_enough_for_the_parts():
    assert set(dho_prompt.__all__) <= set(dir(dho_prompt))
    for name in dho_prompt.__all__:
        assert getattr(dho_prompt, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'fitt'"):
        dho_prompt.fitt  # noqa: B018
    code = """
import sys
for name in ("yacs", "torchvision", "tabulate", "sklearn", "PIL", "tensorboard", "open_clip"):
    sys.modules[name] = None
import dho_prompt
assert "torch" not in sys.modules
from dho_prompt import CosineHead, DHOLoss, LinearHead, blend, kd_divergence, make_head, search_mix
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_module_takes_the_place_of_a_public_name():
    """``from dho_prompt import fit`` must not depend on what was imported before."""
    from importlib import import_module
    from pkgutil import iter_modules

    modules = {module.name for module in iter_modules(dho_prompt.__path__)}
    assert not modules & set(dho_prompt.__all__)
    import_module("dho_prompt.hosts.with_dho")
    assert callable(dho_prompt.with_dho)
