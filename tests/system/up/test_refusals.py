"""Conditions under which `portcullis up` refuses: one readable line for each fault, exit code 2,
nothing started.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from portcullis.commands import up
from portcullis.supervisor.options import read_options
from tests.support.ports import free_port
from tests.support.programs import PORTCULLIS, plain_environment
from tests.support.supervised import CONFIG

if TYPE_CHECKING:
    from pathlib import Path


def refusal(folder: Path, config: str, *arguments: str, **environment: str) -> list[str]:
    """The standard error of an `up` that must exit with 2 and start nothing."""
    file = folder / "portcullis.toml"
    file.write_text(config)
    command = [*PORTCULLIS, "up", "--config", str(file), "--state-dir", str(folder / "state"), *arguments]
    done = subprocess.run(
        command, env=plain_environment(**environment), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    logs = folder / "state" / "logs"
    assert not logs.exists() or list(logs.iterdir()) == []
    return done.stderr.splitlines()


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (line,) = refusal(tmp_path, CONFIG, "--port", str(port))
    assert line.startswith(f"portcullis: cannot listen on 127.0.0.1:{port}: Address already in use")
    assert "--port" in line


def test_a_file_that_is_not_toml_is_reported_with_the_line(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, 'issuer = "http://localhost:8080"\n[[services\n')
    assert "portcullis.toml" in line
    assert "line 2" in line


def test_a_missing_file(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, CONFIG, "--config", f"{tmp_path}/nowhere.toml")
    assert line == f"portcullis: {tmp_path}/nowhere.toml: No such file or directory"


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    lines = refusal(tmp_path, CONFIG + 'github.client_secret = "x"\n', LOG_LEVEL="loud")
    assert len(lines) == 2, lines


def test_a_public_issuer_needs_a_github_app(tmp_path: Path) -> None:
    config = CONFIG.replace("http://localhost:8080", "https://auth.example.com")
    lines = refusal(tmp_path, config, ENVOY_LISTEN="127.0.0.1:18999")
    assert len(lines) == 2
    assert "github.client_id is not set" in lines[0]
    assert "github.client_secret is not set" in lines[1]


def test_a_port_for_a_public_issuer(tmp_path: Path) -> None:
    config = CONFIG.replace("http://localhost:8080", "https://auth.example.com")
    (line,) = refusal(tmp_path, config, "--port", "8443")
    assert "--port" in line


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    config = CONFIG.replace("mcp-server-time", "no-such-server")
    (line,) = refusal(tmp_path, config, "--port", "0")
    assert line == "portcullis: service time: command 'no-such-server' is not on PATH"


def test_an_unknown_option(tmp_path: Path) -> None:
    assert "--nonsense" in refusal(tmp_path, CONFIG, "--nonsense")[-1]


def test_an_invalid_state_folder(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    (line,) = refusal(tmp_path, CONFIG, "--port", "0", "--state-dir", f"{tmp_path}/state")
    assert "is not a folder of this user" in line


@pytest.mark.parametrize("secret", ["master-key", "redis-password"])
def test_an_emptied_secret_is_not_silently_replaced(tmp_path: Path, secret: str) -> None:
    folder = tmp_path / "state/secrets"
    folder.mkdir(parents=True)
    (folder / secret).touch()
    (line,) = refusal(tmp_path, CONFIG, "--port", "0")
    assert "is empty" in line


def test_a_link_in_the_temporary_folder_is_not_followed(tmp_path: Path) -> None:
    state, theirs = tmp_path / ("long-" * 25), tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").touch()
    arguments = ("--port", "0", "--state-dir", str(state))
    # The command is searched for after the folder was made, so each attempt ends there at the latest.
    broken = CONFIG.replace("mcp-server-time", "no-such-server")
    temporary = tmp_path / "t"
    temporary.mkdir()
    refusal(tmp_path, broken, *arguments, TMPDIR=str(temporary))
    assert list(temporary.iterdir()) == []
    name = f"portcullis-{os.getuid()}-{hashlib.sha256(os.fsencode(state)).hexdigest()[:12]}"
    (temporary / name).symlink_to(theirs)
    (line,) = refusal(tmp_path, broken, *arguments, TMPDIR=str(temporary))
    assert "is not a folder of this user" in line
    assert (theirs / "file").exists()


ALERTS = '\n[[alerts.destinations]]\nname = "mail"\nkind = "apprise"\nurl_file = "{}"\n'


def test_an_alert_destination_with_an_unreadable_file(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, CONFIG + ALERTS.format(tmp_path / "nowhere.url"), "--port", str(free_port()))
    assert line == f"portcullis: alerts.destinations mail: {tmp_path}/nowhere.url: it cannot be read"


SINK = '\n[[audit.sinks]]\nname = "siem"\nkind = "otlp"\nurl = "https://c.example.com"\nheaders_file = "{}"\n'


def test_a_sink_with_an_unreadable_file(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, CONFIG + SINK.format(tmp_path / "nowhere"), "--port", str(free_port()))
    assert line == f"portcullis: audit.sinks siem: {tmp_path}/nowhere: it cannot be read"


def test_sinks_without_the_packages_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, headers = tmp_path / "portcullis.toml", tmp_path / "headers"
    file.write_text(CONFIG + SINK.format(headers), encoding="utf-8")
    headers.write_text("Authorization: Bearer a-token", encoding="utf-8")
    options = read_options(file, {}, free_port())
    assert up.faults_of_sinks(options) == []
    monkeypatch.setattr(up, "find_spec", lambda _name: None)
    (fault,) = up.faults_of_sinks(options)
    assert fault.startswith("audit.sinks: not installed: opentelemetry.proto; pip install")


def test_destinations_of_alerts_without_the_packages_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, url = tmp_path / "portcullis.toml", tmp_path / "mail.url"
    file.write_text(CONFIG + ALERTS.format(url), encoding="utf-8")
    url.write_text("mailtos://mail.example.com", encoding="utf-8")
    options = read_options(file, {}, free_port())
    assert up.faults_of_alerts(options) == []
    monkeypatch.setattr(up, "find_spec", lambda _name: None)
    (fault,) = up.faults_of_alerts(options)
    assert fault.startswith("alerts.destinations: not installed: apprise, duckdb, maxminddb, sigma; pip install")
