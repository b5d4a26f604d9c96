"""Data sets of our own, registered only under names that the host does not have."""

from dho_prompt.data.datasets.coop import DATASETS, ImageNet
from dho_prompt.data.datasets.digit_pairs import DigitPairs, DigitPairsA, DigitPairsR, DigitPairsV2
from dho_prompt.data.datasets.digits import Digits, DigitsA, DigitsR, DigitsSketch, DigitsV2
from dho_prompt.data.datasets.own import ImageFolder, import_datasets
from dho_prompt.engine import DATASET_REGISTRY, register_if_absent

DIGITS = (Digits, DigitsV2, DigitsSketch, DigitsR, DigitsA)
DIGIT_PAIRS = (DigitPairs, DigitPairsV2, DigitPairsR, DigitPairsA)

for _dataset in (*DATASETS.values(), ImageFolder, *DIGITS, *DIGIT_PAIRS):
    register_if_absent(DATASET_REGISTRY, _dataset)

__all__ = [
    "DATASETS",
    "DigitPairs",
    "DigitPairsA",
    "DigitPairsR",
    "DigitPairsV2",
    "Digits",
    "DigitsA",
    "DigitsR",
    "DigitsSketch",
    "DigitsV2",
    "ImageFolder",
    "ImageNet",
    "import_datasets",
]
