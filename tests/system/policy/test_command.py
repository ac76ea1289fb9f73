"""`portcullis policy`, as an operator runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from oauth_core.errors import SettingsError
from portcullis.commands.policy import command

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """issuer = "http://localhost:8080"

[[services]]
name = "time"
upstream = "http://127.0.0.1:1/mcp"

[[services]]
name = "fetch"
upstream = "http://127.0.0.1:1/mcp"
[services.permissions]
tools = { "get_*" = "mcp.fetch.read", "*" = "mcp.fetch.write" }

[roles.reader]
permissions = [
  "mcp.fetch.read",
]
everyone = true

[roles.editor]
permissions = ["mcp.*"]
teams = ["Acme/Platform"]

[roles.contractor]
forbids = ["mcp.time"]
orgs = ["umbrella"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A valid settings file."""
    path = tmp_path / "portcullis.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.mark.parametrize("subcommand", [["check"], ["explain", "--user", "anna", "--service", "time"]])
def test_without_a_settings_file_the_error_names_the_searched_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subcommand: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PORTCULLIS_CONFIG", raising=False)
    failed = CliRunner().invoke(command, subcommand).exception
    assert isinstance(failed, SettingsError)
    (fault,) = failed.faults
    assert fault.startswith(f"no portcullis.toml is in {tmp_path} and PORTCULLIS_CONFIG is not set")
    assert "--config" in fault


def run(config: Path, *arguments: str) -> tuple[int, str]:
    """The exit code, and the complete output."""
    result = CliRunner().invoke(command, ["--config", str(config), *arguments])
    return result.exit_code, result.output


def test_a_valid_file_is_reported_as_good(config: Path) -> None:
    assert run(config, "check") == (0, f"{config} is good: 2 services, 3 roles.\n")
    assert json.loads(run(config, "check", "--json")[1]) == {"good": True, "faults": []}


@pytest.mark.parametrize(
    ("old", "new", "line", "fault"),
    [
        ('  "mcp.fetch.read",', '  "mcp.fetch.raed",', 14, "'mcp.fetch.raed' is no permission"),
        ('forbids = ["mcp.time"]', 'forbids = ["mcp.tiem"]', 24, "'mcp.tiem' is no permission"),
        ("everyone = true", "everybody = true", 17, "roles.reader.everybody"),
        ('["Acme/Platform"]', '["acme"]', 21, "organisation/team"),
        ('"*" = "mcp.fetch.write"', '"*" = "client.register"', 11, "client.register is not for services"),
        ('"*" = "mcp.fetch.write"', '"*" = []', 11, "services.1.permissions.tools"),
        ("[roles.editor]", "[roles.Editor]", 19, "roles.Editor"),
        ('orgs = ["umbrella"]', 'users = ["*"]', 25, "everyone = true"),
    ],
)
def test_faults_are_reported_with_their_line(config: Path, old: str, new: str, line: int, fault: str) -> None:
    assert old in CONFIG
    config.write_text(CONFIG.replace(old, new), encoding="utf-8")
    code, told = run(config, "check")
    assert code == 2
    found = [each for each in told.splitlines() if fault in each]
    assert found, told
    assert found[0].startswith(f"{config}:{line}:"), told
    shown = json.loads(run(config, "check", "--json")[1])
    assert shown["good"] is False
    assert any(fault in each["fault"] for each in shown["faults"])


def test_the_scope_of_a_service_must_imply_one_of_its_permissions(config: Path) -> None:
    config.write_text(CONFIG.replace('name = "fetch"', 'name = "fetch"\nscope = "web"'), encoding="utf-8")
    code, told = run(config, "check")
    assert code == 2
    assert "stands for none of its permissions" in told


def test_a_permission_title_must_be_for_a_permission_of_its_service(config: Path) -> None:
    titles = 'permission_titles = { "mcp.fetch.raed" = "Read web pages" }'
    config.write_text(CONFIG.replace('name = "fetch"', f'name = "fetch"\n{titles}'), encoding="utf-8")
    code, told = run(config, "check")
    assert code == 2
    assert "permission_titles: 'mcp.fetch.raed' is no permission of service fetch" in told


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("--user", "x", "--service", "fetch", "--tool", "get_a"), 0, "role reader: everyone"),
        (("--user", "x", "--service", "fetch", "--tool", "drop"), 1, "mcp.fetch.write: not given"),
        (("--user", "x", "--service", "fetch"), 0, "needs mcp.fetch.read or mcp.fetch.write"),
        (("--user", "x", "--service", "fetch", "--prompt", "p"), 1, "no permission is enough"),
        (("--user", "x", "--service", "time"), 1, "mcp.time: not given"),
        (("--user", "x", "--service", "time", "--group", "ACME/platform"), 0, "given by editor"),
        (
            ("--user", "x", "--service", "time", "--group", "acme/platform", "--group", "umbrella"),
            1,
            "forbidden by contractor",
        ),
        (
            ("--user", "x", "--service", "fetch", "--tool", "get_a", "--scope", "mcp.time"),
            1,
            "not in the token's scopes",
        ),
    ],
)
def test_a_decision_is_explained(config: Path, arguments: tuple[str, ...], code: int, reason: str) -> None:
    result = run(config, "explain", *arguments)
    assert result[0] == code
    assert result[1].startswith("refused\n" if code else "allowed\n")
    assert reason in result[1]
    shown = json.loads(run(config, "explain", *arguments, "--json")[1])
    assert shown["allowed"] is not bool(code)


def test_an_unknown_service_and_two_names_at_once_are_usage_errors(config: Path) -> None:
    assert run(config, "explain", "--user", "x", "--service", "nothing")[0] == 2
    assert run(config, "explain", "--user", "x", "--service", "fetch", "--tool", "a", "--prompt", "b")[0] == 2


EXPECTATIONS = """
[[expect]]
user = "x"
service = "fetch"
tool = "get_a"
allowed = true

[[expect]]
user = "x"
groups = ["umbrella", "acme/platform"]
service = "time"
allowed = false
"""


def test_expectations_are_compared_with_the_file(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "expectations.toml"
    file.write_text(EXPECTATIONS, encoding="utf-8")
    assert run(config, "test", str(file)) == (0, "2 of 2 expectations are met.\n")
    file.write_text(EXPECTATIONS.replace("allowed = false", "allowed = true"), encoding="utf-8")
    code, told = run(config, "test", str(file))
    assert code == 1
    assert "x of umbrella, acme/platform at time: expected allowed, is refused" in told
    assert "forbidden by contractor" in told
    assert json.loads(run(config, "test", str(file), "--json")[1])["met"] is False


def test_an_invalid_file_of_expectations_is_exit_code_2_with_the_line(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "expectations.toml"
    file.write_text(EXPECTATIONS.replace('tool = "get_a"', 'toll = "get_a"'), encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "portcullis", "policy", "--config", str(config), "test", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    assert result.returncode == 2
    assert f"{file}:5: expect.0.toll" in result.stderr


ARGUMENTS = """issuer = "http://localhost:8080"

[[services]]
name = "pay"
upstream = "http://127.0.0.1:1/mcp"
scope = "mcp.pay"
[services.permissions.tools]
"*" = "mcp.pay.admin"
[[services.permissions.tools.send]]
needs = "mcp.pay.small"
arguments.amount = { at_most = 100 }
[[services.permissions.tools.send]]
needs = "mcp.pay.admin"

[roles.clerk]
permissions = ["mcp.pay.small"]
everyone = true
"""


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ('{"amount": 100}', 0, "mcp.pay.small: given by clerk"),
        ('{"amount": 101}', 1, "not open, arguments.amount must be a number within the range in the rule"),
        ('{"amount": 1e2}', 1, "not open, arguments.amount can be read in several ways"),
        ("{}", 1, "send, way 1: mcp.pay.small if amount is at most 100"),
        (None, 0, "send, way 2: mcp.pay.admin"),
    ],
)
def test_rules_over_arguments_are_explained(tmp_path: Path, arguments: str | None, code: int, reason: str) -> None:
    config = tmp_path / "portcullis.toml"
    config.write_text(ARGUMENTS, encoding="utf-8")
    asked = ["--config", str(config), "explain", "--user", "hubot", "--service", "pay", "--tool", "send"]
    result = CliRunner().invoke(command, [*asked, *(["--arguments", arguments] if arguments else [])])
    assert result.exit_code == code, result.output
    assert reason in result.output


@pytest.mark.parametrize("arguments", ["[]", "{", '{"a": 1, "a": 2}', "1"])
def test_arguments_that_are_no_object_are_a_usage_error(tmp_path: Path, arguments: str) -> None:
    config = tmp_path / "portcullis.toml"
    config.write_text(ARGUMENTS, encoding="utf-8")
    asked = ["--config", str(config), "explain", "--user", "hubot", "--service", "pay", "--tool", "send"]
    assert CliRunner().invoke(command, [*asked, "--arguments", arguments]).exit_code == 2
    assert CliRunner().invoke(command, [*asked[:-2], "--method", "ping", "--arguments", "{}"]).exit_code == 2


def test_expectations_may_have_arguments(tmp_path: Path) -> None:
    config, file = tmp_path / "portcullis.toml", tmp_path / "expectations.toml"
    config.write_text(ARGUMENTS, encoding="utf-8")
    text = '[[expect]]\nuser = "hubot"\nservice = "pay"\ntool = "send"\n'
    expectations = [
        ("{ amount = 5.5 }", "true"),
        ("{ amount = 500 }", "false"),
        ("""'{"amount": 1e0}'""", "false"),
    ]
    file.write_text(
        "".join(f"{text}arguments = {arguments}\nallowed = {allowed}\n" for arguments, allowed in expectations),
        encoding="utf-8",
    )
    result = CliRunner().invoke(command, ["--config", str(config), "test", str(file)])
    assert result.output == "3 of 3 expectations are met.\n"


LIMITED = """issuer = "http://localhost:8080"

[[services]]
name = "fetch"
upstream = "http://127.0.0.1:1/mcp"
rate = "60/minute"
client_rate = "30/minute"
tool_rates = { "get_*" = "5/minute", "get_it" = "1/second" }
tool_quotas = { "get_*" = "100/day" }

[roles.reader]
permissions = ["mcp.fetch"]
everyone = true
quota = "1000/day"

[roles.expert]
permissions = ["mcp.fetch"]
users = ["anna"]
quota = "5000/day"
"""


def test_explain_shows_the_limits_that_apply_to_a_call(config: Path) -> None:
    config.write_text(LIMITED, encoding="utf-8")
    code, output = run(config, "explain", "--user", "bob", "--service", "fetch", "--tool", "get_all")
    assert code == 0
    assert [line.strip() for line in output.splitlines() if "limit:" in line] == [
        "limit: rate of service fetch: 60/minute",
        "limit: client_rate of service fetch: 30/minute",
        "limit: quota of role reader: 1000/day",
        "limit: rate of tool get_* of service fetch: 5/minute",
        "limit: quota of tool get_* of service fetch: 100/day",
    ]
    output = run(config, "explain", "--user", "anna", "--service", "fetch", "--tool", "get_it")[1]
    assert "quota of role expert: 5000/day" in output
    assert "rate of tool get_it of service fetch: 1/second" in output
    assert "rate of tool get_*" not in output, "the more exact name replaces the glob"
    assert "quota of tool get_* of service fetch: 100/day" in output, "which alone has a quota"


@pytest.mark.parametrize("wrong", ['rate = "60"', 'quota = "5/hour"', "rate = 60"])
def test_a_limit_in_another_form_is_a_fault_with_its_line(config: Path, wrong: str) -> None:
    config.write_text(LIMITED.replace('rate = "60/minute"', wrong), encoding="utf-8")
    code, output = run(config, "check")
    assert code == 2
    assert f"{config}:6: services.0." in output
