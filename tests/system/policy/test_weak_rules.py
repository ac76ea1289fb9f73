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
