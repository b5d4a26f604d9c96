"""The objective against a plain float64 restatement of Eq. 6-7, value and gradient."""

import math

import pytest
import torch

from dho_prompt.losses import DHOLoss, kd_divergence, self_regularisation


def restated_kl(student, teacher, eta):
    total = 0.0
    for s_row, t_row in zip(student, teacher):
        p = [math.exp(t / eta) for t in t_row.tolist()]
        p = [value / sum(p) for value in p]
        log_norm = torch.logsumexp(s_row / eta, 0)
        total = total + sum(pc * (math.log(pc) - (sc / eta - log_norm)) for pc, sc in zip(p, s_row))
    return total / len(student)


def restated_ce(logits, labels):
    return -sum(row[y] - torch.logsumexp(row, 0) for row, y in zip(logits, labels.tolist())) / len(labels)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    make = lambda rows: torch.randn(rows, 5, generator=generator, dtype=torch.float64) * 4  # noqa: E731
    return {
        "ce_logits": make(6).requires_grad_(),
        "labels": torch.tensor([0, 4, 2, 2, 1, 3]),
        "kd_logits_x": make(6).requires_grad_(),
        "teacher_logits_x": make(6),
        "kd_logits_u": make(9).requires_grad_(),
        "teacher_logits_u": make(9),
    }


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("eta, squared", [(1.0, True), (2.0, True), (2.0, False), (4.5, True)])
def test_value_and_gradient_match_the_formula(batch, lam, eta, squared):
    terms = DHOLoss(lam, eta, squared)(**batch)
    leaves = [batch["ce_logits"], batch["kd_logits_x"], batch["kd_logits_u"]]
    gradients = torch.autograd.grad(terms.total, leaves)

    factor = eta**2 if squared else 1.0
    kd_x = factor * restated_kl(batch["kd_logits_x"], batch["teacher_logits_x"], eta)
    kd_u = factor * restated_kl(batch["kd_logits_u"], batch["teacher_logits_u"], eta)
    ce = restated_ce(batch["ce_logits"], batch["labels"])
    expected = lam * ce + (1 - lam) * (kd_x + kd_u)
    expected_gradients = torch.autograd.grad(expected, leaves)

    for actual, wanted in zip(terms, (expected, ce, kd_x, kd_u)):
        torch.testing.assert_close(actual, wanted, rtol=1e-10, atol=1e-12)
    for actual, wanted in zip(gradients, expected_gradients):
        torch.testing.assert_close(actual, wanted, rtol=1e-9, atol=1e-12)


def test_divergence_vanishes_only_for_equal_predictions():
    logits = torch.randn(4, 7)
    assert kd_divergence(logits + 3.0, logits).abs() < 1e-6  # a constant shift is no difference
    assert kd_divergence(logits.roll(1, dims=1), logits) > 1e-3


def test_no_gradient_reaches_the_teacher(batch):
    batch["teacher_logits_x"].requires_grad_()
    DHOLoss()(**batch).total.backward()
    assert batch["teacher_logits_x"].grad is None


def test_no_unlabelled_images_or_an_empty_batch_of_them_add_nothing(batch):
    without = {key: value for key, value in batch.items() if not key.endswith("_u")}
    empty = dict(without, kd_logits_u=torch.zeros(0, 5), teacher_logits_u=torch.zeros(0, 5))
    assert DHOLoss()(**without).kd_u == 0
    assert DHOLoss()(**empty).total == DHOLoss()(**without).total


def test_host_loss_belongs_to_the_supervised_side(batch):
    plain, with_extra = DHOLoss(0.25)(**batch), DHOLoss(0.25)(**batch, extra=torch.tensor(8.0))
    torch.testing.assert_close(with_extra.total - plain.total, torch.tensor(2.0, dtype=torch.float64))


def test_half_precision_logits_are_computed_in_float32(batch):
    halves = {key: value.half() if value.is_floating_point() else value for key, value in batch.items()}
    terms = DHOLoss()(**halves)
    assert terms.total.dtype == torch.float32
    torch.testing.assert_close(terms.total.double(), DHOLoss()(**batch).total, rtol=5e-3, atol=5e-3)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="lam must lie in"):
        DHOLoss(lam=1.5)
    with pytest.raises(ValueError, match="temperature must be positive"):
        DHOLoss(temperature=0)
    with pytest.raises(ValueError, match="same classes"):
        kd_divergence(torch.zeros(2, 3), torch.zeros(2, 4))


@pytest.mark.parametrize("unit", [True, False])
def test_self_regularisation_matches_its_formula(unit):
    """Each element by itself in float64; features of any length are compared at length 1."""
    generator = torch.Generator().manual_seed(4)
    make = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    logits, text, image = (make(*shape).requires_grad_() for shape in ((6, 5), (5, 8), (6, 8)))
    frozen_logits, frozen_text, frozen_image = make(6, 5), make(5, 8), make(6, 8)
    if unit:
        frozen_text, frozen_image = (x / x.norm(dim=1, keepdim=True) for x in (frozen_text, frozen_image))
    terms = self_regularisation(logits, text, image, frozen_logits, frozen_text, frozen_image, 25, 10)

    def distance(rows, frozen_rows):
        return (
            sum(
                (value / row.norm() - other / frozen.norm()).abs()
                for row, frozen in zip(rows, frozen_rows)
                for value, other in zip(row, frozen)
            )
            / rows.numel()
        )

    divergence = 0
    for row, frozen in zip(logits, frozen_logits):
        p, q = frozen.exp() / frozen.exp().sum(), row.exp() / row.exp().sum()
        divergence = divergence + sum(pc * (pc.log() - qc.log()) for pc, qc in zip(p, q))
    wanted = (25 * distance(text, frozen_text), 10 * distance(image, frozen_image), divergence / 30)
    for actual, expected in zip(terms, wanted):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)
    gradients = zip(*(torch.autograd.grad(sum(losses), (logits, text, image)) for losses in (terms, wanted)))
    for actual, expected in gradients:
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_self_regularisation_vanishes_without_a_change_and_moves_nothing_frozen():
    logits, text, image = (torch.randn(*shape, requires_grad=True) for shape in ((6, 5), (5, 8), (6, 8)))
    terms = self_regularisation(logits, text, image, logits, text, image)
    assert all(abs(term.item()) < 1e-6 for term in terms)
    frozen = [torch.randn_like(x).requires_grad_() for x in (logits, text, image)]
    sum(self_regularisation(logits.half(), text.half(), image.half(), *frozen)).backward()
    assert all(x.grad is None for x in frozen) and all(x.grad is not None for x in (logits, text, image))
