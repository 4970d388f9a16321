"""Pages that point at each other and at the source must not point at nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import commands_page
from tools.options_page import PAGE, page

from .checkout import ROOT, files, relative

PAGES = [path for path in files() if path.suffix == ".md"]
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+?)\s*#*$", re.MULTILINE)


def prose(path: Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """The names under which a page's headings are linked."""
    titles = (title.replace("`", "").lower() for title in _HEADING.findall(prose(path)))
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for link in _LINK.findall(prose(path)):
        if "://" in link or link.startswith("mailto:"):
            continue
        target, _, anchor = link.partition("#")
        to = (path.parent / target).resolve() if target else path
        if not to.exists() or (anchor and to.suffix == ".md" and anchor not in anchors(to)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_page_begins_with_its_title(path: Path) -> None:
    if path.parent != ROOT / "changes" or path.name == "README.md":
        assert path.read_text(encoding="utf-8").startswith("# ")


def test_options_page_is_made_from_the_flag_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: make docs"


def test_commands_page_is_made_from_the_commands() -> None:
    assert commands_page.PAGE.read_text(encoding="utf-8") == commands_page.page(), "run: make docs"


def test_decisions_are_numbered_and_listed() -> None:
    folder = ROOT / "docs" / "adr"
    decisions = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [int(name[:4]) for name in decisions] == list(range(1, len(decisions) + 1))
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert listed == decisions


def test_fragments_say_what_kind_of_change_they_are() -> None:
    kinds = ("added", "changed", "fixed", "removed", "security")
    fragments = [path for path in files() if path.parent == ROOT / "changes" and path.name != "README.md"]
    assert not [path.name for path in fragments if not re.fullmatch(rf"[\w-]+\.(?:{'|'.join(kinds)})\.md", path.name)]
