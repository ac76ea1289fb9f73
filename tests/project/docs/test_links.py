"""The links of every page have a target, and the modules and files that pages name exist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from tests.project.layers import FOLDERS, PACKAGES
from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
HISTORY = frozenset({ROOT / "CHANGELOG.md", *(DOCS / "adr").glob("0*.md")})
"""Pages about the past: they keep the names of their time."""

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:\A|(?<=\n\n))(?: {4}.*\n)+", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_FILE = re.compile(rf"(?:{'|'.join([*PACKAGES, 'tests', 'docs'])})/[\w./-]*\w/?")
# Files, units and metadata of Envoy have names like `portcullis.toml`, so modules of that package are left out.
_MODULE = re.compile(r"(?:oauth_core|oauth_web|ext_authz)(?:\.[a-z_0-9]+)+")


def _prose(page: Path) -> str:
    """The text of `page` without its code blocks."""
    return _INDENTED.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))


def _links(text: str) -> list[str]:
    return _LINK.findall(_CODE.sub("code", text))


def _anchors(page: Path) -> set[str]:
    """The fragments of the headings of `page`, as GitHub generates them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_prose(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.replace("`", "")).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(
            next(name for number in range(100) if (name := f"{slug}-{number}" if number else slug) not in found)
        )
    return found


def _fault(page: Path, link: str) -> str | None:
    """The fault of `link` on `page`."""
    if re.match(r"[a-z][a-z0-9+.-]*:", link):
        return None
    target, _, anchor = link.partition("#")
    path = (page.parent / unquote(target)).resolve() if target else page
    if not path.exists() or not path.is_relative_to(ROOT):
        return f"{link}: there is no such file"
    if anchor and anchor not in _anchors(path):
        return f"{link}: there is no such heading"
    return None


def test_links_and_headings_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` (c)\n\n    [no](link)\n\n[one](x.md) `[no](link)` [`two`](#a-b-c)\n\n## Same\n\n## Same\n"
    )
    assert _links(_prose(page)) == ["x.md", "#a-b-c"]
    assert _anchors(page) == {"a-b-c", "same", "same-1"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_has_a_target(page: Path) -> None:
    assert [fault for link in _links(_prose(page)) if (fault := _fault(page, link))] == []


def _is_there(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in HISTORY], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_the_modules_and_files_that_a_page_names_exist(page: Path) -> None:
    codes = _CODE.findall(_prose(page))
    missing = [code for code in codes if _MODULE.fullmatch(code) and not _is_there(code)]
    missing += [code for code in codes if _FILE.fullmatch(code) and not (ROOT / code).exists()]
    assert missing == []


def test_every_page_is_on_the_map() -> None:
    listed = {(DOCS / link.partition("#")[0]).resolve() for link in _links(_prose(DOCS / "README.md"))}
    pages = {page for page in PAGES if page.is_relative_to(DOCS) and page not in HISTORY}
    assert {page.relative_to(DOCS).as_posix() for page in pages - listed} == {"README.md"}


def test_the_architecture_page_has_every_folder() -> None:
    named = set(_CODE.findall((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")))
    folders = {place.partition(".")[2].replace(".", "/") or place for place in FOLDERS}
    missing = {folder for folder in folders if not {folder, f"{folder}/"} & named}
    assert missing == {"errors"}  # a module that every other one may import


def test_the_glossary_is_sorted_and_each_word_has_an_owner() -> None:
    rows = [line.split(" | ") for line in (DOCS / "glossary.md").read_text(encoding="utf-8").splitlines()]
    entries = [row for row in rows if len(row) == 3][1:]
    words = [row[0].removeprefix("| ") for row in entries]
    assert words == sorted(words, key=str.casefold)
    assert [row[0] for row in entries if not re.search(r"`|\]\(", row[2])] == []
