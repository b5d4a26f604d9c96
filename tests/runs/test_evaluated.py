"""A head of five classes on sets of two: in the training process, from its files, in another order, or refused."""

import json

import pytest
import torch

from dho_prompt.data.classes import Classes
from dho_prompt.data.datasets import ImageNet
from dho_prompt.engine import DATASET_REGISTRY, DatasetBase, Datum, register_if_absent, set_random_seed
from dho_prompt.hosts.with_dho import with_dho
from dho_prompt.inference import Prediction, blend
from dho_prompt.runs.evaluation import Evaluation, ShiftedSet
from dho_prompt.train import main, parser, setup_cfg
from stand_in_hosts import EngineStep

PICKED = [4, 1]  # another order than the head's


class TwoOfFive(DatasetBase):
    """As a host's ImageNet-A: its own labels, all images for everything, known by its folders alone."""

    def __init__(self, cfg):
        whole = ImageNet(cfg)
        names = [whole.lab2cname[label] for label in PICKED]
        items = [
            Datum(impath=item.impath, label=PICKED.index(item.label), classname=names[PICKED.index(item.label)])
            for item in whole.test
            if item.label in PICKED
        ]
        super().__init__(train_x=items, test=items)


class Numbered(DatasetBase):
    """As a host's ImageNet-V2: all classes, known by their names alone."""

    def __init__(self, cfg):
        whole = ImageNet(cfg)
        super().__init__(train_x=whole.test, test=whole.test)
        self._ids = [str(label) for label in range(5)]

    @property
    def class_ids(self):
        return None


class Stranger(TwoOfFive):
    def __init__(self, cfg):
        super().__init__(cfg)
        self.class_ids = ["n01440764", "n99999999"]


for _dataset in (TwoOfFive, Numbered, Stranger):
    register_if_absent(DATASET_REGISTRY, _dataset)

SETS = ("TEST.SHIFTED_SETS", "('TwoOfFive', 'Numbered')")


def fails(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return str(caught.value.code)


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    "trainer, options",
    [
        ("CoOpDHO", ()),
        ("CoOpDHO", ("TRAINER.COOP.CSC", "True")),
        ("CoOpDHO", ("TRAINER.DHO.HEAD", "linear")),
        ("LinearProbeDHO", ()),
        ("LinearProbeDHO", ("TRAINER.LINEAR_PROBE.HEAD", "cosine")),
    ],
)
def test_the_training_process_and_the_files_give_the_same_numbers(train_args, tmp_path, trainer, options):
    """The model of 5 names gathers its logits; the one of 2 names takes 2 rows of the head, and of CSC contexts."""
    options = (*options, "OPTIM.LR", "0.3", "TEST.SHIFTED_SETS")
    main(train_args(trainer, *options, "('TwoOfFive',)"))
    trained = read(tmp_path / "run" / "results.json")
    assert trained["classes"] == {"test": {"own": 5, "scored": 5}, "TwoOfFive": {"own": 2, "scored": 2}}
    flags = ["--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "3"]
    main(flags + train_args(trainer, *options, "()", "DATASET.NAME", "TwoOfFive", output=tmp_path / "alone"))
    alone = read(tmp_path / "alone" / "evaluation.json")
    assert alone["accuracy"]["test"] == trained["accuracy"]["TwoOfFive"]
    assert set(alone["ece"]["test"]) == {"blend", "ce", "kd"} and min(alone["ece"]["test"].values()) > 0
    for head, error in alone["ece"]["test"].items():
        assert error == pytest.approx(trained["ece"]["TwoOfFive"][head], abs=1e-3)
    assert alone["evaluated"]["trained_on"]["NAME"] == "ImageNet" and alone["split"]["labelled"] == 10


def test_evaluation_repeats_the_numbers_of_the_training_process_and_keeps_its_file(train_args, tmp_path):
    main(train_args("CoOpDHO", *SETS))
    before = (tmp_path / "run" / "results.json").read_bytes()
    flags = ["--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "3"]
    main(flags + train_args("CoOpDHO", *SETS, "TRAINER.DHO.TEACHER.NAME", "/absent"))
    trained, evaluated = json.loads(before), read(tmp_path / "run" / "evaluation.json")
    assert (tmp_path / "run" / "results.json").read_bytes() == before
    for key in ("accuracy", "ece", "classes", "mix", "split", "seed"):
        assert evaluated[key] == trained[key]
    assert evaluated["accuracy"]["Numbered"] == evaluated["accuracy"]["test"]
    main(flags + train_args("CoOpDHO", *SETS, "TEST.ALL_CLASSES", "True", output=tmp_path / "all"))
    every = read(tmp_path / "all" / "evaluation.json")
    assert every["classes"]["TwoOfFive"] == {"own": 2, "scored": 5}
    assert every["accuracy"]["test"] == trained["accuracy"]["test"]
    options = ("DATASET.NAME", "TwoOfFive", "TEST.ALL_CLASSES", "True")
    assert "cannot choose among the 5" in fails(flags + train_args("CoOpDHO", *options, output=tmp_path / "other"))


def predict(logits):
    mixed = blend(logits["ce"], logits["kd"], 0.8, 1.0)
    return Prediction({"blend": mixed, **logits}, {"blend": mixed, **{key: v.softmax(-1) for key, v in logits.items()}})


@pytest.mark.parametrize("every, right", [(False, 2), (True, 1)])
def test_rows_are_gathered_before_the_softmax_or_all_are_scored(every, right):
    evaluation = Evaluation(Classes(["a", "b", "c"]), {"picked": ShiftedSet([], [2, 0])}, every)
    evaluation.begin("picked")
    logits = torch.tensor([[1.0, 9.0, 2.0], [3.0, 1.0, 0.0]])  # of row 1, which the set has not, in the first image
    scores = evaluation.add({"ce": logits, "kd": -logits}, torch.tensor([0, 1]), predict)
    evaluation.end("picked")
    assert evaluation.measured["picked"]["accuracy"]["ce"] == 50 * right and scores.shape == (2, 3 if every else 2)
    assert evaluation.measured["picked"]["classes"] == {"own": 2, "scored": 3 if every else 2}
    if not every:
        torch.testing.assert_close(scores, blend(logits[:, [2, 0]], -logits[:, [2, 0]], 0.8, 1.0))


def test_a_set_of_which_no_image_was_counted_is_an_error():
    evaluation = Evaluation(Classes(["a", "b"]), {})
    evaluation.begin()
    with pytest.raises(ValueError, match="no image of test was evaluated"):
        evaluation.end("test")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_not_counted(value):
    evaluation = Evaluation(Classes(["a", "b"]), {})
    logits = {"ce": torch.zeros(2, 2), "kd": torch.tensor([[0.0, 1.0], [value, 0.0]])}
    with pytest.raises(FloatingPointError, match="the kd head's logits are infinite or not numbers"):
        evaluation.add(logits, torch.tensor([0, 1]), predict)


def test_other_classes_are_refused_unless_only_the_methods_own_head_is_used(train_args, tmp_path, capsys):
    main(train_args("CoOpDHO", "DATASET.SUBSAMPLE_CLASSES", "base"))
    flags = ["--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "3"]
    new = ("DATASET.SUBSAMPLE_CLASSES", "new")
    message = fails(flags + train_args("CoOpDHO", *new, output=tmp_path / "new"))
    assert "kd_head" in message and "n04147183 (schooner)" in message and "TRAINER.DHO.ALPHA 1.0" in message
    capsys.readouterr()
    main(flags + train_args("CoOpDHO", *new, "TRAINER.DHO.ALPHA", "1", output=tmp_path / "new"))
    assert "the KD head is not loaded" in capsys.readouterr().out
    assert set(read(tmp_path / "new" / "evaluation.json")["accuracy"]["test"]) == {"ce", "images"}
    main(flags + train_args("CoOp", *new, output=tmp_path / "plain"))
    plain = read(tmp_path / "plain" / "evaluation.json")
    assert plain["accuracy"] == read(tmp_path / "new" / "evaluation.json")["accuracy"]
    # contexts per class mean nothing for other classes
    csc = ("TRAINER.COOP.CSC", "True")
    main(train_args("CoOpDHO", *csc, "DATASET.SUBSAMPLE_CLASSES", "base", output=tmp_path / "csc"))
    flags[2] = str(tmp_path / "csc")
    options = (*csc, *new, "TRAINER.DHO.ALPHA", "1")
    assert "was trained on 3 classes" in fails(flags + train_args("CoOpDHO", *options, output=tmp_path / "csc_new"))
    # and training does not go on from there
    message = fails(["--resume", str(tmp_path / "run")] + train_args("CoOpDHO", *new, output=tmp_path / "resumed"))
    assert "kd_head" in message and "was trained on 3 classes" in message
    start = ("MODEL.INIT_WEIGHTS", tmp_path / "csc" / "prompt_learner" / "model.pth.tar-3")
    assert "was trained on 3 classes" in fails(train_args("CoOp", *csc, *start, output=tmp_path / "started"))


def test_a_set_that_is_missing_or_has_other_classes_stops_before_the_model_is_loaded(train_args, tmp_path, capsys):
    message = fails(train_args("CoOp", "TEST.SHIFTED_SETS", "('TwoOfFive', 'Stranger')"))
    assert "Stranger of TEST.SHIFTED_SETS" in message and "n99999999" in message and '"()"' in message
    assert "Loading CLIP" not in capsys.readouterr().out


def test_old_checkpoints_without_ids_load_by_their_names(train_args, tmp_path):
    main(train_args("CoOpDHO"))
    for path in (tmp_path / "run").glob("*/model.pth.tar-3"):
        checkpoint = torch.load(path, weights_only=True)
        assert checkpoint["trainer"]["extra"].pop("class_ids")[0] == "n01440764"
        torch.save(checkpoint, path)
    flags = ["--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "3"]
    main(flags + train_args("CoOpDHO", "DATASET.NAME", "TwoOfFive", output=tmp_path / "old"))
    assert read(tmp_path / "old" / "evaluation.json")["accuracy"]["test"]["images"] == 8


class Shared(EngineStep):
    """A host whose files do not hold what depends on the class names, and that loads them itself."""

    def build_model(self):
        super().build_model()
        self.model._non_persistent_buffers_set.add("texts")

    def load_model(self, directory, epoch=None):
        self._models["prompted"].load_state_dict(
            torch.load(f"{directory}/prompted/model.pth.tar-{epoch}", weights_only=True)["state_dict"], strict=False
        )


def test_in_a_host(train_args, tmp_path):
    plugged = with_dho(Shared)

    def build(*options, output):
        cfg = setup_cfg(parser().parse_args(train_args("any", *options, output=tmp_path / output)))
        set_random_seed(1)
        return plugged(cfg)

    build("OPTIM.LR", "0.3", *SETS, output="run").train()
    trained = read(tmp_path / "run" / "results.json")
    loaded = build("DATASET.NAME", "TwoOfFive", output="alone")
    assert loaded.evaluation.classes == Classes(["sunglasses", "goldfish"], ["n04356056", "n01443537"])
    loaded.load_model(str(tmp_path / "run"), epoch=3)
    assert loaded.test() == trained["accuracy"]["TwoOfFive"]["blend"]
    assert read(tmp_path / "alone" / "evaluation.json")["accuracy"]["test"] == trained["accuracy"]["TwoOfFive"]
    assert not loaded.class_bound
