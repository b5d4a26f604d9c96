"""The images below class folders, listed once and remembered, and what lies there besides."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tqdm import tqdm

from dho_prompt.data.layouts.contents import is_file, is_folder, some
from dho_prompt.files import read_json, write_json

KEPT_FROM = 10_000  # shorter listings are not worth a file

_ENDINGS: frozenset[str] = frozenset()


def is_image(name: str) -> bool:
    """Whether a file is an image by its ending, among those that Pillow reads."""
    global _ENDINGS
    if not _ENDINGS:
        Image.init()
        _ENDINGS = frozenset(ending[1:] for ending in Image.EXTENSION) - {"pdf", "palm"}  # these it writes alone
    stem, _, ending = name.rpartition(".")
    return ending.lower() in _ENDINGS and bool(stem)


class Listing(NamedTuple):
    """What lies below class folders.

    Args:
        images: class folder -> names of its images, sorted; possibly none.
        others: ``<class folder>/<name>`` of what else is there, with a mark at its end: a slash for a folder, which is
            not looked into, and ``@`` for a link that leads nowhere; none for a file.
    """

    images: dict[str, list[str]]
    others: list[str]

    def notes(self, folder: Path) -> list[str]:
        """What is passed over below ``folder``, in words."""
        folders = [name[:-1] for name in self.others if name.endswith("/")]
        links = [name[:-1] for name in self.others if name.endswith("@")]
        files = [name for name in self.others if name[-1] not in "/@"]
        found = []
        if files:
            found.append(f"{len(files)} files below {folder} are no images by their ending: {some(files)}")
        if links:
            found.append(f"{len(links)} links below {folder} lead nowhere: {some(links)}")
        if folders:
            found.append(
                f"{len(folders)} folders within class folders of {folder} are not looked into: {some(folders)}; images "
                "must lie in the folder of their class itself"
            )
        return found


def class_folder_stamps(folder: Path) -> dict[str, int]:
    """Class folder name -> time of its last change in ns, sorted; hidden ones are passed over.

    Equal stamps mean that no file was added, removed or renamed.
    """
    names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith(".") and is_folder(entry))
    return {name: os.stat(os.path.join(folder, name)).st_mtime_ns for name in names}


def list_class_folders(folder: Path, stamps: dict[str, int] | None = None) -> Listing:
    """The images of each class folder of ``folder``.

    A listing of more than 10,000 files is kept as ``<folder>.index.json`` beside the folder (relative names only, so
    that the whole may be moved) and used again while no class folder has changed: a run does not list a million
    files. A damaged one is made again, and the log says so. A folder that cannot be written to is listed every time.

    Args:
        folder: its sub-folders are the classes; hidden files and folders are passed over.
        stamps: :func:`class_folder_stamps` of it, when known.
    """
    stamps = class_folder_stamps(folder) if stamps is None else stamps
    index = folder.with_name(folder.name + ".index.json")
    known = _read_index(index)
    if known.get("stamps") == stamps:
        return _sorted_out(known["entries"])
    entries = {
        name: _entries(os.path.join(folder, name))
        for name in tqdm(stamps, desc=f"listing {folder}", disable=len(stamps) < 100)
    }
    if sum(map(len, entries.values())) > KEPT_FROM:
        try:
            write_json(index, {"stamps": stamps, "entries": entries})
        except OSError as error:
            print(f"The list of {folder} is not kept ({error}); it will be made again next time")
    return _sorted_out(entries)


def _entries(folder: str) -> list[str]:
    """Names of what is in a folder, sorted, marked as :class:`Listing` says."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if is_file(entry):
                found.append(entry.name)
            elif is_folder(entry):
                found.append(f"{entry.name}/")
            elif entry.is_symlink():
                found.append(f"{entry.name}@")
    return sorted(found)


def _sorted_out(entries: dict[str, list[str]]) -> Listing:
    images = {name: [entry for entry in inside if is_image(entry)] for name, inside in entries.items()}
    others: list[str] = []
    for name, inside in entries.items():
        if len(images[name]) < len(inside):
            others += [f"{name}/{entry}" for entry in inside if not is_image(entry)]
    return Listing(images, others)


def _read_index(index: Path) -> dict:
    if not index.is_file():
        return {}
    try:
        known = read_json(index)
    except (ValueError, OSError):
        known = None
    if isinstance(known, dict) and _names_by_class(known.get("entries"), known.get("stamps")):
        return known
    print(f"{index} is damaged, or of an older version; listing the folder again")
    return {}


def _names_by_class(entries: object, stamps: object) -> bool:
    if not isinstance(entries, dict) or not isinstance(stamps, dict) or set(entries) != set(stamps):
        return False
    return all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in entries.values())
