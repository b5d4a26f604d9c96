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
        if not folder.is_absolute():
            folder = _below_root(folder, data_root(cfg))
        super().__init__(read_own_folder(folder), cfg)


def _below_root(folder: Path, root: Path) -> Path:
    """``folder`` below ``root``; a FileNotFoundError where it is meant from where the user stands."""
    if folder.parts and not (root / folder).is_dir() and folder.is_dir():
        raise FileNotFoundError(
            f"DATASET.FOLDER {folder} is a folder below DATASET.ROOT, and there is no {root / folder}; for the one "
            f"here give DATASET.FOLDER {folder.absolute()}"
        )
    return root / folder


def import_datasets(*names: str) -> None:
    """Register the data set classes that names of the form ``package.module:ClassName`` import.

    Other names are left alone: their classes are registered already. A class extends ``dho_prompt.engine.DatasetBase``
    and takes the configuration.

    Raises:
        ValueError: the module cannot be imported, or has no such class; nothing of it was called.
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
                f"{name} is {found!r} and no data set: a class of your own extends DatasetBase of dho_prompt.engine "
                "(Dassl's where that is installed)"
            )
        DATASET_REGISTRY._do_register(name, found)
