"""What a checkout imports and Python does not find, or finds in another checkout, said in words that help."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

SCRIPT = "train.py"
_IMPORTING = (Path(__file__).parent, Path(importlib.__file__).parent)
# what pip calls packages that are imported by another name
PIP = {
    "cv2": "opencv-python",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
    "pkg_resources": "setuptools<81",
    "clip": "git+https://github.com/openai/CLIP.git",
    "dassl": "git+https://github.com/KaiyangZhou/Dassl.pytorch.git",
}


def how_to_install(name: str) -> str:
    """The command that most likely installs what is imported as ``name``."""
    top = name.split(".")[0]
    return f"pip install '{PIP[top]}'" if top in PIP else f"pip install {top}"


@contextmanager
def imports_explained(who: str) -> Iterator[None]:
    """Say which file imports what is not installed, and what to do.

    Args:
        who: what is being imported or built, for where no file can be named.

    Raises:
        ValueError: in place of a ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not error.name:
            raise
        files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
        files = [file for file in files if not file.startswith("<") and Path(file).parent not in _IMPORTING]
        raise ValueError(f"{files[-1] if files else who} imports {_missing(error.name)}") from error


def _missing(name: str) -> str:
    top = name.split(".")[0]
    found = _place(sys.modules.get(top)) or _found(top)
    if found and top != name:
        return (
            f"{name}, but the {top} that Python finds is {found}, which has none: it is of another checkout, or of "
            "another version than the code base was written for; leave one checkout on PYTHONPATH, or install that "
            "version"
        )
    return (
        f"{name}, which is not installed; install it (often: {how_to_install(name)}), or, where it is a folder of the "
        "code base or Dassl itself, put its parent folder on PYTHONPATH"
    )


def _found(top: str) -> str:
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return ""
    return "" if spec is None else str(spec.origin or next(iter(spec.submodule_search_locations or []), ""))


def refuse_two_checkouts(host: type, script: Path | None = None) -> None:
    """Refuse a host whose files, or whose train.py, come from more than one checkout on Python's path.

    Args:
        host: the trainer class.
        script: the train.py that runs; default the one of the command line, if it is one.

    Raises:
        ValueError: names both.
    """
    place = _place(sys.modules.get(host.__module__))
    root = next((folder for folder in Path(place).parents if (folder / SCRIPT).is_file()), None) if place else None
    if root is None:
        return  # no checkout of this kind
    script = Path(sys.argv[0]).resolve() if script is None else script
    if script.name == SCRIPT and script.is_file() and script.parent != root:
        raise ValueError(_two(host, place, f"{script} runs", script.parent))
    own = {path.stem for path in root.iterdir() if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))}
    for name in sorted(_modules_used(root)):
        other = _place(sys.modules.get(name))
        if name.split(".")[0] in own and other and root not in Path(other).parents:
            raise ValueError(_two(host, place, f"its {name.split('.')[0]} is {other}", root))


def _two(host: type, place: str, what: str, wanted: Path) -> str:
    return (
        f"{host.__name__} is in {place}, but {what}: two checkouts are on Python's path, and parts of one would run in "
        f"the other; leave only {wanted} on PYTHONPATH"
    )


def _modules_used(root: Path) -> set[str]:
    """Names of the modules that the loaded files below a folder use."""
    below = [module for module in list(sys.modules.values()) if root in Path(_place(module)).parents]
    names: set[Any] = set()
    for value in (value for module in below for value in list(vars(module).values())):
        names.add(value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None))
    return {name for name in names if isinstance(name, str)}


def _place(module: Any) -> str:
    """The file or folder of a loaded module, or ""."""
    if not isinstance(module, ModuleType):
        return ""
    file = vars(module).get("__file__")
    paths = [] if file else list(vars(module).get("__path__") or [])
    return str(Path(file or paths[0]).resolve()) if file or paths else ""
