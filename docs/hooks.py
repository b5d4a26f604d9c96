"""What the build adds to docs/: the pages at the top of the repository, and pages that the menu does not name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

TOP = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
ROLE = re.compile(r":(?:class|func|meth|attr|data|mod):(<code>)[~.]?(?:[\w.]+\.)?(\w+)(</code>)")


def on_files(files: Any, config: Any) -> Any:
    """The README is the first page; the two others are pages too."""
    for name, page in PAGES.items():
        text = (TOP / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=_moved(text, "")))
    named = str(config.nav)
    others = [file.src_uri for file in files.documentation_pages() if f"'{file.src_uri}'" not in named]
    if others:
        config.nav.insert(-1, {"More": sorted(others)})
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links from docs/ to the top of the repository lead to these pages."""
    return _moved(markdown, "../")


def on_page_content(html: str, **_: Any) -> str:
    """Sphinx roles of docstrings are names in code."""
    return ROLE.sub(r"\1\2\3", html)


def _moved(text: str, up: str) -> str:
    for name, page in PAGES.items():
        text = text.replace(f"]({up}{name})", f"]({page})")
    return text
