"""Reads the manifest and the marks on the tests, and writes `docs/generated/requirements.md` from both.

`python -m tests.project.requirements.manifest` writes the page.
"""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parents[1]
PAGE = TESTS.parent / "docs" / "generated" / "requirements.md"
MARK = "requirement"

_PREFACE = """# Requirements, and the tests that show them

`python -m tests.project.requirements.manifest` writes this page from
[`tests/project/requirements/`](../../tests/project/requirements/) and the marks on the tests; a test
compares both, in both directions. We summarise each requirement; the specification's text is
authoritative. Requirements for clients are not listed.
"""


@dataclass(frozen=True)
class Requirement:
    """One requirement. `reason` explains why no test proves it; otherwise the marks name the tests."""

    key: str
    section: str
    level: str
    says: str
    reason: str | None


@dataclass(frozen=True)
class Source:
    """One specification, or the complaints."""

    name: str
    title: str
    url: str | None
    requirements: tuple[Requirement, ...]


@cache
def sources() -> tuple[Source, ...]:
    """Every source, by the name of its file."""
    return tuple(_source(path) for path in sorted(HERE.glob("*.toml")))


def _source(path: Path) -> Source:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    found = tuple(
        Requirement(
            key=f"{path.stem}:{entry['id']}",
            section=entry["section"],
            level=entry["level"],
            says=entry["says"],
            reason=entry.get("reason"),
        )
        for entry in document["requirement"]
    )
    return Source(document["source"], document["title"], document.get("url"), found)


@cache
def marks() -> dict[str, tuple[str, ...]]:
    """The tests with the mark of each requirement, read from their source."""
    found = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        place = path.relative_to(TESTS.parent).as_posix()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for key in _keys(node):
                    found[key].append(f"{place}::{node.name}")
    return {key: tuple(tests) for key, tests in found.items()}


def _keys(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [
        argument.value
        for decorator in function.decorator_list
        if isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Attribute)
        and decorator.func.attr == MARK
        for argument in decorator.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]


def page() -> str:
    """The text of `docs/generated/requirements.md`."""
    parts = [_PREFACE]
    for source in sources():
        name = f"[{source.name}]({source.url})" if source.url else source.name
        parts.append(
            f"\n## {source.title}\n\n{name}\n\n| section | level | what | shown by |\n| --- | --- | --- | --- |\n"
        )
        parts += [_row(requirement) for requirement in source.requirements]
    return "".join(parts)


def _row(requirement: Requirement) -> str:
    shown = requirement.reason or "<br>".join(
        f"[{_words(test)}](../../{test.partition('::')[0]})" for test in marks().get(requirement.key, ())
    )
    return f"| {requirement.section} | {requirement.level} | {requirement.says} | {shown} |\n"


def _words(test: str) -> str:
    """The name of a test as a sentence."""
    return test.partition("::test_")[2].replace("_", " ")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
