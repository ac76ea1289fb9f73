"""Every command reads the same settings file, shows help without one, and reports when no gateway runs."""

from __future__ import annotations

import base64
import fcntl
import os
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from oauth_core.errors import SettingsError
from oauth_core.settings import EnvoySettings, load
from portcullis.cli.main import cli
from portcullis.supervisor import operator_environment
from portcullis.supervisor.state import is_held
from tests.support.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """
issuer = "http://localhost:8080"
[[services]]
name = "time"
upstream = "http://127.0.0.1:1/mcp"
"""
KEY = base64.b64encode(b"k" * 32).decode()
EMPTY = {
    ("clients", "list"): "There are no clients.",
    ("clients", "invites"): "There are no invites.",
    ("users", "list"): "No person has signed in, and no person is blocked.",
    ("grants", "list"): "There are no grants.",
    ("tokens", "list"): "There are no access tokens.",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and no settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("PORTCULLIS", "MASTER_KEY", "REDIS_URL", "GITHUB", "ISSUER")):
            monkeypatch.delenv(name)
    return tmp_path


def run(*words: str, **environment: str) -> tuple[int, str]:
    """The exit code and the complete output."""
    result = CliRunner().invoke(cli, words, env=environment)
    if isinstance(result.exception, SettingsError):
        return 2, "\n".join(result.exception.faults)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from commands(found, *path, name)
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands(cli)), ids=" ".join)
def test_help_needs_no_settings(path: tuple[str, ...]) -> None:
    code, printed = run(*path, "--help")
    assert code == 0
    assert printed.startswith("Usage: ")


@pytest.mark.parametrize(
    "words",
    [("envoy", "render"), ("config", "check", "--offline", "--json"), ("policy", "check")],
    ids=" ".join,
)
@pytest.mark.parametrize("named", ["./portcullis.toml", "PORTCULLIS_CONFIG", "--config"])
def test_the_settings_file_is_found_in_the_same_places(folder: Path, words: tuple[str, ...], named: str) -> None:
    file = folder / ("portcullis.toml" if named == "./portcullis.toml" else "other.toml")
    file.write_text(CONFIG)
    environment = {"PORTCULLIS_CONFIG": str(file)} if named == "PORTCULLIS_CONFIG" else {}
    given = ("--config", str(file)) if named == "--config" else ()
    _, printed = run(*words, *given, **environment)
    assert "issuer is not set" not in printed
    assert "time" in printed or "is good" in printed


def test_acme_status_reads_it_too_and_uses_the_folder_of_a_running_gateway(folder: Path) -> None:
    tls = 'acme.email = "a@example.com"\ntls.http_redirect_listen = "127.0.0.1:80"\n'
    (folder / "portcullis.toml").write_text(CONFIG.replace("http://localhost:8080", "https://localhost:8443") + "")
    text = (folder / "portcullis.toml").read_text()
    (folder / "portcullis.toml").write_text(tls + text)
    assert (
        run("acme", "status", ACME_DIR=str(folder))[1].strip() == f"Error: there is no certificate in {folder} yet"
    )
    (folder / ".portcullis").mkdir()
    operator_environment.path(folder / ".portcullis").write_text(f"ACME_DIR={folder}/kept\n")
    for given in ((), ("--state-dir", str(folder / ".portcullis"))):
        assert "kept yet" in run("acme", "status", *given)[1]


@pytest.mark.parametrize(
    "words",
    [*EMPTY, ("keys", "list"), ("keys", "rotate"), ("users", "block", "octocat"), ("tokens", "revoke", "x")],
)
def test_without_a_running_gateway_commands_report_that_instead_of_a_connection_error(
    folder: Path, words: tuple[str, ...]
) -> None:
    said = "No gateway runs in .portcullis; start it with `portcullis up`."
    assert run(*words) == (1, f"Error: {said}\n")
    state = folder / "stopped"
    state.mkdir()
    operator_environment.path(state).write_text(f"REDIS_URL=unix://{state}/redis.sock\n")
    (state / "lock").touch()
    expected = (1, f"Error: {said.replace('.portcullis', str(state))}\n")
    assert run(*words, "--state-dir", str(state)) == expected
    assert run(words[0], "--state-dir", str(state), *words[1:]) == expected


def test_a_held_state_folder_is_detected(folder: Path) -> None:
    assert not is_held(folder / "nothing")
    with (folder / "lock").open("w") as lock:
        assert not is_held(folder)
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert is_held(folder)
    assert not is_held(folder)


def test_an_empty_list_is_a_sentence_and_another_has_a_header(folder: Path) -> None:
    file = folder / "elsewhere.toml"
    file.write_text(CONFIG)
    with running_redis() as redis:
        environment = {"MASTER_KEY": KEY, "REDIS_URL": redis.url()}
        for words, empty in EMPTY.items():
            # The option may be before the command or after it.
            assert run(words[0], "--config", str(file), *words[1:], **environment) == (0, f"{empty}\n")
            assert run(*words, "--config", str(file), **environment) == (0, f"{empty}\n")
            assert run(*words, "--config", str(file), "--json", **environment) == (0, "[]\n")
        made = ("clients", "create", "--name", "robot", "--scope", "mcp.time", "--config", str(file))
        code, printed = run(*made, **environment)
        assert code == 0, printed
        code, printed = run("clients", "list", "--config", str(file), **environment)
        header, row = printed.splitlines()
        assert header.split("  ")[0] == "CLIENT"
        assert row.index("mcp.time") == header.index("MACHINE SCOPES")
        assert row.index("robot") == header.index("NAME")
        code, printed = run("services", "list", "--config", str(file), **environment)
        assert [line.split()[0] for line in printed.splitlines()] == ["SERVICE", "time"]


@pytest.mark.parametrize("variable", ["TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA", "ACME_DIR", "RUN_DIR", "LOG_FILE"])
def test_an_empty_variable_for_a_path_is_not_the_current_folder(folder: Path, variable: str) -> None:
    file = folder / "portcullis.toml"
    file.write_text(CONFIG)
    name = variable.lower()
    settings = load(EnvoySettings, file, {variable: ""})
    assert getattr(settings, name) == EnvoySettings.model_fields[name].default


def test_an_empty_variable_for_a_path_overrides_the_file(folder: Path) -> None:
    file = folder / "portcullis.toml"
    file.write_text('envoy.authz_upstream_ca = "/c.pem"\n' + CONFIG)
    assert load(EnvoySettings, file, {}).authz_upstream_ca is not None
    assert load(EnvoySettings, file, {"AUTHZ_UPSTREAM_CA": ""}).authz_upstream_ca is None
