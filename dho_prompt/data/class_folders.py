"""The file names below class folders, listed once and remembered."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List

from tqdm import tqdm

from dho_prompt.files import read_json, write_json


def list_class_folders(folder: Path) -> Dict[str, List[str]]:
    """File names, sorted, per class folder of ``folder``.

    A listing of more than 10,000 files is kept as ``<folder>.index.json`` beside the folder (relative names only) and
    used again while no class folder has changed, so that a run does not list a million files. A folder that cannot
    be written to is listed every time.

    Args:
        folder: its sub-folders are the classes; hidden files and folders are passed over.

    Returns:
        Class folder name -> file names (possibly none).
    """
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    stamps = {name: os.stat(folder / name).st_mtime_ns for name in classes}
    index = folder.with_name(folder.name + ".index.json")
    known = _read_index(index)
    if known.get("stamps") == stamps:
        return known["files"]
    bar = tqdm(classes, desc=f"listing {folder}", disable=len(classes) < 100)
    files = {
        name: sorted(
            entry.name for entry in os.scandir(folder / name) if not entry.name.startswith(".") and entry.is_file()
        )
        for name in bar
    }
    if sum(map(len, files.values())) > 10_000:
        try:
            write_json(index, {"stamps": stamps, "files": files})
        except OSError as error:
            print(f"The list of {folder} is not kept ({error}); it will be made again next time")
    return files


def _read_index(index: Path) -> dict:
    if not index.is_file():
        return {}
    try:
        known = read_json(index)
        return known if isinstance(known, dict) and isinstance(known.get("files"), dict) else {}
    except ValueError:
        print(f"{index} is damaged; listing the folder again")
        return {}
