"""Data sets of our own, registered only under names that the host does not have."""

from dho_prompt.data.datasets.digits import Digits, DigitsA, DigitsR, DigitsSketch, DigitsV2
from dho_prompt.data.datasets.imagenet import ImageNet
from dho_prompt.engine import DATASET_REGISTRY, register_if_absent

for _dataset in (ImageNet, Digits, DigitsV2, DigitsSketch, DigitsR, DigitsA):
    register_if_absent(DATASET_REGISTRY, _dataset)
