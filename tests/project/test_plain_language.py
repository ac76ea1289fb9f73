"""Docstrings, comments and pages of the product use plain sentences and the words of the glossary.

It finds only what a list of words can find: sentences without an actor as their subject, and names of former
versions. Tests, decision records and the changelog are not searched, because they quote.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import TYPE_CHECKING

import pytest

from tests.project.layers import PACKAGES
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SUBJECTS = re.compile(
    r"(?:\A|[.:;(]\s+)(?:Who|Whoever|Whose|Nobody|Nothing|Somebody|Everybody|Whatever|What)\b[^.?:]*(?:[.:]|\Z)"
)
_PEOPLE = re.compile(r"\b(?:whoever|nobody|somebody|everybody|anybody|no one)\b", re.IGNORECASE)
_TOLD = re.compile(r"\b(?:told|untold)\b", re.IGNORECASE)
_FORMER_NAMES = re.compile(
    r"\b(?:journeys?|rosters?|witness(?:es)?|token memory|node view|local view|strangers?|newcomers?)\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)", re.DOTALL)
PAGES = sorted(
    page
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
    if page.name not in {"CHANGELOG.md", "glossary.md"}
)
MODULES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "generated" not in path.parts
)


def prose_of(source: str) -> Iterator[str]:
    """The docstrings and comments of a module, each as one text."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.value.value
    comments: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.append(token.string.lstrip("# "))
        elif token.type not in {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}:
            yield " ".join(comments)
            comments = []


def faults_of(text: str) -> list[str]:
    """The parts of `text` that a reader must translate. Code is left out."""
    plain = " ".join(_CODE.sub("x", text).split())
    return [found[0] for rule in (_SUBJECTS, _PEOPLE, _TOLD, _FORMER_NAMES) for found in rule.finditer(plain)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_in_plain_language(page: Path) -> None:
    assert faults_of(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_and_comments_are_in_plain_language(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {fault}"
        for path in MODULES
        if path.is_relative_to(ROOT / package)
        for text in prose_of(path.read_text(encoding="utf-8"))
        for fault in faults_of(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [
        ("Who comes late is refused.", False),
        ("The check of nobody.", False),
        ("It is told to end.", False),
        ("A witness of the roster.", False),
        ("Return `told`, which nobody-else reads.", False),
        ("Callers beyond the limit are rejected. `nobody` is a user name.", True),
        ("```\\nnobody\\n```", True),
    ],
)
def test_the_list_finds_what_it_is_for(text: str, is_plain: bool) -> None:
    assert (faults_of(text) == []) == is_plain
