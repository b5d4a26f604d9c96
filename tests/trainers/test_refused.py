"""Data sets of a host's kind that no run may start with, or may not choose on."""

import json

import pytest

from dho_prompt.data.datasets import ImageNet
from dho_prompt.engine import DATASET_REGISTRY, TRAINER_REGISTRY, DatasetBase, get_cfg_default, register_if_absent
from dho_prompt.train import main
from trainer_contract import build


class Offered(ImageNet):
    """Offers one of its test images, listed anew, among those for validation."""

    def __init__(self, cfg):
        super().__init__(cfg)
        self._val, self._test = [*self._test[:5], self._test[9]], self._test[5:]


class Gap(DatasetBase):
    """Counts its classes by the training images, of which the second class has none."""

    def __init__(self, cfg):
        whole = ImageNet(cfg)
        super().__init__(train_x=[item for item in whole.train_x if item.label != 1], test=whole.test)


class Hosts(DatasetBase):
    """Knows shots at the most."""

    def __init__(self, cfg):
        whole = ImageNet(cfg)
        super().__init__(train_x=whole.train_x, test=whole.test)


for _dataset in (Offered, Gap, Hosts):
    register_if_absent(DATASET_REGISTRY, _dataset)


def test_nothing_is_chosen_where_a_test_image_is_offered_for_validation(train_args, tmp_path):
    with pytest.raises(ValueError, match="offers its test images as validation set.*use last_step"):
        build(train_args("CoOp", "DATASET.NAME", "Offered", "TEST.FINAL_MODEL", "best_val"))
    main(train_args("CoOpDHO", "DATASET.NAME", "Offered", "TRAINER.DHO.SEARCH", "True", "OPTIM.MAX_EPOCH", "1"))
    mix = json.loads((tmp_path / "run" / "mix.json").read_text())
    assert (mix["alpha"], mix["beta"]) == (0.5, 1.0) and "nothing is searched on it" in mix["chosen"]


def test_a_class_without_training_images_has_no_name(train_args):
    with pytest.raises(ValueError, match=r"1 of 5 classes have no training image \(labels \[1\]"):
        build(train_args("CoOp", "DATASET.NAME", "Gap"))


def test_a_data_set_that_would_pass_over_the_choice_of_labelled_images(train_args):
    share = ("DATASET.NUM_SHOTS", "-1", "DATASET.LABELED_PERCENT", "25")
    with pytest.raises(ValueError, match="LABELED_PERCENT is set, but the data set Hosts .* does not read it"):
        build(train_args("CoOpDHO", "DATASET.NAME", "Hosts", *share))


@pytest.mark.parametrize("name", ["CoOp", "LinearProbeDHO", "FinetuneDHO"])
def test_a_configuration_that_was_not_extended(name):
    """As of a host's train.py that registers our trainers and forgets ``extend_cfg``."""
    from dho_prompt.train import register

    register()
    cfg = get_cfg_default()
    cfg.TRAINER.NAME = name
    with pytest.raises(ValueError, match=r"call dho_prompt.extend_cfg\(cfg\) where the host's train.py"):
        TRAINER_REGISTRY.get(name)(cfg)
