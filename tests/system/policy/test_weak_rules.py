"""`policy check` and every program refuse a more exact rule that is weaker than a wider one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from portcullis.commands.policy import command

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """issuer = "http://localhost:8080"
[[services]]
name = "files"
scope = "mcp.files"
upstream = "http://127.0.0.1:1/mcp"
[services.permissions]
"""
ROLES = """
[roles.reader]
permissions = ["mcp.files.read"]
everyone = true
[roles.admin]
permissions = ["mcp.files"]
users = ["octocat"]
"""


def check(tmp_path: Path, permissions: str, roles: str = "") -> tuple[int, str]:
    path = tmp_path / "portcullis.toml"
    path.write_text(CONFIG + permissions + roles, encoding="utf-8")
    result = CliRunner().invoke(command, ["--config", str(path), "check"])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("permissions", "roles"),
    [
        ('resources = { "file:///private/*" = "mcp.files.secret", "*" = "mcp.files.read" }', ""),
        ('resources = { "file:/private/*" = "mcp.files.secret", "file:///*" = "mcp.files.read" }', ""),
        ('resources = { "file:///a" = ["mcp.files.read", "mcp.files.secret"], "file:*" = "mcp.files.read" }', ""),
        ('tools = { "purge" = ["mcp.files.write", "mcp.files.admin"], "*" = "mcp.files.write" }', ""),
        ('tools = { "drop_*" = "mcp.files", "*" = "mcp.files.write" }', ""),
        ('tools = { "purge" = "mcp.files.write", "*" = "mcp.files.read" }', ROLES),
        ('prompts = { "plan_secret" = "mcp.files.write", "plan_*" = "mcp.files.read" }', ROLES),
        ('tools = { "purge" = "mcp.files.write" }\notherwise = "mcp.files.read"', ROLES),
        ('resources = { "file:///private/*" = "mcp.files.secret" }\notherwise = "mcp.files.read"', ""),
        ('resources = { "file:///private/*" = "mcp.files.secret" }\notherwise = "mcp.files.read"', ROLES),
        ('resources = { "file:///x/*" = "mcp.files.read" }\notherwise = "mcp.files.admin"', ""),
    ],
)
def test_a_rule_through_which_a_stronger_one_could_be_evaded_is_a_fault(
    tmp_path: Path, permissions: str, roles: str
) -> None:
    code, told = check(tmp_path, permissions, roles)
    assert code == 2
    assert "needs less than" in told
    assert "services.0.permissions" in told or "services.permissions" in told


WAYS = """
[services.permissions.tools]
"*" = "mcp.files.{wide}"
[[services.permissions.tools.read]]
needs = "mcp.files.read"
arguments.path = {{ path = "/public/**" }}
[[services.permissions.tools.read]]
needs = "mcp.files.{all}"
"""


@pytest.mark.parametrize(
    ("permissions", "told"),
    [
        (WAYS.format(wide="read", all="admin"), "needs no more than 'read'"),
        (WAYS.format(wide="admin", all="read"), "conditions of 'read' of service files never count"),
        (
            'otherwise = "mcp.files.read"\ntools.read = { needs = "mcp.files.read", other_arguments = false }',
            "needs no more than 'read'",
        ),
    ],
)
def test_a_rule_through_which_conditions_could_be_evaded_is_a_fault(
    tmp_path: Path, permissions: str, told: str
) -> None:
    code, output = check(tmp_path, permissions)
    assert code == 2
    assert told in output


def test_a_stronger_catch_all_beside_conditions_is_no_fault(tmp_path: Path) -> None:
    assert check(tmp_path, WAYS.format(wide="admin", all="admin"), ROLES)[0] == 0


@pytest.mark.parametrize(
    ("condition", "place", "told"),
    [
        ("{ paths = '/p/*' }", "read.arguments.path.paths", "did you mean path?"),
        ("{ at_least = 2, at_most = 1 }", "read.arguments.path", "no value is at least 2 and at most 1"),
        ("{ path = '/p/../*' }", "read.arguments.path.path", "matches no path"),
    ],
)
def test_a_faulty_condition_is_reported_with_its_line_and_place(
    tmp_path: Path, condition: str, place: str, told: str
) -> None:
    rule = f'[services.permissions.tools.read]\nneeds = "mcp.files.read"\narguments.path = {condition}\n'
    code, output = check(tmp_path, rule)
    assert code == 2
    assert ":9: " in output, "the line of the condition"
    assert place in output.replace(".0.", ".")
    assert told in output
    assert "<ways>" not in output


@pytest.mark.parametrize(
    ("permissions", "roles"),
    [
        (
            'resources = { "file:///public/*" = "mcp.files.read", "*" = ["mcp.files.read", "mcp.files.write"] }',
            ROLES,
        ),
        ('resources = { "file:///public/*" = "mcp.files.read", "*" = "mcp.files" }', ""),
        (
            'resources = { "file:///x/*" = "mcp.files.read" }\notherwise = ["mcp.files.read", "mcp.files.admin"]',
            "",
        ),
        ('resources = { "file:///public/*" = "mcp.files.read" }\notherwise = "mcp.files"', ""),
        ('resources = { "file:///public/*" = "mcp.files.read" }', ""),
        ('resources = { "*" = "mcp.files.read" }\notherwise = "mcp.files.admin"', ""),
        ('tools = { "get_*" = "mcp.files.read", "*" = "mcp.files.write" }', ROLES),
        ('tools = { "get_*" = "mcp.files.read", "*" = "mcp.files.write" }', ""),
        ('tools = { "get_*" = "mcp.files.read", "*_secret" = "mcp.files.write" }', ROLES),
    ],
)
def test_the_strongest_rule_as_the_otherwise_rule_is_no_fault(
    tmp_path: Path, permissions: str, roles: str
) -> None:
    code, told = check(tmp_path, permissions, roles)
    assert code == 0, told


@pytest.mark.parametrize(
    "pattern", ["file://host/x/*", "HTTPS://example.com/*", "https://example.com:443/*", "a/../b"]
)
def test_a_pattern_that_no_accepted_uri_matches_is_a_fault(tmp_path: Path, pattern: str) -> None:
    code, told = check(tmp_path, f'resources = {{ "{pattern}" = "mcp.files.read" }}')
    assert code == 2
    assert "matches no URI that is accepted" in told
