"""The KD head: the cosine of Eq. 10, its gradient, and where it starts from."""

import pytest
import torch

from dho_prompt.heads import CosineHead, LinearHead, make_head


def test_cosine_head_is_equation_10_value_and_gradient():
    torch.manual_seed(0)
    head = CosineHead(6, 4, zeta=0.05).double()
    features = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    weighting = torch.randn(3, 4, dtype=torch.float64)
    restated = torch.stack(
        [
            torch.stack([(z @ w) / (z.pow(2).sum().sqrt() * w.pow(2).sum().sqrt()) / 0.05 for w in head.weight])
            for z in features
        ]
    )
    logits = head(features)
    torch.testing.assert_close(logits, restated, rtol=1e-10, atol=1e-12)
    for actual, wanted in zip(
        torch.autograd.grad((logits * weighting).sum(), [features, head.weight]),
        torch.autograd.grad((restated * weighting).sum(), [features, head.weight]),
    ):
        torch.testing.assert_close(actual, wanted, rtol=1e-9, atol=1e-12)


def test_logits_are_bounded_by_the_temperature():
    assert CosineHead(8, 5, zeta=0.1)(torch.randn(50, 8) * 1e3).abs().max() <= 10.0001


def test_language_aware_start_predicts_like_zero_shot():
    text = torch.nn.functional.normalize(torch.randn(5, 8), dim=-1)
    features = torch.randn(10, 8)
    wanted = torch.nn.functional.cosine_similarity(features[:, None], text[None], dim=-1)
    torch.testing.assert_close(make_head(8, 5, zeta=0.5, text_features=text)(features), wanted / 0.5)
    linear = make_head(8, 5, kind="linear", text_features=text)
    assert isinstance(linear, LinearHead)
    torch.testing.assert_close(linear(features), features @ text.t())


def test_half_precision_features_are_taken():
    assert make_head(8, 5)(torch.randn(2, 8).half()).dtype == torch.float32
    assert make_head(8, 5, kind="linear")(torch.randn(2, 8).bfloat16()).dtype == torch.float32


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="language-aware initialisation needs"):
        make_head(8, 5, text_features=torch.zeros(5, 7))
    with pytest.raises(ValueError, match="zeta must be positive"):
        CosineHead(8, 5, zeta=0.0)
