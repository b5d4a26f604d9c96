"""ImageNet-1k in CoOp's folder layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Tuple

from dho_prompt.data.class_folders import list_class_folders
from dho_prompt.data.datasets.base import NamedClasses, data_root
from dho_prompt.engine import Datum

LAYOUT = """\
imagenet/
  classnames.txt          one line per class: <wnid> <name>
  images/train/<wnid>/*.JPEG
  images/val/<wnid>/*.JPEG"""


class ImageNet(NamedClasses):
    """ImageNet (Russakovsky et al., 2015); its 50,000 validation images serve as test set, as in CoOp.

    They are offered as validation set too, as CoOp does, and for that reason nothing is ever chosen on it.

    Raises:
        FileNotFoundError: the folder, ``classnames.txt`` or the folder of a class is missing.
        ValueError: a class folder is not in ``classnames.txt``.
    """

    dataset_dir = "imagenet"

    def __init__(self, cfg: Any) -> None:
        root = data_root(cfg) / self.dataset_dir
        wnids, classnames = read_classnames(root / "classnames.txt")
        images = root / "images"
        train, test = (self._read(images / part, wnids, classnames) for part in ("train", "val"))
        super().__init__(classnames, images, train, test, test, cfg)

    def _read(self, folder: Path, wnids: List[str], classnames: List[str]) -> List[Datum]:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is missing; ImageNet is expected as\n{LAYOUT}")
        found = list_class_folders(folder)
        _compare(folder, wnids, found)
        # labels follow the sorted folder names, which is the order of the official class indices
        return [
            Datum(impath=str(folder / wnid / name), label=label, classname=classnames[label])
            for label, wnid in enumerate(wnids)
            for name in found[wnid]
        ]


def read_classnames(path: Path) -> Tuple[List[str], List[str]]:
    """The wnids, sorted, and their names, from lines ``<wnid> <name>``.

    Raises:
        FileNotFoundError: there is no such file; the message shows the expected layout.
        ValueError: a line has no name, or a wnid stands twice.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; ImageNet is expected as\n{LAYOUT}\n(classnames.txt comes with CoOp's data set "
            "instructions)"
        )
    names: Dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        wnid, _, name = line.strip().partition(" ")
        if not name or wnid in names:
            reason = "stands twice" if wnid in names else "has no name"
            raise ValueError(
                f"{path} line {number}: {wnid} {reason}; each line must be '<wnid> <name>', each wnid once"
            )
        names[wnid] = name
    wnids = sorted(names)
    return wnids, [names[wnid] for wnid in wnids]


def _compare(folder: Path, wnids: List[str], found: Dict[str, List[str]]) -> None:
    missing = [wnid for wnid in wnids if not found.get(wnid)]
    if missing:
        raise FileNotFoundError(
            f"{folder} has images of {len(wnids) - len(missing)} of the {len(wnids)} classes in classnames.txt; "
            f"missing or empty: {_some(missing)}. Restore these folders, or remove their lines from classnames.txt"
        )
    unknown = sorted(set(found) - set(wnids))
    if unknown:
        raise ValueError(
            f"{folder} has {len(unknown)} folders that classnames.txt does not name: {_some(unknown)}. "
            "Remove them, or add their lines to classnames.txt"
        )


def _some(names: List[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
