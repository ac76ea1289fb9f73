"""Docstrings, comments, pages and the names of tests use plain sentences and the words of the glossary.

The check has a list of words: it finds sentences without an actor as their subject, and names of former versions.
Decision records, the changelog, strings and this module are not searched, because they quote.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.project.layers import PACKAGES
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUBJECTS = re.compile(
    r"(?:\A|[.:;(]\s+)(?:Who|Whoever|Whose|Nobody|Nothing|Somebody|Everybody|Whatever|What)\b[^.?:]*(?:[.:]|\Z)"
)
_PEOPLE = re.compile(r"\b(?:whoever|nobody|somebody|everybody|anybody|no one)\b", re.IGNORECASE)
_TOLD = re.compile(r"\b(?:told|untold|believe[sd]?)\b", re.IGNORECASE)
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
FOLDERS = (*PACKAGES, "tests")
MODULES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if "generated" not in path.parts and path != Path(__file__)
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


def sentences_of(source: str) -> Iterator[str]:
    """The names of the tests of a module, each as a sentence."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name.removeprefix("test_").replace("_", " ").capitalize() + "."


def faults_of(text: str) -> list[str]:
    """The parts of `text` that a reader must translate. Code is left out."""
    plain = " ".join(_CODE.sub("x", text).split())
    return [found[0] for rule in (_SUBJECTS, _PEOPLE, _TOLD, _FORMER_NAMES) for found in rule.finditer(plain)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_in_plain_language(page: Path) -> None:
    assert faults_of(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_comments_and_names_of_tests_are_in_plain_language(folder: str) -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in MODULES if path.is_relative_to(ROOT / folder)}
    assert sources
    found = [
        f"{path.relative_to(ROOT)}: {fault}"
        for path, source in sources.items()
        for text in (*prose_of(source), *sentences_of(source))
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
def test_former_and_vague_words_are_found(text: str, is_plain: bool) -> None:
    assert (faults_of(text) == []) == is_plain


def test_a_name_without_an_actor_is_found() -> None:
    source = "def test_who_comes_late_is_refused(): ...\nasync def test_a_late_caller_is_refused(): ...\n"
    assert [faults_of(sentence) != [] for sentence in sentences_of(source)] == [True, False]
