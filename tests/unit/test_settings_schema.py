"""The JSON Schema of the settings file: it is valid, and it agrees with the programs."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from oauth_core.settings import DEFINITIONS
from tests.support.project import ROOT
from tests.unit import setting_samples as samples

if TYPE_CHECKING:
    from pathlib import Path

VALIDATOR = Draft202012Validator(samples.SCHEMA)
FILES = ("portcullis.toml", "compose.toml", "envoy/portcullis.example.toml", "kubernetes/base/portcullis.toml")
SMALL: dict[str, Any] = {"issuer": "http://localhost:8080", "services": [{"name": "time", "command": ["x"]}]}


def with_setting(name: str, value: object) -> dict[str, Any]:
    table, _, key = DEFINITIONS[name].key.rpartition(".")
    return SMALL | ({table: {key: value}} if table else {key: value})


def test_it_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(samples.SCHEMA)
    assert VALIDATOR.is_valid(SMALL)


@pytest.mark.parametrize("name", FILES)
def test_every_settings_file_of_the_project_names_it_and_is_valid(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = re.match(r"#:schema (\S+)\n", text)
    assert named is not None
    assert (
        (ROOT / name).parent / named[1]
    ).resolve() == ROOT / "oauth_core" / "settings" / "portcullis.schema.json"
    assert list(VALIDATOR.iter_errors(tomllib.loads(text))) == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_the_settings_in_the_pages_are_valid(page: Path) -> None:
    """Complete files and parts of one: members that a part leaves out are added."""
    blocks = re.findall(r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for block in blocks:
        document = tomllib.loads(block)
        if "expect" in document:
            continue  # the file of `policy test`
        if any("name" not in service for service in document.get("services", []) if isinstance(service, dict)):
            continue
        if not isinstance(document.get("services", []), list):
            continue  # a table of the service above it
        assert list(VALIDATOR.iter_errors(SMALL | document)) == [], block


@pytest.mark.parametrize("name", samples.PLAIN)
def test_it_accepts_every_value_that_programs_accept_and_no_other_type(name: str) -> None:
    for value in samples.samples(name):
        assert VALIDATOR.is_valid(with_setting(name, value)), value
    for wrong in ({}, {"a": 1}, [1], None):
        assert not VALIDATOR.is_valid(with_setting(name, wrong)), wrong


@pytest.mark.parametrize("name", samples.PLAIN)
def test_it_has_the_bounds_and_the_meaning_of_a_setting(name: str) -> None:
    schema = samples.schema_of(name)
    assert schema["description"]
    if "minimum" in schema:
        assert not VALIDATOR.is_valid(with_setting(name, schema["minimum"] - 1))
    if "maximum" in schema:
        assert not VALIDATOR.is_valid(with_setting(name, schema["maximum"] + 1))
    if schema.get("type") in {"integer", "number", "boolean"}:
        assert not VALIDATOR.is_valid(with_setting(name, "soon"))


@pytest.mark.parametrize("name", sorted(samples.SECRET))
def test_it_has_no_secret(name: str) -> None:
    assert not VALIDATOR.is_valid(with_setting(name, "x"))
    assert not VALIDATOR.is_valid(SMALL | {name: "x"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": "red"},
        {"redis": {"colour": "red"}},
        {"redis": []},
        {"redis_url": "redis://localhost"},
        {"services": []} | {"services": [{"name": "time", "colour": "red"}]},
        {"services": [{"command": ["x"]}]},
        {"services": [{"name": "Time", "command": ["x"]}]},
        {"services": [{"name": "time", "command": ["x"], "permissions": {"tols": {}}}]},
        {"roles": {"reader": {"permisions": ["mcp.time"]}}},
        {"roles": {"No Name": {}}},
        {"identity_headers": {"user": "x-user"}},
        {"trusted_issuers": [{"issuer": "https://idp.example"}]},
    ],
    ids=str,
)
def test_it_refuses_members_that_no_program_reads(wrong: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(SMALL | wrong)


def test_services_are_required() -> None:
    assert not VALIDATOR.is_valid({"issuer": "http://localhost:8080"})


@pytest.mark.parametrize(
    "permissions",
    ["mcp.time.read", ["mcp.time.read"], {"tools": {"*": "mcp.time.read", "purge": ["mcp.time.a", "mcp.time.b"]}}],
    ids=str,
)
def test_permissions_may_be_one_several_or_a_table(permissions: object) -> None:
    service = {"name": "time", "command": ["x"], "permissions": permissions}
    assert VALIDATOR.is_valid(SMALL | {"services": [service]})
