"""A user's own data: a folder of images, or a data set class of another package."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from dho_prompt.data.datasets.base import NamedClasses, data_root
from dho_prompt.data.layouts.own_folder import read_own_folder
from dho_prompt.engine import DATASET_REGISTRY, DatasetBase


class ImageFolder(NamedClasses):
    """Class folders below DATASET.FOLDER, which may be relative to DATASET.ROOT, or below DATASET.ROOT itself.

    What the folder may hold, and how it is split when it has class folders alone, says
    :func:`~dho_prompt.data.layouts.own_folder.read_own_folder`. Images below ``unlabelled`` join the pool.
    """

    def __init__(self, cfg: Any) -> None:
        folder = Path(cfg.DATASET.FOLDER).expanduser()
        super().__init__(read_own_folder(folder if folder.is_absolute() else data_root(cfg) / folder), cfg)


def import_datasets(*names: str) -> None:
    """Register the data set classes that names of the form ``package.module:ClassName`` import.

    Other names are left alone: their classes are registered already. A class extends the engine's ``DatasetBase`` and
    takes the configuration; nothing else is called.

    Raises:
        ValueError: the module cannot be imported, has no such name, or that is no data set class.
    """
    for name in names:
        module, colon, attribute = name.partition(":")
        if not colon or name in DATASET_REGISTRY.registered_names():
            continue
        try:
            found = getattr(import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(
                f"the data set {name} cannot be imported ({error}); write package.module:ClassName, with the package "
                "installed or on PYTHONPATH"
            ) from error
        if not (isinstance(found, type) and issubclass(found, DatasetBase)):
            raise ValueError(
                f"{name} is no data set class but {found!r}; one extends dho_prompt.engine.DatasetBase (Dassl's, where "
                "that is installed)"
            )
        DATASET_REGISTRY._do_register(name, found)
