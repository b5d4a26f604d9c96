"""Every objective against the formula written out in float64: value, and gradients of features and weights."""

import math

import pytest
import torch

from dho_prompt.distill.ce_kd import CEKD
from dho_prompt.distill.ce_kd_feature import CEKDFeature
from dho_prompt.distill.dhkd import DHKD, binary_divergence, without_conflict
from dho_prompt.distill.feature import Projector, feature_distance
from dho_prompt.distill.kd import KD
from dho_prompt.distill.kd_feature import KDFeature, TextClassifier
from dho_prompt.distill.sskd import SSKD
from dho_prompt.heads import LinearHead
from dho_prompt.losses import DHOLoss
from dho_prompt.methods.base import MethodOutput

LAM, ETA, D, D_T, CLASSES, LABELLED, UNLABELLED = 0.2, 3.0, 6, 5, 4, 3, 5
LABELS = torch.tensor([2, 0, 3])


class Case:
    """Features, a method's linear head, a teacher; the same numbers in float32 for us and in float64 by hand."""

    def __init__(self):
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
        generator = torch.Generator().manual_seed(3)
        self.features, self.method = draw(LABELLED + UNLABELLED, D), draw(CLASSES, D)
        self.teacher, self.teacher_features = 2 * draw(LABELLED + UNLABELLED, CLASSES), draw(8, D_T)
        self.head, self.bias, self.projection = draw(CLASSES, D), draw(CLASSES), draw(D_T, D)
        self.projection_bias = draw(D_T)
        self.extra = torch.tensor(0.7, dtype=torch.float64)

    def leaves(self, dtype):
        names = ("features", "method", "head", "bias", "projection", "projection_bias")
        return {name: getattr(self, name).to(dtype).clone().requires_grad_() for name in names}


def log_softmax(logits):
    return logits - logits.logsumexp(1, keepdim=True)


def cross_entropy(logits):
    return -sum(log_softmax(logits)[row, label] for row, label in enumerate(LABELS)) / LABELLED


def kl(teacher, student):
    p = (teacher / ETA).softmax(1)
    return ETA**2 * (p * (p.log() - log_softmax(student / ETA))).sum() / len(teacher)


def binary(teacher, student):
    q = torch.sigmoid((student - teacher) / ETA)
    each = 0.5 * (math.log(0.5) - q.log()) + 0.5 * (math.log(0.5) - (1 - q).log())
    return ETA**2 * each.sum() / len(teacher)


def distance(projected, teacher, weight):
    unit = lambda x: x / x.norm(dim=1, keepdim=True)  # noqa: E731
    return weight * (unit(projected) - unit(teacher)).pow(2).sum() / teacher.numel()


def by_hand(name, case, x):
    """The loss and what is logged of it."""
    own, kd_head = x["features"] @ x["method"].T, x["features"] @ x["head"].T + x["bias"]
    projected = x["features"] @ x["projection"].T + x["projection_bias"]
    ce, t, f = cross_entropy(own[:3]) + case.extra, case.teacher, case.teacher_features
    if name == "kd":
        return kl(t[3:], own[3:])
    if name == "kd_both":
        return kl(t[3:], own[3:]) + kl(t[:3], own[:3])
    if name == "ce_kd":
        return LAM * ce + (1 - LAM) * (kl(t[:3], own[:3]) + kl(t[3:], own[3:]))
    if name == "ce_kd_unlabeled":
        return LAM * ce + (1 - LAM) * kl(t[3:], own[3:])
    if name == "kd_feature":
        return distance(projected[3:], f[3:], 2 * D_T)
    if name == "kd_feature_both":
        return distance(projected, f, 2 * D_T)
    if name == "ce_kd_feature":
        return LAM * ce + (1 - LAM) * distance(projected[3:], f[3:], 70.0)
    if name == "sskd":
        return LAM * ce + (1 - LAM) * kl(t[3:], kd_head[3:])
    return LAM * ce + (1 - LAM) * (binary(t[:3], kd_head[:3]) + binary(t[3:], kd_head[3:]))


def ours(name, x):
    """The objective with the case's weights in its heads, and these weights."""
    loss = DHOLoss(LAM, ETA)
    head, projector = LinearHead(D, CLASSES), Projector(D, D_T)
    head.weight, head.bias = (torch.nn.Parameter(x[key].detach()) for key in ("head", "bias"))
    projector.weight, projector.bias = (
        torch.nn.Parameter(x[key].detach()) for key in ("projection", "projection_bias")
    )
    classifier = TextClassifier(D, D_T, CLASSES)
    classifier.project = projector
    objective = {
        "kd": KD(loss),
        "kd_both": KD(loss, labelled=True),
        "ce_kd": CEKD(loss),
        "ce_kd_unlabeled": CEKD(loss, labelled=False),
        "kd_feature": KDFeature(classifier),
        "kd_feature_both": KDFeature(classifier, labelled=True),
        "ce_kd_feature": CEKDFeature(projector, loss, 70.0),
        "sskd": SSKD(head, loss),
        "dhkd": DHKD(head, loss),
    }[name]
    return objective, {
        "head": head.weight,
        "bias": head.bias,
        "projection": projector.weight,
        "projection_bias": projector.bias,
    }


NAMES = (
    *("kd", "kd_both", "ce_kd", "ce_kd_unlabeled", "kd_feature", "kd_feature_both", "ce_kd_feature", "sskd", "dhkd"),
)


def output_of(case, x):
    logits = x["features"] @ x["method"].T
    return MethodOutput(x["features"], logits[:3], {"loss_scl": case.extra.float()}, logits[3:])


@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient(name):
    case = Case()
    wanted_at, at = case.leaves(torch.float64), case.leaves(torch.float32)
    wanted = by_hand(name, case, wanted_at)
    gradients = torch.autograd.grad(wanted, list(wanted_at.values()), allow_unused=True)
    objective, weights = ours(name, at)
    terms = objective(output_of(case, at), LABELS, case.teacher.float(), case.teacher_features.float())
    assert terms.total.item() == pytest.approx(wanted.item(), rel=1e-5)
    terms.total.backward()
    for key, gradient in zip(wanted_at, gradients):
        mine = weights.get(key, at[key]).grad
        zero = torch.zeros_like(wanted_at[key])
        mine, gradient = zero if mine is None else mine.double(), zero if gradient is None else gradient
        assert (mine - gradient).norm() <= 2e-5 * gradient.norm() + 1e-9, key


def test_no_gradient_reaches_the_teacher():
    case = Case()
    for name in NAMES:
        at = case.leaves(torch.float32)
        taught = [case.teacher.float().requires_grad_(), case.teacher_features.float().requires_grad_()]
        terms = ours(name, at)[0](output_of(case, at), LABELS, *taught)
        terms.total.backward()
        assert all(value.grad is None for value in taught), name


def test_projection_takes_the_conflict_away_from_the_student_alone():
    case = Case()
    grads = {}
    for gradient in ("as_is", "project"):
        x = case.leaves(torch.float32)
        objective, weights = ours("dhkd", x)
        features = 1.0 * x["features"]  # as of a student: not a leaf
        logits = features @ x["method"].T
        output = MethodOutput(features, logits[:3], {}, None)
        objective.gradient = gradient
        terms = objective(output, LABELS, case.teacher.float())
        terms.total.backward()
        grads[gradient] = terms.total.item(), x["features"].grad.double(), weights["head"].grad, x["method"].grad
    x = case.leaves(torch.float64)
    ce = cross_entropy((x["features"] @ x["method"].T)[:3])
    kd_head = x["features"] @ x["head"].T + x["bias"]
    kd = binary(case.teacher[:3], kd_head[:3]) + binary(case.teacher[3:], kd_head[3:])
    of_ce, of_kd = (torch.autograd.grad(loss, x["features"], retain_graph=True)[0] for loss in (ce, kd))
    inner = (of_ce * of_kd).sum()
    assert inner < 0, "the case must hold a conflict"
    wanted = LAM * of_ce + (1 - LAM) * (of_kd - inner / of_ce.pow(2).sum() * of_ce)
    assert (grads["project"][1] - wanted).norm() <= 2e-5 * wanted.norm()
    assert (grads["project"][1] - grads["as_is"][1]).norm() > 0.01 * wanted.norm()
    assert grads["project"][0] == pytest.approx(grads["as_is"][0], rel=1e-6)
    for number in (2, 3):  # the heads learn as before
        torch.testing.assert_close(grads["project"][number], grads["as_is"][number])


def test_gradients_that_agree_are_left_alone():
    gradient, other = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.5])
    assert without_conflict(gradient, other).equal(gradient)
    assert without_conflict(gradient, -other).tolist() == pytest.approx([1 - 1.6, 2 - 0.8])


def test_divergences_vanish_where_student_and_teacher_agree_and_without_images():
    logits = torch.tensor([[30.0, -30.0, 2.0]])
    assert binary_divergence(logits, logits).item() == pytest.approx(0, abs=1e-6)
    assert binary_divergence(logits[:0], logits[:0]).item() == 0
    assert binary_divergence(logits + 500, logits).isfinite()
    assert feature_distance(logits, 7 * logits, 5.0).item() == pytest.approx(0, abs=1e-9)
    assert feature_distance(logits[:0], logits[:0]).item() == 0
    # opposite directions: 2 d (1/d) |2|^2 = 8, whatever d is
    assert feature_distance(logits, -logits).item() == pytest.approx(8, rel=1e-5)
    with pytest.raises(ValueError, match="must end in the teacher's feature size"):
        feature_distance(logits, torch.zeros(1, 4))


def test_what_predicts():
    """Single heads and the first of two heads predict; the second is recorded; features are classified by texts."""
    case = Case()
    x = case.leaves(torch.float32)
    method_logits = x["features"] @ x["method"].T
    for name, heads in (("kd", ["ce"]), ("ce_kd", ["ce"]), ("sskd", ["ce", "kd"]), ("dhkd", ["ce", "kd"])):
        objective, _ = ours(name, x)
        logits = objective.logits(x["features"], method_logits)
        assert list(objective.predict(logits).scores) == heads and logits["ce"] is method_logits
        assert objective.mix is None and not objective.searches

    objective, weights = ours("kd_feature", x)
    text = torch.nn.functional.normalize(torch.randn(CLASSES, D_T, generator=torch.Generator().manual_seed(1)), dim=1)
    objective.align(type("Teacher", (), {"text_features": text, "zeta": 0.05})())
    logits = objective.logits(x["features"], method_logits)
    projected = case.features @ case.projection.T + case.projection_bias
    wanted = projected / projected.norm(dim=1, keepdim=True) @ text.double().T / 0.05
    assert list(logits) == ["kd"]
    torch.testing.assert_close(logits["kd"].double(), wanted, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="classifies by the teacher's class text features"):
        objective.align(object())


def test_a_second_head_that_predicts_nothing_can_be_left_out(capsys):
    case = Case()
    x = case.leaves(torch.float32)
    objective, _ = ours("sskd", x)
    objective.leave_out("kd_head", ValueError("no rows"))
    assert list(objective.logits(x["features"], x["features"])) == ["ce"]
    assert "no rows" in capsys.readouterr().out
    objective.use_all_heads()
    assert list(objective.logits(x["features"], x["features"])) == ["ce", "kd"]


def test_logits_of_unlabelled_images_must_be_there():
    case = Case()
    x = case.leaves(torch.float32)
    output = output_of(case, x)._replace(unlabelled_logits=None)
    with pytest.raises(ValueError, match="all_logits"):
        ours("ce_kd", x)[0](output, LABELS, case.teacher.float())
