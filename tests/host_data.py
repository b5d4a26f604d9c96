"""Tiny trees of CoOp's data sets in the layouts that its own classes read: three classes, or as many as they need."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

TRAIN, VAL, TEST = 4, 2, 3  # images a class

# DATASET.NAME: folder, folder that the split's paths begin in, and path and name of the classes
SPLIT_FILES = {
    "Caltech101": ("caltech-101", "101_ObjectCategories", {"Faces": "face", "camera": "camera", "emu": "emu"}),
    "OxfordPets": ("oxford_pets", "images", {"Abyssinian_": "abyssinian", "pug_": "pug", "boxer_": "boxer"}),
    "StanfordCars": ("stanford_cars", "", {"cars_train/0": "2012 Acura TL Sedan", "cars_train/1": "2012 Ram C/V Van",
                                           "cars_test/2": "1993 Geo Metro Convertible"}),
    "OxfordFlowers": ("oxford_flowers", "jpg", {"image_0": "pink primrose", "image_1": "bird of paradise",
                                                "image_2": "colt's foot"}),
    "Food101": ("food-101", "images", {"apple_pie": "apple_pie", "pho": "pho", "waffles": "waffles"}),
    "SUN397": ("sun397", "SUN397", {"a/abbey": "abbey", "c/car_interior/backseat": "backseat car_interior",
                                    "y/yard": "yard"}),
    "DescribableTextures": ("dtd", "images", {"banded": "banded", "blotchy": "blotchy", "zigzagged": "zigzagged"}),
    "EuroSAT": ("eurosat", "2750", {"AnnualCrop": "Annual Crop Land", "Forest": "Forest", "SeaLake": "Sea or Lake"}),
    "UCF101": ("ucf101", "UCF-101-midframes", {"Apply_Eye_Makeup": "Apply_Eye_Makeup", "Archery": "Archery",
                                               "Yo_Yo": "Yo_Yo"}),
}  # fmt: skip
AIRCRAFT = ("707-320", "F/A-18", "Boeing 717")
ALL = (*SPLIT_FILES, "FGVCAircraft")


def picture(path: Path, label: int, number: int) -> None:
    """A small image in the colour of its class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng([label, number])
    pixels = draw.integers(0, 90, (36, 40, 3))
    pixels[..., label % 3] += 40 * (1 + label // 3 % 4)
    Image.fromarray(pixels.astype(np.uint8)).save(path, format="PNG")


def write_data_set(root: Path, name: str) -> None:
    """The tree of one of the ten data sets below ``root``."""
    if name == "FGVCAircraft":
        write_aircraft(root / "fgvc_aircraft")
        return
    folder, inner, classes = SPLIT_FILES[name]
    split = {"train": [], "val": [], "test": []}
    for label, (path, classname) in enumerate(classes.items()):
        parts = ["train"] * TRAIN + ["val"] * VAL + ["test"] * TEST
        for number, part in enumerate(parts):
            own_folder = not path.endswith("_") and not path[-1].isdigit()
            file = f"{path}/{number}.jpg" if own_folder else f"{path}{number}.jpg"
            picture(root / folder / inner / file, label, number)
            split[part].append([file, label, classname])
    (root / folder / f"split_zhou_{name}.json").write_text(json.dumps(split))


def write_aircraft(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "variants.txt").write_text("\n".join(AIRCRAFT) + "\n")
    number = 0
    for part, count in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        lines = []
        for label, name in enumerate(AIRCRAFT):
            for _ in range(count):
                number += 1
                picture(folder / "images" / f"{number:07}.jpg", label, number)
                lines.append(f"{number:07} {name}")
        (folder / f"images_variant_{part}.txt").write_text("\n".join(lines) + "\n")


def write_imagenet_family(root: Path, classes: int = 1000) -> None:
    """ImageNet with its four relatives; V2's class reads a thousand folders."""
    wnids = [f"n{1000 + 7 * label:08}" for label in range(classes)]
    lines = "".join(f"{wnid} thing {label}\n" for label, wnid in enumerate(wnids))
    few = wnids[3::5]  # A and R have a part of the classes
    folders = {
        "imagenet": [f"images/{part}/{wnid}" for part in ("train", "val") for wnid in wnids],
        "imagenetv2": [f"imagenetv2-matched-frequency-format-val/{label}" for label in range(classes)],
        "imagenet-sketch": [f"images/{wnid}" for wnid in wnids],
        "imagenet-adversarial": [f"imagenet-a/{wnid}" for wnid in few],
        "imagenet-rendition": [f"imagenet-r/{wnid}" for wnid in few],
    }
    for name, inside in folders.items():
        for number, folder in enumerate(inside):
            last = folder.rsplit("/", 1)[1]
            label = wnids.index(last) if last in wnids else int(last)
            picture(root / name / folder / f"{number}.JPEG", label, number)
        (root / name / "classnames.txt").write_text(lines)
