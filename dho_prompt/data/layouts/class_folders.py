"""The file names below class folders, listed once and remembered."""

from __future__ import annotations

import os
from pathlib import Path

from tqdm import tqdm

from dho_prompt.files import read_json, write_json

KEPT_FROM = 10_000  # shorter listings are not worth a file


def class_folder_stamps(folder: Path) -> dict[str, int]:
    """Class folder name -> time of its last change in ns, sorted; hidden ones are passed over.

    Equal stamps mean that no file was added, removed or renamed.
    """
    names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith(".") and entry.is_dir())
    return {name: os.stat(os.path.join(folder, name)).st_mtime_ns for name in names}


def list_class_folders(folder: Path, stamps: dict[str, int] | None = None) -> dict[str, list[str]]:
    """File names, sorted, per class folder of ``folder``.

    A listing of more than 10,000 files is kept as ``<folder>.index.json`` beside the folder (relative names only, so
    that the whole may be moved) and used again while no class folder has changed: a run does not list a million
    files. A damaged one is made again, and the log says so. A folder that cannot be written to is listed every time.

    Args:
        folder: its sub-folders are the classes; hidden files and folders are passed over.
        stamps: :func:`class_folder_stamps` of it, when known.

    Returns:
        Class folder name -> file names (possibly none).
    """
    stamps = class_folder_stamps(folder) if stamps is None else stamps
    index = folder.with_name(folder.name + ".index.json")
    known = _read_index(index)
    if known.get("stamps") == stamps:
        return known["files"]
    files = {
        name: sorted(
            entry.name
            for entry in os.scandir(os.path.join(folder, name))
            if not entry.name.startswith(".") and entry.is_file()
        )
        for name in tqdm(stamps, desc=f"listing {folder}", disable=len(stamps) < 100)
    }
    if sum(map(len, files.values())) > KEPT_FROM:
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
    except (ValueError, OSError):
        known = None
    if isinstance(known, dict) and _names_by_class(known.get("files"), known.get("stamps")):
        return known
    print(f"{index} is damaged; listing the folder again")
    return {}


def _names_by_class(files: object, stamps: object) -> bool:
    if not isinstance(files, dict) or not isinstance(stamps, dict) or set(files) != set(stamps):
        return False
    return all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in files.values())
