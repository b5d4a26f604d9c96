"""What a run predicts, reports and chooses, recomputed from its checkpoints and the image files (Eq. 11)."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch

import by_hand
import methods_by_hand as hand
from dho_prompt.train import main
from methods_by_hand import VPT, CoOp, LinearProbe, Objective, PromptSRC
from tests_support import CLASSES, MEAN, STD, write_images
from trainer_contract import build

ALPHA, BETA = 0.3, 0.7
FEWER = [1, 2, 4]  # the classes of the rendition set
EPOCHS = 4
SETTINGS = {
    "OPTIM.MAX_EPOCH": EPOCHS, "OPTIM.WARMUP_EPOCH": -1, "OPTIM.LR": 0.1, "DATASET.NUM_SHOTS": 4,
    "INPUT.INTERPOLATION": "bicubic", "TRAIN.COUNT_ITER": "train_x", "TRAINER.DHO.TEACHER.TEMPLATES": hand.TEMPLATES,
    "TRAINER.DHO.ALPHA": ALPHA, "TRAINER.DHO.BETA": BETA, "TRAINER.DHO.HEAD_LR": 0.002,
}  # fmt: skip
METHODS = {
    "CoOp": (CoOp(), "cosine"),
    "PromptSRC": (PromptSRC(), "linear"),
    "VPT": (VPT("cosine"), "cosine"),
    "LinearProbe": (LinearProbe("linear"), "linear"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """ImageNet with a rendition set of three classes, and a folder of one's own with validation images."""
    root, draw = tmp_path_factory.mktemp("data"), np.random.default_rng(4)
    for label, wnid in enumerate(CLASSES):
        for part, count in (("imagenet/images/train", 8), ("imagenet/images/val", 30), ("own/train", 8),
                            ("own/val", 7), ("own/test", 6)):  # fmt: skip
            write_images(root / part / wnid, label, count, draw, cast=120)
        if label in FEWER:
            write_images(root / "imagenet-rendition" / "imagenet-r" / wnid, label, 30, draw, cast=120)
    for folder in ("imagenet", "own"):
        (root / folder / "classnames.txt").write_text("".join(f"{wnid} {name}\n" for wnid, name in CLASSES.items()))
    return root


@pytest.fixture
def arguments(train_args, clip_folders, root):
    def make(method, head, output=None, **more):
        options = {**SETTINGS, "MODEL.BACKBONE.NAME": clip_folders[0], "TRAINER.DHO.TEACHER.NAME": clip_folders[1]}
        options.update({f"TRAINER.{key}": value for key, value in method.options.items()})
        options.update({"TRAINER.DHO.HEAD": head, **more})
        words = train_args(f"{method.name}DHO", *(word for pair in options.items() for word in pair), output=output)
        return ["--root", str(root), *words[2:]]

    return make


class Trained:
    """The two heads of a finished run, by hand."""

    def __init__(self, run, method, head, clips):
        self.method, self.clip = method, clips[0]
        self.objective = Objective(0.5, 2.0, clips[1].zeta, head=head)
        self.weights = {
            f"{path.parent.name}/{key}": value.double()
            for path in run.glob(f"*/model.pth.tar-{EPOCHS}")
            for key, value in torch.load(path, weights_only=True)["state_dict"].items()
        }

    @torch.no_grad()
    def logits(self, files):
        """Of the CE head and of the KD head, and the labels that the folders of the files say."""
        images = torch.stack([by_hand.view(file, self.clip.size, MEAN, STD) for file in files])
        features = self.method.features(self.clip, self.weights, images)
        ce = self.method.logits(self.clip, self.weights, features)
        kd = hand.kd_logits(self.objective, self.weights, features)
        return ce, kd, [list(CLASSES).index(file.parent.name) for file in files]


def images(folder):
    return sorted(folder.rglob("*.JPEG"))


def read(path):
    return json.loads(path.read_text())


def reported(ce, kd, labels, alpha=ALPHA, beta=BETA):
    """Accuracy and calibration error of the mix and of each head."""
    rows = {"blend": by_hand.mix(ce, kd, alpha, beta), "ce": by_hand.softmax(ce), "kd": by_hand.softmax(kd)}
    accuracy = {head: by_hand.percent_right(row, labels) for head, row in rows.items()}
    return accuracy, {head: by_hand.calibration_error(row, labels) for head, row in rows.items()}


def check_report(report, name, ce, kd, labels, mix=(ALPHA, BETA), searched=False):
    """What a file says of one test set, and that it says something: other mixes have other errors.

    Beside a searched mix stands that of the configuration.
    """
    accuracy, error = reported(ce, kd, labels, *mix)
    if searched:
        fixed = [found["blend"] for found in reported(ce, kd, labels)]
        accuracy, error = {**accuracy, "fixed": fixed[0]}, {**error, "fixed": fixed[1]}
    assert report["accuracy"][name] == pytest.approx({**accuracy, "images": len(labels)})
    assert report["ece"][name] == pytest.approx(error, abs=1e-3)
    for other in ((1 - mix[0], mix[1]), (0.5, mix[1]), (mix[0], 1.0), (mix[0], 1 / mix[1])):
        assert abs(reported(ce, kd, labels, *other)[1]["blend"] - error["blend"]) > 0.01


def within(rows, labels):
    """Labels of all classes as labels among ``rows`` alone."""
    return [rows.index(label) for label in labels]


@pytest.mark.parametrize("name", METHODS)
def test_accuracies_and_errors_of_the_mix_and_of_each_head(arguments, root, clips, tmp_path, name):
    """On a set of fewer classes these are gathered before each softmax; the files alone say it without the teacher."""
    method, head = METHODS[name]
    shifted = {"TEST.SHIFTED_SETS": "('ImageNetR',)"}
    main(arguments(method, head, **shifted))
    run = tmp_path / "run"
    trained = Trained(run, method, head, clips)
    if head == "cosine":
        assert trained.weights["kd_head/zeta"] == pytest.approx(clips[1].zeta)
    flags = ["--eval-only", "--model-dir", str(run), "--load-epoch", str(EPOCHS)]
    absent = {**shifted, "TRAINER.DHO.TEACHER.NAME": "/absent"}
    main(flags + arguments(method, head, tmp_path / "again", **absent))
    main(flags + arguments(method, head, tmp_path / "every", **absent, **{"TEST.ALL_CLASSES": True}))

    whole = trained.logits(images(root / "imagenet/images/val"))
    ce, kd, labels = trained.logits(images(root / "imagenet-rendition"))
    part = (ce[:, FEWER], kd[:, FEWER], within(FEWER, labels))
    late = by_hand.mix(ce, kd, ALPHA, BETA)[:, FEWER]  # gathered behind the softmax: another mix
    error = by_hand.calibration_error(late / late.sum(1, keepdim=True), part[2])
    assert abs(error - reported(*part)[1]["blend"]) > 0.01
    for file in (run / "results.json", tmp_path / "again" / "evaluation.json"):
        check_report(read(file), "test", *whole)
        check_report(read(file), "ImageNetR", *part)
        assert (read(file)["mix"]["alpha"], read(file)["mix"]["beta"]) == (ALPHA, BETA)
    check_report(read(tmp_path / "every" / "evaluation.json"), "ImageNetR", ce, kd, labels)


def test_a_second_test_says_the_same(arguments, tmp_path):
    """The classes of a shifted set are forgotten behind it."""
    shifted = {"TEST.SHIFTED_SETS": "('ImageNetR',)"}
    main(arguments(*METHODS["LinearProbe"], **shifted))
    trainer = build(arguments(*METHODS["LinearProbe"], tmp_path / "again", **shifted))
    trainer.load_model(str(tmp_path / "run"), epoch=EPOCHS)
    accuracies = [trainer.test()]
    report = read(tmp_path / "again" / "evaluation.json")
    accuracies.append(trainer.test())
    assert accuracies[0] == accuracies[1] and read(tmp_path / "again" / "evaluation.json") == report
    assert report["accuracy"] == read(tmp_path / "run" / "results.json")["accuracy"]


@pytest.mark.parametrize("alpha, head", [(0.0, "kd"), (1.0, "ce")])
def test_the_limits_are_the_single_heads(arguments, tmp_path, alpha, head):
    main(arguments(*METHODS["VPT"], **{"TRAINER.DHO.ALPHA": alpha, "OPTIM.MAX_EPOCH": 1, "TRAINER.DHO.BETA": 1.0}))
    report = read(tmp_path / "run" / "results.json")
    for measure in ("accuracy", "ece"):
        assert report[measure]["test"]["blend"] == pytest.approx(report[measure]["test"][head])
        assert report[measure]["test"]["blend"] != report[measure]["test"]["ce" if head == "kd" else "kd"]


def validation_files(folder, most, seed):
    """All validation images, or ``most`` of each class: those whose seeded hash of the name is least."""
    chosen = []
    for wnid in CLASSES:
        rank = lambda file: hashlib.sha256(f"{seed}/{file.relative_to(folder).as_posix()}".encode()).digest()  # noqa: E731
        chosen += sorted(images(folder / "val" / wnid), key=rank)[: most if most > 0 else None]
    return chosen


@pytest.mark.parametrize(
    "name, most, rate, by",
    [("CoOp", -1, 0.3, "likelihood"), ("LinearProbe", 4, 0.3, "accuracy"), ("VPT", 2, 0.1, "likelihood")],
)
def test_alpha_and_beta_are_searched_on_validation_images_alone(arguments, root, clips, tmp_path, name, most, rate, by):
    """The test images are taken away before training: the search is done when the test comes and fails."""
    own = shutil.copytree(root / "own", tmp_path / "own")
    method, head = METHODS[name]
    options = {"DATASET.NAME": "ImageFolder", "DATASET.NUM_SHOTS": 6, "DATASET.VAL_SHOTS": most, "OPTIM.LR": rate}
    options["TRAINER.DHO.SEARCH_BY"] = by
    trainer = build(arguments(method, head, **options, **{"DATASET.FOLDER": own}))
    shutil.rmtree(own / "test")
    with pytest.raises(OSError, match="test/n"):
        trainer.train()

    trained, files = Trained(tmp_path / "run", method, head, clips), validation_files(own, most, seed=1)
    assert len(files) == {-1: 35, 4: 20, 2: 10}[most]
    found, *mix = by_hand.search(*trained.logits(files), by=by, fixed=(ALPHA, BETA))
    chosen = read(tmp_path / "run" / "mix.json")
    assert [chosen["alpha"], chosen["beta"]] == mix
    assert chosen["chosen"] == f"searched on {len(files)} validation images by {by}: {found:.2f}%"
    others = [files[: len(files) // 2], images(own / "val")[::2]]
    assert any(list(by_hand.search(*trained.logits(some), by=by)[1:]) != mix for some in others)  # images matter
    other = {"likelihood": "accuracy", "accuracy": "likelihood"}[by]
    assert list(by_hand.search(*trained.logits(files), by=other)[1:]) != mix


def test_a_searched_mix_is_what_the_test_set_meets(arguments, root, clips, tmp_path):
    method, head = METHODS["LinearProbe"]
    options = {"DATASET.NAME": "ImageFolder", "DATASET.NUM_SHOTS": 6, "TRAINER.DHO.SEARCH": "on", "OPTIM.LR": 0.3}
    main(arguments(method, head, **options, **{"DATASET.FOLDER": root / "own"}))
    mix = read(tmp_path / "run" / "mix.json")
    logits = Trained(tmp_path / "run", method, head, clips).logits(images(root / "own" / "test"))
    check_report(read(tmp_path / "run" / "results.json"), "test", *logits, (mix["alpha"], mix["beta"]), True)
    assert (mix["alpha"], mix["beta"]) != (ALPHA, BETA)
