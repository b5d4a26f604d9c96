"""Which trainer and which recipe a method has on a data set; ``scripts/*.sh`` take the same."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dho_prompt.train import find_config

OWN = "image_folder"  # the file of configs/datasets for a folder of one's own


class MethodRecipes(NamedTuple):
    """A method's trainers and the folder of its recipes below ``configs/trainers``.

    Attributes:
        plain: the trainer without DHO.
        dho: with DHO; "" where there is none.
        folder: of its recipes.
    """

    plain: str
    dho: str
    folder: str


METHODS = {
    "coop": MethodRecipes("CoOp", "CoOpDHO", "CoOpDHO"),
    "promptsrc": MethodRecipes("PromptSRC", "PromptSRCDHO", "PromptSRCDHO"),
    "vpt": MethodRecipes("VPT", "VPTDHO", "VPTDHO"),
    "linear_probe": MethodRecipes("LinearProbe", "LinearProbeDHO", "LinearProbeDHO"),
    "finetune": MethodRecipes("Finetune", "FinetuneDHO", "FinetuneDHO"),
    "tip_adapter": MethodRecipes("TipAdapterF", "", "TipAdapterF"),
    "zeroshot": MethodRecipes("ZeroshotCLIP", "", "ZeroshotCLIP"),
}


def trainer_of(method: str, dho: bool) -> str:
    """The trainer of a method, with DHO where that is asked for and where there is one.

    Raises:
        ValueError: there is no such method.
    """
    recipes = _recipes(method)
    return recipes.dho if dho and recipes.dho else recipes.plain


def recipe_of(method: str, dataset: str, shots: int | str, name: str = "") -> str:
    """The configuration file of a method on a data set.

    Args:
        method: one of :data:`METHODS`.
        dataset: a file of ``configs/datasets`` without ``.yaml``.
        shots: labelled images per class, a percentage (``"1%"``) or ``"all"``.
        name: another file of the method's folder without ``.yaml``, or the path of a file of one's own.

    Raises:
        ValueError: there is no such method or recipe; the message names those there are.
    """
    folder = f"trainers/{_recipes(method).folder}"
    if name.endswith((".yaml", ".yml")):
        return name
    names = [name] if name else [dataset, _default(method, dataset, str(shots))]
    for found in names:
        if Path(find_config(f"{folder}/{found}.yaml")).is_file():
            return f"{folder}/{found}.yaml"
    raise ValueError(
        f"there is no recipe {names[0]!r} for {method}; there are {', '.join(recipe_names(method))}, and any file "
        "of your own whose name ends in .yaml"
    )


def recipe_names(method: str) -> list[str]:
    """The recipes that come with the package."""
    one = Path(find_config(f"trainers/{_recipes(method).folder}/digits.yaml"))
    return sorted(path.stem for path in one.parent.glob("*.yaml"))


def dataset_names() -> list[str]:
    """The data sets that have a file in ``configs/datasets``, but for the folder of one's own."""
    one = Path(find_config("datasets/digits.yaml"))
    return sorted(path.stem for path in one.parent.glob("*.yaml") if path.stem != OWN)


def _recipes(method: str) -> MethodRecipes:
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; methods are {', '.join(METHODS)}")
    return METHODS[method]


def _default(method: str, dataset: str, shots: str) -> str:
    """The recipe of the paper's setting, where a data set has none of its own."""
    imagenet = dataset == "imagenet"
    if method == "coop":
        epochs = {"2": 100, "4": 100, "8": 200, "16": 200}.get(shots, 50)
        return "vit_b16_ep50_ctxv1" if imagenet else f"vit_b16_ep{epochs}"
    if method == "finetune":
        percent = imagenet and shots.endswith("%")
        return "imagenet_percent_vit_b16" if percent else f"{'imagenet_' if imagenet else ''}shots_resnet18"
    return {
        "promptsrc": "vit_b16_c2_ep50_batch4_4+4ctx_few_shot",
        "vpt": "vit_b16_vpt3" if imagenet else "vit_b16_vpt3_ep200",
        "linear_probe": "vit_b16_ep20" if imagenet else "vit_b16_ep200",
        "tip_adapter": "rn50",
        "zeroshot": "vit_b16",
    }[method]
