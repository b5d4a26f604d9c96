"""Links within the repository lead somewhere, headings included; pages speak of files that are there."""

import re

import pytest

from page_blocks import FENCE, PAGES, REPOSITORY

LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"`((?:scripts|configs|tests|docs|\.ci)/[\w./-]+)`")


def anchors(text):
    """Of the headings of a page, as GitHub and mkdocs make them."""
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page):
    text = page.read_text(encoding="utf-8")
    for link in LINK.findall(FENCE.sub("", text)):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), f"{page.name} links {link}"
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"{page.name} links {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named(page):
    for name in FILE.findall(page.read_text(encoding="utf-8")):
        assert (REPOSITORY / name).exists(), f"{page.name} names {name}"


def test_the_readme_is_short():
    """One screen a question; what is longer has a page."""
    sections = re.split(r"^## ", (REPOSITORY / "README.md").read_text(encoding="utf-8"), flags=re.M)
    assert all(section.count("\n") <= 40 for section in sections), [section.split("\n")[0] for section in sections]


def test_the_menu_names_a_page_once():
    named = re.findall(r"[\w/]+\.md", (REPOSITORY / ".mkdocs.yml").read_text(encoding="utf-8").split("nav:")[1])
    assert len(named) == len(set(named)), sorted(name for name in named if named.count(name) > 1)
    top = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
    pages = {top.get(page.name) or page.relative_to(REPOSITORY / "docs").as_posix() for page in PAGES}
    assert set(named) <= pages | {"changelog.md"}
