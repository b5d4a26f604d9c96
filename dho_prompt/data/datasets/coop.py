"""The data sets of CoOp's family in its folder layout: the eleven, and ImageNet's four shifted test sets."""

from __future__ import annotations

from typing import Any

from dho_prompt.data.choose.host_few_shot import HostFolder
from dho_prompt.data.datasets.base import NamedClasses, data_root
from dho_prompt.data.layouts.read import read_contents
from dho_prompt.data.layouts.table import LAYOUTS, TEN, Layout


class LaidOut(NamedClasses):
    """A data set of the table :data:`~dho_prompt.data.layouts.table.LAYOUTS`.

    Raises:
        FileNotFoundError, ValueError, OSError: what ``python -m dho_prompt.data check`` says.
    """

    layout: Layout

    def __init__(self, cfg: Any) -> None:
        root = data_root(cfg)
        host = HostFolder(root / self.layout.folder, ordered=self.layout in TEN)
        super().__init__(read_contents(self.layout, root), cfg, host)


def _dataset(layout: Layout) -> type:
    members = {
        "__doc__": f"{layout.name}, in ``{layout.folder}`` below DATASET.ROOT.",
        "__module__": __name__,
        "layout": layout,
        "dataset_dir": layout.folder,
    }
    return type(layout.name, (LaidOut,), members)


DATASETS = {layout.name: _dataset(layout) for layout in LAYOUTS}
ImageNet = DATASETS["ImageNet"]
