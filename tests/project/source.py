"""Reads the product's and the tests' Python files as syntax trees, for tests about the source itself."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRODUCT = ("oauth_core", "oauth_web", "ext_authz", "portcullis")


@dataclass(frozen=True)
class Source:
    """One file: the dotted name of its module, and its syntax tree."""

    name: str
    tree: ast.Module


@cache
def sources(package: str) -> tuple[Source, ...]:
    """Every module of one folder at the root of the project, without generated ones."""
    paths = sorted((ROOT / package).rglob("*.py"))
    return tuple(
        Source(_name(path), ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
        for path in paths
        if "generated" not in path.parts
    )


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(tree: ast.AST, *, at_runtime: bool = False) -> set[str]:
    """The full names of the modules that `tree` imports; `from a import b` counts as `a` and as `a.b`.

    With `at_runtime` the imports for the type checker only are left out.
    """
    found: set[str] = set()
    for node in _nodes(tree, at_runtime=at_runtime):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module), names=names, level=0):
                found |= {module, *(f"{module}.{alias.name}" for alias in names)}
    return found


def _nodes(tree: ast.AST, *, at_runtime: bool) -> Iterator[ast.AST]:
    yield tree
    children = ast.iter_child_nodes(tree)
    if at_runtime and isinstance(tree, ast.If) and ast.unparse(tree.test).endswith("TYPE_CHECKING"):
        children = iter(tree.orelse)
    for child in children:
        yield from _nodes(child, at_runtime=at_runtime)


def used_names(tree: ast.AST) -> set[str]:
    """The full names that `tree` uses of the modules that it imports, such as `os.replace`.

    A name that is imported from a module counts by itself, under any local name.
    """
    modules: dict[str, str] = {}
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                modules |= {alias.asname or alias.name: alias.name for alias in names}
            case ast.ImportFrom(module=str(module), names=names, level=0):
                found |= {f"{module}.{alias.name}" for alias in names}
                modules |= {alias.asname or alias.name: f"{module}.{alias.name}" for alias in names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            place, dot, name = ast.unparse(node).rpartition(".")
            if place in modules:
                found.add(f"{modules[place]}{dot}{name}")
    return found
