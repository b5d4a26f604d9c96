"""Text templates per data set, for zero-shot class features.

Sources: the hand-written template of each data set that CoOp and Tip-Adapter use; for the ImageNet family the seven
templates that Tip-Adapter selected from CLIP's eighty. PromptSRC's frozen text features take the first sixty of CLIP's
eighty, whatever the data set.
"""

from __future__ import annotations

from open_clip import OPENAI_IMAGENET_TEMPLATES

DEFAULT = ["a photo of a {}."]

IMAGENET = [
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
]

PROMPTSRC = [template("{}") for template in OPENAI_IMAGENET_TEMPLATES[:60]]

DIGITS = [
    "a photo of the digit {}.",
    "a handwritten digit {}.",
    "the number {}.",
]

DIGIT_PAIRS = [
    "a photo of the digits {}.",
    "two handwritten digits, {}.",
    "the numbers {}.",
]

_FAMILIES = {
    "imagenet": IMAGENET,
    "digits": DIGITS,
    "digitpairs": DIGIT_PAIRS,
}  # ImageNetV2, imagenet_sketch, DigitsR, ...

_SINGLE = {
    "oxfordpets": "a photo of a {}, a type of pet.",
    "oxfordflowers": "a photo of a {}, a type of flower.",
    "food101": "a photo of {}, a type of food.",
    "fgvcaircraft": "a photo of a {}, a type of aircraft.",
    "dtd": "{} texture.",
    "describabletextures": "{} texture.",
    "eurosat": "a centered satellite photo of {}.",
    "ucf101": "a photo of a person doing {}.",
}


def templates_for(dataset_name: str) -> list[str]:
    """Templates of a data set, each with one ``{}`` for the class name.

    Args:
        dataset_name: the class name (``OxfordPets``) or the name of its yaml file (``oxford_pets``). Names beginning
            with ImageNet, Digits or DigitPairs share their family's list; any other unknown name gets
            ``a photo of a {}.``

    Example:
        >>> templates_for("dtd")
        ['{} texture.']
    """
    name = dataset_name.rpartition(":")[2].lower().replace("_", "").replace("-", "")
    for family, templates in _FAMILIES.items():
        if name.startswith(family):
            return list(templates)
    return [_SINGLE[name]] if name in _SINGLE else list(DEFAULT)


def single_template(dataset_name: str) -> str:
    """The one template of a data set that CoOp's zero-shot baseline uses; ``a photo of a {}.`` for ImageNet."""
    name = dataset_name.lower().replace("_", "").replace("-", "")
    return DEFAULT[0] if name.startswith("imagenet") else templates_for(dataset_name)[0]
