"""Small trees in each data set's layout, written from the table that reads them."""

import json

import numpy as np
from PIL import Image

from dho_prompt.config import extend_cfg, merge_opts
from dho_prompt.data.layouts.table import IMAGENET, SHIFTED
from dho_prompt.engine import get_cfg_default

WNIDS = {
    f"n{label:08d}": name for label, name in enumerate(["missile", "tench", "missile", "sunglasses"] + ["cat"] * 8)
}
SHIFTED_WNIDS = sorted(WNIDS)[1:9:2]  # the classes of the small A and R
PER_CLASS = {"train": 4, "val": 2, "test": 3}


def config(root, name, *opts):
    cfg = extend_cfg(get_cfg_default())
    merge_opts(cfg, ["DATASET.NAME", name, "DATASET.ROOT", str(root), *map(str, opts)])
    return cfg


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5, 3), value % 256, np.uint8)).save(path, format="PNG")


def write_tree(root, layout):
    """Twelve classes for the ImageNet family (four in A and R), three for the others."""
    folder = root / layout.folder
    if layout is IMAGENET or layout in SHIFTED:
        _write_imagenet(folder, layout)
        return
    split = {part: [] for part in PER_CLASS}
    for label, name in enumerate(("Alpha_one", "beta/two x", "gamma")):
        for part, count in PER_CLASS.items():
            for number in range(count):
                # flat where the data set is flat, else in nested class folders
                file = f"{'' if layout.yaml == 'oxford_pets' else f'c{label}/d/'}{part}_{label}_{number}.jpg"
                if layout.name == "FGVCAircraft":
                    file = f"{label}{part}{number}.jpg"
                picture(folder / layout.images / file, label)
                split[part].append([file, label, name])
    if layout.split:
        (folder / layout.split).write_text(json.dumps(split))
        return
    names = {label: name for _, label, name in split["train"]}
    (folder / "variants.txt").write_text("".join(f"{names[label]}\n" for label in sorted(names)))
    for part, entries in split.items():
        lines = [f"{file[:-4]} {name}\n" for file, _, name in entries]
        (folder / f"images_variant_{part}.txt").write_text("".join(lines))


def _write_imagenet(folder, layout):
    folder.mkdir(parents=True)
    (folder / "classnames.txt").write_text("".join(f"{wnid} {name}\n" for wnid, name in WNIDS.items()))
    wnids = SHIFTED_WNIDS if layout.classes == 200 else sorted(WNIDS)
    for label, wnid in enumerate(wnids):
        if layout is IMAGENET:
            for part, count in (("train", 4), ("val", 2)):
                for number in range(count):
                    picture(folder / "images" / part / wnid / f"{wnid}_{number}.JPEG", label)
        else:
            name = str(label) if layout.name == "ImageNetV2" else wnid
            picture(folder / layout.images / name / f"{wnid}.jpg", label)
    (folder / layout.images / "README.txt").write_text("not a class")
