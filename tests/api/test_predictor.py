"""A run's predictions are, bit for bit, those that its evaluation counts, without its data; and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from dho_prompt import Predictions, Predictor, fit
from dho_prompt.evaluate import main as evaluate
from dho_prompt.predict import as_json, table
from dho_prompt.predict import main as predict
from dho_prompt.runs.evaluation import Evaluation
from dho_prompt.train import main as train
from dho_prompt.training.trained_run import deployed_epoch, finished_cfg
from own_images import CLASSES, quick, write_own_folder

NODES = {"coop": "COOP", "promptsrc": "PROMPTSRC", "vpt": "VPT", "linear_probe": "LINEAR_PROBE", "finetune": "FINETUNE"}
MORE = {
    "coop": {"TRAINER.COOP.N_CTX": 3, "TRAINER.COOP.CSC": True},
    "promptsrc": {"TRAINER.PROMPTSRC.N_CTX_TEXT": 2, "TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT": 2,
                  "TRAINER.PROMPTSRC.N_CTX_VISION": 2, "TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION": 2},
    "vpt": {"TRAINER.VPT.N_CTX_VISION": 2, "TRAINER.VPT.PROMPT_DEPTH_VISION": 2},
    "linear_probe": {"TRAINER.DHO.HEAD": "nonlinear", "TRAINER.DHO.HEAD_DROPOUT": 0.5},
    "finetune": {"TRAINER.FINETUNE.HEAD": "nonlinear", "TRAINER.DHO.HEAD_INIT": "language",
                 "TRAINER.DHO.HEAD_DROPOUT": 0.4, "MODEL.BACKBONE.WEIGHTS": ""},
    "tip_adapter": {"TRAINER.TIP_ADAPTER.PREC": "fp32", "TRAINER.TIP_ADAPTER.ALPHA": 900,
                    "TRAINER.TIP_ADAPTER.PASSES": 2},
    "zeroshot": {"TRAINER.ZEROSHOT.PREC": "fp32"},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_own_folder(tmp_path_factory.mktemp("own") / "insects")


def held_out(folder):
    """The test images in the order in which they are evaluated."""
    return [path for name in CLASSES for path in sorted((folder / "test" / name).iterdir())]


@pytest.fixture
def trained(student_clip, teacher_clip, tmp_path):
    def make(folder, method, dho=True, precision="fp32", output="run", **more):
        own = {f"TRAINER.{NODES[method]}.PREC": precision} if method in NODES and method != "finetune" else {}
        settings = quick(student_clip, teacher_clip, **{**own, **MORE[method], **more})
        return fit(folder, method, 3, tmp_path / output, dho=dho, settings=settings, progress=False)

    return make


@pytest.fixture
def counted(monkeypatch):
    """What evaluations count from now on: predictions by batch."""
    found, add = [], Evaluation.add

    def noting(self, logits, labels, objective_predict):
        def noted(values):
            found.append(objective_predict(values))
            return found[-1]

        return add(self, logits, labels, noted)

    monkeypatch.setattr(Evaluation, "add", noting)
    return found


CASES = [(method, True) for method in MORE] + [(method, False) for method in NODES]


@pytest.mark.parametrize(("method", "dho"), CASES, ids=lambda value: {True: "dho", False: "plain"}.get(value, value))
def test_predictions_are_those_of_the_evaluation_to_the_last_bit(
    trained, folder, counted, tmp_path, method, dho, capsys
):
    own = shutil.copytree(folder, tmp_path / "own")
    run = trained(own, method, dho)
    counted.clear()
    evaluate([str(run.folder)])
    images = [path.rename(tmp_path / f"{number}.png") for number, path in enumerate(held_out(own))]
    shutil.rmtree(own)  # predicting takes no data set
    capsys.readouterr()
    state = torch.get_rng_state()
    predictor = Predictor.from_run(run.folder)
    found = predictor.predict(images)
    assert capsys.readouterr().out == "" and torch.equal(torch.get_rng_state(), state)
    heads = ["blend", "fixed", "ce", "kd"] if dho and method in NODES else ["ce"]
    assert list(found.probabilities) == heads and len(counted) == 4
    for head in heads:
        wanted = torch.cat([batch.probabilities[head] for batch in counted])
        assert wanted.shape == (15, 3) and torch.equal(found.probabilities[head], wanted), head
        assert len(wanted.unique()) > 15
    labels = torch.cat([next(iter(batch.scores.values())).argmax(-1) for batch in counted])
    assert torch.equal(found.labels, labels) and found.names == [CLASSES[label] for label in labels]
    right = 100 * (labels == torch.arange(15) // 5).double().mean().item()
    assert run.accuracy["test"][heads[0]] == pytest.approx(right)
    assert predictor.classnames == list(CLASSES) and predictor.mix == run.results.get("mix")
    if method == "tip_adapter":
        searched, cache = run.results["cache"], predictor._trainer.model.cache
        assert (cache.alpha.item(), cache.beta.item()) == (searched["alpha"], searched["beta"]) and searched[
            "alpha"
        ] < 99
    if len(heads) > 1:
        mix = predictor.mix
        kd = found.probabilities["kd"].double() ** (1 / mix["beta"])
        mixed = mix["alpha"] * found.probabilities["ce"] + (1 - mix["alpha"]) * kd / kd.sum(1, keepdim=True)
        torch.testing.assert_close(found.probabilities["blend"].double(), mixed.double(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["amp", "bf16"])
def test_in_the_precision_and_at_the_epoch_that_were_tested(trained, folder, counted, precision):
    run = trained(folder, "coop", precision=precision, **{"TEST.FINAL_MODEL": "best_val", "OPTIM.MAX_EPOCH": 4})
    counted.clear()
    evaluate([str(run.folder)])
    found = Predictor.from_run(run.folder).predict(held_out(folder))
    assert torch.equal(found.probabilities["blend"], torch.cat([batch.probabilities["blend"] for batch in counted]))
    cfg = finished_cfg(run.folder)
    assert deployed_epoch(cfg) is None  # the best one
    cfg.TEST.FINAL_MODEL = "last_step"
    assert deployed_epoch(cfg) == 4


@pytest.fixture(scope="module")
def run(folder, student_clip, teacher_clip, tmp_path_factory):
    settings = quick(student_clip, teacher_clip, **{"TRAINER.COOP.N_CTX": 2, "TRAINER.COOP.PREC": "fp32"})
    output = tmp_path_factory.mktemp("run") / "coop"
    return fit(folder, "coop", 3, output, settings=settings, progress=False).folder


def test_paths_texts_and_images_in_memory(run, folder, tmp_path):
    with pytest.warns(UserWarning, match="student.* has no checksums") as noted:
        predictor = Predictor.from_run(run, "cpu")
    assert noted[0].filename == __file__
    paths = held_out(folder)[3:6]
    wanted = predictor.predict(paths, batch_size=2)
    assert wanted.images == [str(path) for path in paths]
    opened = [Image.open(paths[0]), str(paths[1]), Image.open(paths[2]).copy()]
    found = predictor.predict(opened, batch_size=2)
    assert torch.equal(found.probabilities["kd"], wanted.probabilities["kd"])
    assert found.images == [str(paths[0]), str(paths[1]), "image 2"]
    one = predictor.predict(paths[0])
    assert one.images == [str(paths[0])] and one.probabilities["blend"].shape == (1, 3)
    torch.testing.assert_close(one.probabilities["ce"][0], wanted.probabilities["ce"][0])
    deep = np.asarray(Image.open(paths[0]).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    grey = Image.open(paths[0]).convert("L")
    both = predictor.predict([tmp_path / "deep.png", grey, Image.open(tmp_path / "deep.png")])
    assert torch.equal(both.labels, both.labels[:1].repeat(3))
    torch.testing.assert_close(both.probabilities["ce"], both.probabilities["ce"][:1].repeat(3, 1))


def test_images_that_are_none_are_named(run, folder, tmp_path):
    predictor, good = Predictor.from_run(run), held_out(folder)[0]
    (tmp_path / "notes.jpg").write_text("no image")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:900])
    (tmp_path / "empty.png").touch()
    for name in ("notes.jpg", "cut.png", "empty.png"):
        with pytest.raises(OSError, match=f"cannot read the image .*{name}: ") as caught:
            predictor.predict([good, tmp_path / name])
        assert "data set" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="there is no image .*absent.png"):
        predictor.predict([tmp_path / "absent.png"])
    with pytest.raises(IsADirectoryError, match="is a folder; give its images"):
        predictor.predict([tmp_path])
    with pytest.raises(ValueError, match="there is no image to predict"):
        predictor.predict([])
    with pytest.raises(ValueError, match="not a ndarray; Image.fromarray"):
        predictor.predict([np.zeros((4, 4, 3), np.uint8)])
    with pytest.raises(ValueError, match="batch_size is -1"):
        predictor.predict([good], batch_size=-1)


def test_a_diverged_run_and_its_own_number_of_threads(run, folder, monkeypatch):
    predictor, image = Predictor.from_run(run), held_out(folder)[0]
    trainer, threads = predictor._trainer, []
    logits_of = trainer.predict

    def noting(images):
        threads.append(torch.get_num_threads())
        return logits_of(images)

    monkeypatch.setattr(trainer, "predict", noting)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    predictor.predict(image)
    assert threads == [1] and torch.get_num_threads() == 3  # TORCH_THREADS of the run
    torch.set_num_threads(before)
    with torch.no_grad():
        trainer.objective.head.weight[1] = float("nan")
    with pytest.raises(FloatingPointError, match="the kd head's logits are infinite or not numbers"):
        predictor.predict(image)


def test_what_is_no_finished_run_is_named(run, tmp_path, train_args):
    with pytest.raises(FileNotFoundError, match="no folder .*absent"):
        Predictor.from_run(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="has no config.json, so it is no finished run"):
        Predictor.from_run(tmp_path)
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(copy / "kd_head")
    with pytest.raises(FileNotFoundError, match="kd_head"):
        Predictor.from_run(copy)
    shutil.rmtree(copy / "prompt_learner")
    with pytest.raises(FileNotFoundError, match="has no checkpoint model.pth.tar-2, with which it was tested"):
        Predictor.from_run(copy)
    (copy / "results.json").unlink()
    with pytest.raises(FileNotFoundError, match="has no results.json.*its training command makes it or resumes it"):
        Predictor.from_run(copy)
    train(train_args("ZeroshotCLIP", output=tmp_path / "zero"))
    for name, edit, said in (
        ("results.json", lambda content: content.pop("classnames"), "does not say which classes"),
        ("config.json", lambda content: content["TRAINER"].update(NAME="CoCoOp"), "is a run of CoCoOp"),
    ):
        content = json.loads((tmp_path / "zero" / name).read_text())
        del content["sha256"]
        edit(content)
        (tmp_path / "zero" / name).write_text(json.dumps(content))
        with pytest.raises(ValueError, match=said):
            Predictor.from_run(tmp_path / "zero")


def test_the_command_prints_a_table_or_json(run, folder, capsys):
    images = [str(path) for path in held_out(folder)[4:6]]
    found = Predictor.from_run(run).predict(images)
    predict([str(run), *images])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[0].split() == ["image", "class", "blend", "fixed", "ce", "kd"]
    most = 100 * found.probabilities["kd"][1].max().item()
    assert lines[3].startswith(images[1]) and lines[3].endswith(f" {most:.1f}%") and found.names[1] in lines[3]
    predict([str(run), "--json", "--batch-size", "1", *images])
    told = json.loads(capsys.readouterr().out)
    assert told["classes"] == list(CLASSES) and told["mix"]["chosen"].startswith("searched")
    assert [image["image"] for image in told["images"]] == images
    assert [image["class"] for image in told["images"]] == found.names
    assert [image["label"] for image in told["images"]] == found.labels.tolist()
    for number, image in enumerate(told["images"]):
        assert image["probabilities"]["ce"] == pytest.approx(found.probabilities["ce"][number].tolist(), abs=1e-5)
    for words in ([str(run), "absent.png"], [str(folder), images[0]]):
        with pytest.raises(SystemExit) as caught:
            predict(words)
        assert str(caught.value.code).startswith("dho_prompt: error: ")


def test_each_line_is_of_its_own_image():
    rows = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    found = Predictions(["a", "b"], list(CLASSES), torch.tensor([0, 2]), {"blend": rows, "ce": rows.roll(1, 1)})
    assert [line.split() for line in table(found).splitlines()[2:]] == [
        ["a", "bee", "bee", "70.0%", "great", "tit", "70.0%"],
        ["b", "wasp", "wasp", "60.0%", "bee", "60.0%"],
    ]
    first, second = as_json(found, None)["images"]
    assert (first["label"], first["class"], second["label"], second["class"]) == (0, "bee", 2, "wasp")
    assert second["probabilities"]["ce"] == pytest.approx([0.6, 0.1, 0.3])
