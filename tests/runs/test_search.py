"""When alpha and beta are searched, what a run says of it, and what an evaluation of the run takes."""

import json
import shutil

import pytest
import torch

from dho_prompt.data.datasets import ImageNet
from dho_prompt.data.layouts.contents import ListedImage
from dho_prompt.engine import DATASET_REGISTRY, register_if_absent
from dho_prompt.runs.mix import searches
from dho_prompt.train import main
from trainer_contract import build


class Validated(ImageNet):
    def __init__(self, cfg):
        super().__init__(cfg)
        self._val, self._test = self._test[::2], self._test[1::2]


register_if_absent(DATASET_REGISTRY, Validated)
RUN = ("OPTIM.MAX_EPOCH", "1", "OPTIM.LR", "0.3", "TRAINER.DHO.ALPHA", "0.3", "TRAINER.DHO.BETA", "0.7")
VALIDATED = ("DATASET.NAME", "Validated", *RUN)
FIXED = {"alpha": 0.3, "beta": 0.7, "chosen": "fixed by the configuration"}


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    "search, has_val, val_is_test, found",
    [
        ("auto", True, False, True),
        ("auto", True, True, False),
        ("auto", False, False, False),
        ("off", True, False, False),
    ]
    + [("on", True, False, True), ("on", True, True, True)],
)
def test_when(search, has_val, val_is_test, found):
    assert searches(search, has_val, val_is_test) == found


def test_the_default_searches_and_keeps_the_fixed_row(train_args, tmp_path):
    main(train_args("CoOpDHO", *VALIDATED))
    main(train_args("CoOpDHO", *VALIDATED, "TRAINER.DHO.SEARCH", "off", output=tmp_path / "off"))
    auto, off = read(tmp_path / "run" / "results.json"), read(tmp_path / "off" / "results.json")
    assert auto["mix"]["chosen"].startswith("searched on 10 validation images") and off["mix"] == FIXED
    assert set(auto["accuracy"]["test"]) == {"blend", "fixed", "ce", "kd", "images"}
    for measure in ("accuracy", "ece"):
        assert auto[measure]["test"]["fixed"] == off[measure]["test"]["blend"] and "fixed" not in off[measure]["test"]
    main(train_args("CoOpDHO", *RUN, output=tmp_path / "test_as_val"))  # ImageNet's only other images are its test set
    chosen = "fixed: the validation set is the test set, so nothing is searched on it"
    assert read(tmp_path / "test_as_val" / "results.json")["mix"] == {**FIXED, "chosen": chosen}


def test_test_images_change_nothing(train_args, tmp_path):
    """The same run with other labels on every test image searches the same mix."""
    chosen = []
    for wrong in (False, True):
        trainer = build(train_args("CoOpDHO", *VALIDATED, output=tmp_path / str(wrong)))
        if wrong:
            images = trainer.test_loader.dataset.data_source
            images[:] = [ListedImage("", item.impath, (item.label + 1) % 5, "") for item in images]
        trainer.train()
        chosen.append(read(tmp_path / str(wrong) / "mix.json"))
        accuracy = read(tmp_path / str(wrong) / "results.json")["accuracy"]["test"]
        chosen[-1]["accuracy"] = accuracy["kd"]
    assert chosen[0].pop("accuracy") != chosen[1].pop("accuracy") and chosen[0] == chosen[1]


def test_what_an_evaluation_takes(train_args, tmp_path, capsys):
    main(train_args("CoOpDHO", *VALIDATED))
    run, kept = (
        tmp_path / "run",
        {"alpha": 0.9, "beta": 0.2, "chosen": "searched on 10 validation images by likelihood: 50.00%"},
    )
    (run / "mix.json").write_text(json.dumps(kept))
    flags = ["--eval-only", "--model-dir", str(run), "--load-epoch", "1"]

    def evaluated(name, search, *opts):
        words = train_args("CoOpDHO", *VALIDATED, "TRAINER.DHO.SEARCH", search, *opts, output=tmp_path / name)
        main(flags + words)
        return read(tmp_path / name / "evaluation.json")

    assert evaluated("auto", "auto")["mix"] == evaluated("on", "on")["mix"] == kept
    assert evaluated("off", "off")["mix"] == FIXED
    (run / "mix.json").unlink()
    capsys.readouterr()
    assert evaluated("without", "auto")["mix"] == FIXED and "has no mix.json" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="has no mix.json.*SEARCH off"):
        evaluated("refused", "on")
    (run / "mix.json").write_text(json.dumps(kept))
    other = evaluated("given", "auto", "TRAINER.DHO.ALPHA", "0.4")["mix"]  # what is given for the evaluation holds
    assert other == {**FIXED, "alpha": 0.4}


def test_a_resumed_run_searches_what_the_whole_one_did(train_args, tmp_path):
    main(train_args("CoOpDHO", *VALIDATED))
    run, wanted = tmp_path / "run", read(tmp_path / "run" / "mix.json")
    for name in ("mix.json", "results.json"):
        (run / name).unlink()
    main(train_args("CoOpDHO", *VALIDATED))
    assert read(run / "mix.json") == wanted


def test_lambda_1_loads_no_teacher(train_args, tmp_path):
    main(train_args("CoOpDHO", *RUN, "TRAINER.DHO.LAMBDA", "1", "TRAINER.DHO.TEACHER.NAME", "/absent/teacher"))
    result = read(tmp_path / "run" / "results.json")
    assert result["teacher"] is None and result["split"]["unlabelled"] == 0
    main(train_args("CoOpDHO", *VALIDATED, "TRAINER.DHO.LAMBDA", "1", output=tmp_path / "validated"))
    mix = read(tmp_path / "validated" / "results.json")["mix"]
    assert mix == {**FIXED, "chosen": "fixed: the KD head is not trained"}
    main(train_args("CoOp", *RUN, output=tmp_path / "alone"))
    alone = read(tmp_path / "alone" / "results.json")
    assert alone["accuracy"]["test"]["ce"] == result["accuracy"]["test"]["ce"]


def test_parts_are_bound_to_classes_one_by_one(train_args, tmp_path):
    """VPT's prompts start a run on other classes; its head would mean others, so the whole run does not load there."""
    options = ("INPUT.SIZE", "(32, 32)", "OPTIM.MAX_EPOCH", "1", "TRAINER.VPT.PREC", "fp32")
    main(train_args("VPT", *options, "DATASET.SUBSAMPLE_CLASSES", "base"))
    path = tmp_path / "run" / "prompt_learner" / "model.pth.tar-1"
    trainer = build(train_args("VPT", *options, "MODEL.INIT_WEIGHTS", path, output=tmp_path / "other"))
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[key]) for key, value in trainer._models["prompt_learner"].state_dict().items())
    assert trainer.class_bound == ("ce_head",)
    flags = ["--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "1"]
    with pytest.raises(SystemExit, match="ce_head.*trained on 3 classes"):
        main(flags + train_args("VPT", *options, output=tmp_path / "all"))
    shutil.rmtree(tmp_path / "run" / "ce_head")
    main(flags + train_args("VPT", *options, "TRAINER.VPT.HEAD", "text", output=tmp_path / "text"))
