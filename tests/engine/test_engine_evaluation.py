"""The printed result, byte for byte, and the numbers behind it."""

from collections import OrderedDict

import pytest
import torch

from dho_prompt import engine
from dho_prompt.engine.embedded.meters import LateNumbers, MetricMeter

LABELS = torch.tensor([0, 0, 0, 1, 1, 3, 3, 3])
PREDICTIONS = torch.tensor([0, 0, 1, 1, 2, 3, 3, 0])


def evaluated(cfg, labels=LABELS, predictions=PREDICTIONS):
    evaluator = engine.build_evaluator(cfg, lab2cname={0: "cat", 1: "dog", 2: "cow", 3: "old owl"})
    evaluator.process(torch.zeros(1, 4), torch.tensor([0]))
    evaluator.reset()
    scores = torch.nn.functional.one_hot(predictions, 4).float()
    evaluator.process(scores[:5], labels[:5])
    evaluator.process(scores[5:], labels[5:])
    return evaluator.evaluate()


def test_result_lines_and_values(make_cfg, capsys):
    results = evaluated(make_cfg())
    # F1: class 0 4/6, class 1 2/4, class 3 4/5; class 2 has no image and does not count
    f1 = 100 * (4 / 6 + 2 / 4 + 4 / 5) / 3
    assert capsys.readouterr().out == (
        f"=> result\n* total: 8\n* correct: 5\n* accuracy: 62.5%\n* error: 37.5%\n* macro_f1: {f1:.1f}%\n"
    )
    assert list(results) == ["accuracy", "error_rate", "macro_f1"]
    assert list(results.values()) == pytest.approx([62.5, 37.5, f1], rel=1e-12)


def test_thousands_have_a_comma(make_cfg, capsys):
    labels = torch.zeros(1234, dtype=torch.long)
    evaluated(make_cfg(), labels, labels)
    assert "* total: 1,234\n* correct: 1,234\n* accuracy: 100.0%\n" in capsys.readouterr().out


def test_per_class_lines(make_cfg, capsys):
    results = evaluated(make_cfg(TEST__PER_CLASS_RESULT=True))
    assert capsys.readouterr().out.split("=> per-class result\n")[1] == (
        "* class: 0 (cat)\ttotal: 3\tcorrect: 2\tacc: 66.7%\n"
        "* class: 1 (dog)\ttotal: 2\tcorrect: 1\tacc: 50.0%\n"
        "* class: 3 (old owl)\ttotal: 3\tcorrect: 2\tacc: 66.7%\n"
        "* average: 61.1%\n"
    )
    assert results["perclass_accuracy"] == pytest.approx(100 * (2 / 3 + 1 / 2 + 2 / 3) / 3)
    with pytest.raises((ValueError, AssertionError)):
        engine.build_evaluator(make_cfg(TEST__PER_CLASS_RESULT=True))


def test_f1_counts_the_classes_that_have_images(make_cfg):
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (500,), generator=draw)
    predictions = torch.randint(0, 4, (500,), generator=draw)
    pairs = list(zip(labels.tolist(), predictions.tolist()))
    each = []
    for label in range(3):
        hit = sum(true == guess == label for true, guess in pairs)
        each.append(2 * hit / (sum(true == label for true, _ in pairs) + sum(guess == label for _, guess in pairs)))
    assert evaluated(make_cfg(), labels, predictions)["macro_f1"] == pytest.approx(100 * sum(each) / 3, rel=1e-14)


@pytest.mark.skipif(engine.ENGINE == "dassl", reason="Dassl passes scikit-learn's warnings on")
@pytest.mark.parametrize("images, classes", [(30, 25), (5, 1)])
def test_many_classes_or_a_single_one_among_few_images_are_no_warning(make_cfg, tmp_path, recwarn, images, classes):
    (tmp_path / "run").mkdir()
    evaluator = engine.build_evaluator(make_cfg(TEST__COMPUTE_CMAT=True, TEST__PER_CLASS_RESULT=True), lab2cname={})
    labels = torch.arange(images) % classes
    evaluator.process(torch.nn.functional.one_hot(labels, classes).float(), labels)
    assert evaluator.evaluate()["perclass_accuracy"] == 100
    assert torch.equal(torch.load(tmp_path / "run" / "cmat.pt", weights_only=True), torch.eye(classes).double())
    assert not recwarn.list


def test_confusion_matrix(make_cfg, tmp_path):
    (tmp_path / "run").mkdir()
    evaluated(make_cfg(TEST__COMPUTE_CMAT=True))
    ours = engine.ENGINE == "embedded"  # Dassl pickles a NumPy array
    matrix = torch.as_tensor(torch.load(tmp_path / "run" / "cmat.pt", weights_only=ours))
    expected = [[2 / 3, 1 / 3, 0, 0], [0, 1 / 2, 1 / 2, 0], [0, 0, 0, 0], [1 / 3, 0, 0, 2 / 3]]
    torch.testing.assert_close(matrix, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.skipif(engine.ENGINE == "dassl", reason="Dassl asks scikit-learn itself")
@pytest.mark.parametrize("seed", range(4))
def test_numbers_are_those_of_scikit_learn(make_cfg, tmp_path, seed):
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

    (tmp_path / "run").mkdir()
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (40,), generator=draw) * 2 % 5
    predictions = torch.where(torch.rand(40, generator=draw) < 0.6, labels, torch.randint(0, 4, (40,), generator=draw))
    evaluator = engine.build_evaluator(make_cfg(TEST__COMPUTE_CMAT=True), lab2cname={})
    evaluator.process(torch.nn.functional.one_hot(predictions, 5).float(), labels)
    results = evaluator.evaluate()
    assert results["accuracy"] == 100 * accuracy_score(labels, predictions)
    wanted = f1_score(labels, predictions, labels=labels.unique(), average="macro", zero_division=0)
    assert results["macro_f1"] == pytest.approx(100 * wanted, rel=1e-14)
    matrix = torch.load(tmp_path / "run" / "cmat.pt", weights_only=True)
    assert torch.equal(matrix, torch.from_numpy(confusion_matrix(labels, predictions, normalize="true")))


def test_nothing_to_evaluate(make_cfg):
    evaluator = engine.build_evaluator(make_cfg(), lab2cname={})
    with pytest.raises((ValueError, ZeroDivisionError)) as error:
        evaluator.evaluate()
    if engine.ENGINE == "embedded":
        assert "the test set gave no batch" in str(error.value)


def test_topk_accuracy():
    scores = torch.tensor([[0.1, 0.5, 0.4], [0.6, 0.3, 0.1], [0.2, 0.3, 0.5], [0.5, 0.3, 0.2]])
    top1, top2 = engine.compute_accuracy(scores, torch.tensor([1, 1, 0, 0]), topk=(1, 2))
    assert top1.tolist() == [50.0]
    assert top2.tolist() == [75.0]


def test_meters():
    meter = MetricMeter()
    meter.update(OrderedDict(loss=torch.tensor(2.0), acc=50.0))
    meter.update({"loss": 1.0, "acc": 100.0})
    meter.update(None)
    assert str(meter) == "loss 1.0000 (1.5000) acc 100.0000 (75.0000)"
    with pytest.raises(TypeError):
        meter.update([1.0])


def test_late_numbers_are_read_together_and_forgotten():
    late = LateNumbers()
    reports = [{"loss": torch.tensor(1.1), "acc": 50.0}, None, {"loss": torch.tensor(0.3), "other": torch.tensor([7])}]
    for step, values in enumerate(reports):
        late.add(step + 4, values)
    assert not late.late
    read = late.read()
    assert [step for step, _ in read] == [4, 5, 6] and read[1][1] is None
    assert read[0][1] == {"loss": torch.tensor(1.1).item(), "acc": 50.0}
    assert read[2][1] == {"loss": torch.tensor(0.3).item(), "other": 7.0}
    assert late.read() == []
    late.add(0, {"loss": torch.empty((), device="meta")})
    assert late.late
