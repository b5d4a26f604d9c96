"""Where each data set lies below the folder of the data sets: CoOp's layout, as a table."""

from __future__ import annotations

from typing import NamedTuple


class Layout(NamedTuple):
    """One data set.

    Args:
        name: DATASET.NAME, CoOp's class name.
        yaml: name of its file in ``configs/datasets``.
        folder: below the folder of the data sets.
        images: the folder that image names are relative to, below ``folder`` ("" is ``folder`` itself).
        split: JSON file of CoOp's train, val and test split in ``folder``; "" if the set has none.
        classes: how many the full set has.
        counts: images of the full set in train, val and test (Table 10; 0 where the paper has a dash).
    """

    name: str
    yaml: str
    folder: str
    images: str
    split: str
    classes: int
    counts: tuple[int, int, int]


IMAGENET = Layout("ImageNet", "imagenet", "imagenet", "images", "", 1000, (1_281_167, 50_000, 50_000))

# Sets for testing alone, on classes of ImageNet
SHIFTED = (
    Layout(
        "ImageNetV2", "imagenetv2", "imagenetv2", "imagenetv2-matched-frequency-format-val", "", 1000, (0, 0, 10_000)
    ),
    Layout("ImageNetSketch", "imagenet_sketch", "imagenet-sketch", "images", "", 1000, (0, 0, 50_889)),
    Layout("ImageNetA", "imagenet_a", "imagenet-adversarial", "imagenet-a", "", 200, (0, 0, 7_500)),
    Layout("ImageNetR", "imagenet_r", "imagenet-rendition", "imagenet-r", "", 200, (0, 0, 30_000)),
)


def _ten(name: str, yaml: str, folder: str, images: str, classes: int, *counts: int) -> Layout:
    split = "" if name == "FGVCAircraft" else f"split_zhou_{name}.json"  # its official lists name the parts
    return Layout(name, yaml, folder, images, split, classes, counts)


TEN = (
    _ten("Caltech101", "caltech101", "caltech-101", "101_ObjectCategories", 100, 4128, 1649, 2465),
    _ten("OxfordPets", "oxford_pets", "oxford_pets", "images", 37, 2944, 736, 3669),
    _ten("StanfordCars", "stanford_cars", "stanford_cars", "", 196, 6509, 1635, 8041),
    _ten("OxfordFlowers", "oxford_flowers", "oxford_flowers", "jpg", 102, 4093, 1633, 2463),
    _ten("Food101", "food101", "food-101", "images", 101, 50_500, 20_200, 30_300),
    _ten("FGVCAircraft", "fgvc_aircraft", "fgvc_aircraft", "images", 100, 3334, 3333, 3333),
    _ten("SUN397", "sun397", "sun397", "SUN397", 397, 15_880, 3970, 19_850),
    _ten("DescribableTextures", "dtd", "dtd", "images", 47, 2820, 1128, 1692),
    _ten("EuroSAT", "eurosat", "eurosat", "2750", 10, 13_500, 5400, 8100),
    _ten("UCF101", "ucf101", "ucf101", "UCF-101-midframes", 101, 7639, 1898, 3783),
)

LAYOUTS = (IMAGENET, *TEN, *SHIFTED)


def find_layout(name: str) -> Layout | None:
    """The data set of that class name (``OxfordPets``) or yaml name (``oxford_pets``), in any case; None if unknown."""
    for layout in LAYOUTS:
        if name.lower() in (layout.name.lower(), layout.yaml):
            return layout
    return None


def tree(layout: Layout) -> str:
    """The files that a data set consists of, drawn for messages."""
    if layout is IMAGENET:
        lines = ["classnames.txt          one line per class: <wnid> <name>"]
        lines += [f"images/{part}/<wnid>/*.JPEG" for part in ("train", "val")]
    elif layout in SHIFTED:
        folder = "<0..999>" if layout.name == "ImageNetV2" else "<wnid>"
        lines = ["classnames.txt          ImageNet's", f"{layout.images}/{folder}/*"]
    else:
        lines = [layout.split] if layout.split else list(_aircraft_lists())
        lines.append(f"{layout.images}/..." if layout.images else "cars_train/*.jpg\n  cars_test/*.jpg")
    return "\n".join([f"{layout.folder}/", *(f"  {line}" for line in lines)])


def _aircraft_lists() -> list[str]:
    return ["variants.txt", *(f"images_variant_{part}.txt" for part in ("train", "val", "test"))]
