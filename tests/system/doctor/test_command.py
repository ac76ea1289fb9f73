"""`portcullis doctor` as a command: exit codes, lines, JSON, and one readable line for an error."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx2
import pytest

from portcullis.doctor.gateway import UnreachableError, discover
from tests.support.http_servers import serving
from tests.support.ports import free_port
from tests.system.doctor import faults
from tests.system.doctor.front_envoy import front_envoy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.gateway import RunningGateway


def _doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "portcullis", "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _examine(gateway: RunningGateway, *more: str) -> subprocess.CompletedProcess[str]:
    return _doctor("--url", gateway.url, "--state-dir", str(gateway.state_dir), *more)


@contextmanager
def _web_server(status: int, body: bytes) -> Iterator[str]:
    """A server that gives every request this answer; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


def _refused_in_one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def test_json_of_a_healthy_gateway_has_every_finding_and_exit_code_0(gateway: RunningGateway) -> None:
    with front_envoy(gateway, faults.none):
        result = _examine(gateway, "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    findings = json.loads(result.stdout)
    assert len(findings) >= 28
    for finding in findings:
        assert set(finding) == {"claim", "outcome", "seen"}
        assert finding["outcome"] == "ok"


def test_a_broken_check_is_marked_and_is_exit_code_1(gateway: RunningGateway) -> None:
    with front_envoy(gateway, faults.identity_passes):
        result = _examine(gateway)
    assert result.returncode == 1
    (failed,) = [line for line in result.stdout.splitlines() if line.startswith("FAIL ")]
    assert "identity headers that the caller sent never reach a service" in failed
    assert "user_name: forged-by-doctor" in failed


def test_a_check_that_could_not_be_tried_is_reported(gateway: RunningGateway, tmp_path: Path) -> None:
    with front_envoy(gateway, faults.none):
        result = _doctor("--url", gateway.url, "--state-dir", str(tmp_path / "of-nobody"))
    assert result.returncode == 1
    records, expired = [line for line in result.stdout.splitlines() if line.startswith("untried ")]
    assert "Redis keeps records through a restart" in records
    assert "an expired token is refused" in expired
    assert "MASTER_KEY" in records
    assert "MASTER_KEY" in expired


def test_another_user_can_be_chosen_for_the_sign_in(gateway: RunningGateway) -> None:
    with front_envoy(gateway, faults.none):
        result = _examine(gateway, "--user", "hubot")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "the service received hubot" in result.stdout


@pytest.mark.parametrize(
    "url",
    [f"http://127.0.0.1:{free_port()}", "gateway", "http://["],
    ids=["a closed port", "no URL", "half a URL"],  # the same in every process of a run
)
def test_an_unreachable_address_is_one_line_and_exit_code_1(url: str) -> None:
    line = _refused_in_one_line(_doctor("--url", url))
    assert url in line


def test_a_server_that_is_no_gateway_is_one_line_and_exit_code_1() -> None:
    with _web_server(404, b"not here") as url:
        line = _refused_in_one_line(_doctor("--url", url))
    assert line == f"Error: {url}/.well-known/oauth-authorization-server answered 404"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, b"{}"),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"protected_resources": "all"}'),
        (200, b'{"protected_resources": [1]}'),
        (200, b'{"protected_resources": []}'),
        (200, b"\xff\xfe{"),
    ],
)
async def test_an_invalid_description_of_a_gateway_is_reported_in_one_line(status: int, body: bytes) -> None:
    with _web_server(status, body) as url:
        async with httpx2.AsyncClient() as http:
            with pytest.raises(UnreachableError) as refused:
                await discover(url, http)
    assert str(refused.value).startswith(f"{url}/.well-known/oauth-authorization-server ")
    assert "\n" not in str(refused.value)


def test_a_gateway_that_stops_answering_is_one_line_and_exit_code_1() -> None:
    """Its metadata can be read, and then every connection to a service breaks."""
    gone = f"http://127.0.0.1:{free_port()}/mcp"
    body = json.dumps({"protected_resources": [gone]}).encode()
    with _web_server(200, body) as url:
        result = _doctor("--url", url)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert f"{url} stopped answering" in line


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--url"], ["extra"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    result = _doctor(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr
    assert "Traceback" not in result.stderr
