"""The rules of the layout, checked in the source: which module may import which, and what pure modules may not do.

A change of these rules is welcome where the code needs it, in the same commit, with a record in `docs/adr/`.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.project.layers import FOLDERS, PACKAGES
from tests.project.library_places import BELONGS, STANDARD_BELONGS
from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path


# Folders of `oauth_core` with I/O; the modules of the others are pure.
ACTING = frozenset({"oauth_core.process", "oauth_core.store"})
# Modules that a pure module may not import: it has no clock, no environment, no I/O and no log.
IMPURE = frozenset(
    {"asyncio", "concurrent", "http", "io", "logging", "multiprocessing", "os", "select", "signal", "socket"}
    | {
        "ssl",
        "structlog",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "urllib.request",
    }
    | ACTING
)
CLOCKS = frozenset({"now", "utcnow", "today"})
# Besides every `__main__` and the command line: the start modules of the services and of a worker of the check
# service.
PROGRAMS = ("ext_authz.process.worker", "ext_authz.program", "oauth_web.program")
# Settings are read from the environment or a file.
FILE_READERS = frozenset({"oauth_core.settings.sources"})


VAGUE_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "misc", "shared", "base", "types", "lib"})


@dataclass(frozen=True)
class Module:
    """A module of ours: its dotted name, its path, and its contents."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def is_generated(self) -> bool:
        return ".generated" in self.name

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"


def read(path: Path, root: Path) -> Module:
    parts = path.relative_to(root).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name, path, ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))


@cache
def modules() -> dict[str, Module]:
    """Every module of the product, by name."""
    found = [read(path, ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {module.name: module for module in found}


def imports_of(module: Module, known: frozenset[str]) -> set[str]:
    """All imports of `module`, anywhere in it, for types only or not; our modules by their full name."""
    found: set[str] = set()
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package
            for _ in range(max(node.level - 1, 0)):
                base = base.rpartition(".")[0]
            source = ".".join(filter(None, (base, node.module))) if node.level else str(node.module)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.add(inner if inner in known else source)
    return found


@cache
def imports() -> dict[str, set[str]]:
    known = frozenset(modules())
    return {name: imports_of(module, known) for name, module in modules().items()}


def is_within(name: str, places: tuple[str, ...] | frozenset[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def folder_of(name: str) -> str:
    """The place of `FOLDERS` that a module belongs to."""
    return max((place for place in FOLDERS if is_within(name, (place,))), key=len)


def may_import(name: str, other: str) -> bool:
    """A module may import from its own folder and from those before it; a service never from the other one."""
    here, there = folder_of(name), folder_of(other)
    if {here.partition(".")[0], there.partition(".")[0]} == {"oauth_web", "ext_authz"}:
        return False
    return FOLDERS.index(there) <= FOLDERS.index(here)


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """The names along one cycle of `graph`, or none."""
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        path.append(name)
        for other in sorted(graph.get(name, ())):
            if cycle := visit(other):
                return cycle
        path.pop()
        done.add(name)
        return []

    return next((cycle for name in sorted(graph) if (cycle := visit(name))), [])


def pure_modules() -> list[Module]:
    return [
        module
        for module in modules().values()
        if is_within(module.name, ("oauth_core",)) and not is_within(module.name, ACTING)
    ]


# -- the reader itself -------------------------------------------------------------------------------------------


def test_imports_are_found_anywhere_in_a_module(tmp_path: Path) -> None:
    source = (
        "import a.b as c\nfrom d import e, f\nfrom . import g\nfrom .h import i\nfrom ..j import k\n"
        "if TYPE_CHECKING:\n    from l import m\ndef n() -> None:\n    import o\n"
    )
    (tmp_path / "p" / "q").mkdir(parents=True)
    path = tmp_path / "p" / "q" / "r.py"
    path.write_text(source)
    seen = imports_of(read(path, tmp_path), frozenset({"d.e", "p.q.g"}))
    assert seen == {"a.b", "d.e", "d", "p.q.g", "p.q.h", "p.j", "l", "o"}


def test_a_cycle_is_found() -> None:
    assert cycle_in({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d", "b"]
    assert cycle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    ("name", "other", "allowed"),
    [
        ("portcullis.cli.main", "ext_authz.decision.check", True),
        ("portcullis.cli.main", "portcullis.commands.up", False),
        ("oauth_web.endpoints.token", "oauth_core.store.records.authorization_codes", True),
        ("oauth_core.store.records.grants", "oauth_core.crypto.credentials", True),
        ("oauth_core.store.records.grants", "oauth_core.store.maintenance.schema", False),
        ("oauth_core.flows.token_requests", "oauth_core.model", True),
        ("oauth_core.flows.token_requests", "oauth_core.flows.device", True),
        ("oauth_core.flows.token_requests", "oauth_core.store.records.grants", False),
        ("oauth_core.policy.decision", "oauth_core.clients.registration", False),
        ("oauth_core.model", "oauth_core.flows.token_requests", False),
        ("oauth_core.jose.signing_keys", "oauth_web.runtime.deps", False),
        ("oauth_web.http.responses", "oauth_web.runtime.deps", False),
        ("oauth_web.runtime.deps", "ext_authz.decision.check", False),
        ("ext_authz.decision.check", "oauth_web.runtime.deps", False),
        ("ext_authz.decision.check", "ext_authz.process.worker", False),
        ("ext_authz.decision.check", "portcullis.cli.main", False),
    ],
)
def test_the_layers_are_these(name: str, other: str, allowed: bool) -> None:
    assert may_import(name, other) is allowed


def test_every_folder_is_in_the_layout_and_its_docstring_names_its_entry_points() -> None:
    packages = [module for module in modules().values() if module.is_package and not module.is_generated]
    assert {module.name for module in packages} <= {*FOLDERS, "ext_authz.generated"}
    divided = [
        module for module in packages if module.name.partition(".")[0] in {"oauth_core", "oauth_web", "ext_authz"}
    ]
    silent = [module.name for module in divided if "import" not in (ast.get_docstring(module.tree) or "").lower()]
    assert silent == []


def test_every_package_was_read() -> None:
    read_packages = {name.split(".")[0] for name in modules()}
    assert {"oauth_core", "oauth_web", "portcullis"} <= read_packages
    assert {"oauth_core.store.keyspace", "oauth_core.model", "oauth_web.endpoints.token"} <= set(modules())


# -- which module imports which ----------------------------------------------------------------------------------


def test_imports_go_downwards_only() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, others in imports().items()
        for other in sorted(others)
        if other in modules() and not may_import(name, other)
    ]
    assert wrong == []


def test_imports_have_no_cycle() -> None:
    ours = frozenset(modules())
    assert (
        cycle_in({name: {other for other in others if other in ours} for name, others in imports().items()}) == []
    )


def test_every_library_is_listed_and_imported_only_where_it_belongs() -> None:
    wrong = []
    for name, others in imports().items():
        for other in sorted(others):
            top = other.split(".")[0]
            if top in PACKAGES or top in sys.stdlib_module_names:
                places = STANDARD_BELONGS.get(top, (name,))
            else:
                places = BELONGS.get(top, ())
            if not is_within(name, places):
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_the_product_does_not_import_its_tests() -> None:
    assert [
        name for name, others in imports().items() if any(is_within(other, ("tests",)) for other in others)
    ] == []


# -- the tests ---------------------------------------------------------------------------------------------------


@cache
def modules_of_tests() -> dict[str, Module]:
    """Every module below `tests`, by name."""
    found = [read(path, ROOT) for path in sorted((ROOT / "tests").rglob("*.py"))]
    return {module.name: module for module in found}


def is_for_pytest_alone(name: str) -> bool:
    """Whether pytest collects this module, or reads its fixtures. Code that several tests use is elsewhere."""
    last = name.rpartition(".")[2]
    return last.startswith("test_") or last == "conftest"


def imports_in_tests() -> list[tuple[str, str]]:
    """Every import, by a module of the tests, of another one."""
    known = frozenset(modules_of_tests())
    return [
        (name, other)
        for name, module in modules_of_tests().items()
        for other in sorted(imports_of(module, known))
        if other in known
    ]


def test_the_imports_of_tests_were_read() -> None:
    assert ("tests.project.test_architecture", "tests.support.project") in imports_in_tests()


def test_no_module_imports_a_test_or_a_conftest() -> None:
    assert [f"{name} imports {other}" for name, other in imports_in_tests() if is_for_pytest_alone(other)] == []


def test_the_support_of_all_levels_of_tests_imports_none_of_them() -> None:
    support = ("tests.support",)
    wrong = [
        f"{name} imports {other}"
        for name, other in imports_in_tests()
        if is_within(name, support) and not is_within(other, support)
    ]
    assert wrong == []


# -- purity ------------------------------------------------------------------------------------------------------


def test_there_are_pure_modules_to_check() -> None:
    assert {"oauth_core.flows.token_requests", "oauth_core.tokens.access_tokens", "oauth_core.settings"} <= {
        m.name for m in pure_modules()
    }


def test_pure_modules_import_no_module_with_io() -> None:
    wrong = [
        f"{module.name} imports {other}"
        for module in pure_modules()
        for other in sorted(imports()[module.name])
        if is_within(other, IMPURE)
    ]
    assert wrong == []


def impurities(tree: ast.AST) -> list[str]:
    """The places in `tree` that wait, read a clock or open a file."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                found.append("async")
            case ast.Call(func=ast.Attribute(attr=name)) if name in CLOCKS:
                found.append(f"{name}()")
            case ast.Call(func=ast.Name(id="open" | "input" | "print" | "__import__" | "eval" | "exec" as name)):
                found.append(f"{name}()")
            case ast.Call(
                func=ast.Attribute(attr="read_text" | "read_bytes" | "write_text" | "write_bytes" as name)
            ):
                found.append(f"{name}()")
    return found


def test_impurities_are_found() -> None:
    source = (
        "async def f():\n    await g()\n    datetime.now(UTC)\n    date.today()\n    open(x)\n    p.read_text()\n"
    )
    assert sorted(impurities(ast.parse(source))) == ["async", "async", "now()", "open()", "read_text()", "today()"]


def test_pure_modules_neither_wait_nor_read_clocks_or_files() -> None:
    wrong = {
        module.name: found
        for module in pure_modules()
        if module.name not in FILE_READERS and (found := impurities(module.tree))
    }
    assert wrong == {}


def test_the_environment_is_read_by_programs_only() -> None:
    wrong = [
        module.name
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"environ", "getenv", "environb", "putenv"}
        and not (module.name.endswith(".__main__") or is_within(module.name, ("portcullis", *PROGRAMS)))
    ]
    assert wrong == []


# -- shared phases -----------------------------------------------------------------------------------------------


def calls_of(name: str, attributes: frozenset[str]) -> list[str]:
    """Which of these methods the module calls."""
    return [
        node.func.attr
        for node in ast.walk(modules()[name].tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in attributes
    ]


def test_only_one_module_of_the_web_stores_grants_and_issues_tokens() -> None:
    phases = frozenset({"index_grant", "add_token", "is_unredeemed_void", "too_many_of_user", "mint"})
    issuing = "oauth_web.grants.issuing"
    elsewhere = [
        f"{name} calls {call}"
        for name in modules()
        if name.startswith("oauth_web.") and name != issuing
        for call in calls_of(name, phases)
    ]
    assert elsewhere == []
    assert set(calls_of(issuing, phases)) == phases
    creating = [
        name
        for name in modules()
        if name.startswith("oauth_web.") and "grants.create(" in modules()[name].path.read_text(encoding="utf-8")
    ]
    assert creating == [issuing]


# -- names, openings, lengths ------------------------------------------------------------------------------------


def test_no_module_has_a_vague_name() -> None:
    assert [module.name for module in own_sources() if module.name.split(".")[-1] in VAGUE_NAMES] == []


@pytest.mark.parametrize("folder", ["envoy", "protos"])
def test_folders_with_the_names_of_libraries_are_no_packages(folder: str) -> None:
    # The wheels of Envoy and of its protocols install packages of these names.
    assert not (ROOT / folder / "__init__.py").exists()


def own_sources() -> list[Module]:
    return [module for module in (*modules().values(), *modules_of_tests().values()) if not module.is_generated]


def test_every_module_begins_with_a_docstring_sentence() -> None:
    def opens_well(module: Module) -> bool:
        opening = (ast.get_docstring(module.tree) or "").split("\n\n")[0]
        return len(opening.split()) > 2 and (opening[0].isupper() or opening[0] in "`/") and opening[-1] in ".:"

    # An empty file that only makes a folder of tests a package needs no docstring.
    silent = [
        m.name for m in own_sources() if not opens_well(m) and (m.tree.body or m.name.split(".")[0] != "tests")
    ]
    assert silent == []
