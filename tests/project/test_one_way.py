"""There is one way to do each task: one module implements it, and all others use that module."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.project.source import PRODUCT, sources, used_names

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class OneWay:
    """Each task, the names of the standard library for it, and the modules that may use them.

    A name that ends in `*` is a prefix.
    """

    what: str
    names: tuple[str, ...]
    modules: tuple[str, ...]

    def is_used_by(self, used: set[str]) -> bool:
        return any(
            name.startswith(own[:-1]) if own.endswith("*") else name == own for own in self.names for name in used
        )


WAYS = (
    OneWay("digest", ("hashlib.*", "hmac.new", "hmac.digest"), ("oauth_core.crypto.digests",)),
    OneWay(
        "read and write base64url",
        ("base64.urlsafe_b64encode", "base64.urlsafe_b64decode"),
        ("oauth_core.crypto.base64url",),
    ),
    # Each of the last three parses an address that is no listening address: of a caller, an origin or an MCP
    # resource.
    OneWay(
        "read an IP address",
        ("ipaddress.*",),
        (
            "oauth_core.net.address_ranges",
            *("oauth_core.net.special_addresses", "oauth_core.net.quoted_addresses", "oauth_core.net.public_urls"),
            *("oauth_core.limits.rate_limits", "oauth_core.policy.resource_uris"),
        ),
    ),
    OneWay(
        "write a private file",
        ("tempfile.mkstemp", "tempfile.NamedTemporaryFile", "os.replace", "os.rename", "os.fsync"),
        ("oauth_core.process.private_files",),
    ),
    OneWay("lock a file", ("fcntl.flock", "fcntl.lockf", "fcntl.fcntl"), ("oauth_core.process.file_lock",)),
    # Everywhere else `asyncio.timeout`: before Python 3.12, `wait_for` hides a cancellation that comes when the
    # awaited work ends, and the task goes on for ever.
    OneWay("limit the time of a wait", ("asyncio.wait_for",), ("portcullis.sinks.nats",)),
    OneWay(
        "follow a file", ("os.stat", "inotify*", "watchfiles*", "watchdog*"), ("oauth_core.process.file_follower",)
    ),
)


def test_names_are_found_with_every_form_of_import() -> None:
    tree = ast.parse("import os\nimport a.b as c\nfrom d import e as f\nos.replace(x)\nc.g()\nf.h\nx.replace()\n")
    assert used_names(tree) == {"os.replace", "a.b.g", "d.e", "d.e.h"}


def doublings(tree: ast.AST) -> int:
    """The number of places where `tree` doubles a wait up to a limit."""
    return sum(
        isinstance(node, ast.Call) and ast.unparse(node).startswith("min(") and " * 2," in ast.unparse(node)
        for node in ast.walk(tree)
    )


def port_tables(tree: ast.AST) -> int:
    """The number of tables of the default ports of http and https in `tree`."""
    return sum(
        isinstance(node, ast.Dict)
        and {ast.unparse(key) for key in node.keys if key is not None} == {"'http'", "'https'"}
        and "443" in ast.unparse(node)
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize(
    ("count", "module"),
    [(doublings, "oauth_core.process.backoff"), (port_tables, "oauth_core.net.public_urls")],
)
def test_one_module_has(count: Callable[[ast.AST], int], module: str) -> None:
    assert {source.name for package in PRODUCT for source in sources(package) if count(source.tree)} == {module}


def ports_that_the_system_chooses(tree: ast.AST) -> int:
    """The number of sockets that `tree` binds to port 0."""
    return sum(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "bind"
        and ast.unparse(node.args[0]).endswith(", 0)")
        for node in ast.walk(tree)
        if getattr(node, "args", None)
    )


def test_there_is_one_way_to_find_a_free_port() -> None:
    users = {
        source.name
        for package in (*PRODUCT, "tests")
        for source in sources(package)
        if ports_that_the_system_chooses(source.tree)
    }
    # The two tests need a port that stays occupied or closed.
    assert users == {"oauth_core.process.ports", "tests.envoy.test_failures", "tests.system.up.test_refusals"}


# The class that keeps programs running, and its subclasses.
SUPERVISORS = {
    "oauth_core.process.supervision",
    "ext_authz.process.supervisor",
    "portcullis.supervisor.child",
    "portcullis.supervisor.process_group",
}


def test_one_supervisor_keeps_all_programs_running() -> None:
    starters = {
        source.name
        for package in PRODUCT
        for source in sources(package)
        if {
            "oauth_core.process.child_process.ChildProcess",
            "oauth_core.process.supervision.Keeper",
            "oauth_core.process.supervision.Watch",
        }
        & used_names(source.tree)
    }
    assert starters == SUPERVISORS - {"oauth_core.process.supervision"} | {"ext_authz.process.worker_process"}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.what.replace(" ", "-"))
def test_there_is_one_way_to(way: OneWay) -> None:
    users = {
        source.name
        for package in PRODUCT
        for source in sources(package)
        if way.is_used_by(used_names(source.tree))
    }
    assert users == set(way.modules)
