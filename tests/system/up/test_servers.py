"""The bridge and the example server, with the official client in both versions of the protocol."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.processes import alive, children_of, command_line
from tests.support.programs import client_of, running, serving, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

ERAS = ["2026-07-28", "legacy"]
IDENTITY = {"x-user-id": "42", "x-user-name": "octavia", "x-client-id": "app", "x-token-scope": "mcp.whoami"}


@asynccontextmanager
async def connected(socket: Path, mode: str, headers: dict[str, str] | None = None) -> AsyncIterator[Client]:
    transport = httpx2.AsyncHTTPTransport(uds=str(socket))
    async with (
        httpx2.AsyncClient(transport=transport, headers=headers, timeout=60) as http,
        Client(streamable_http_client("http://localhost/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


async def call(socket: Path, mode: str, tool: str, headers: dict[str, str] | None = None, **given: str) -> Any:
    async with connected(socket, mode, headers) as client:
        result = await client.call_tool(tool, given)
        assert not result.is_error, result
        return result.structured_content


@pytest.fixture(scope="module")
def time_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    command = ["bridge", "--", "mcp-server-time", "--local-timezone", "UTC"]
    with serving(command, tmp_path_factory.mktemp("bridge")) as socket:
        yield socket


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with serving(["example-server"], tmp_path_factory.mktemp("example")) as socket:
        yield socket


@pytest.mark.parametrize("mode", ERAS)
async def test_the_bridge_serves_a_stdio_server_to_old_and_new_clients(time_server: Path, mode: str) -> None:
    answer = await call(time_server, mode, "get_current_time", timezone="Europe/Prague")
    assert answer["timezone"] == "Europe/Prague"


async def test_clients_of_both_versions_share_the_bridge_at_once(time_server: Path) -> None:
    zones = ["UTC", "Asia/Tokyo", "Europe/Prague", "America/Lima"]
    calls = [call(time_server, mode, "get_current_time", timezone=zone) for zone in zones for mode in ERAS]
    answers = await asyncio.gather(*calls)
    assert [answer["timezone"] for answer in answers] == [zone for zone in zones for _ in ERAS]


def test_the_bridge_ends_when_its_server_crashes(tmp_path: Path) -> None:
    log = tmp_path / "bridge.log"
    command = ["bridge", "--listen", f"unix:{tmp_path}/b.sock", "--", "mcp-server-time"]
    with running(command, log) as bridge:
        until((tmp_path / "b.sock").exists, "the bridge to listen")
        (child,) = children_of(bridge.pid)
        os.kill(child, signal.SIGKILL)
        assert bridge.wait(60) == 1
    assert "mcp-server-time ended by itself" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_server_ends_when_its_bridge_is_killed(tmp_path: Path) -> None:
    stubborn = "import signal,time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    command = ["bridge", "--listen", f"unix:{tmp_path}/b.sock", "--", sys.executable, "-c", stubborn]
    with running(command, tmp_path / "bridge.log") as bridge:
        until(lambda: children_of(bridge.pid), "the server to start")
        (child,) = children_of(bridge.pid)
        until(lambda: "SIG_IGN" in command_line(child), "the server to be itself")
        bridge.kill()
        until(lambda: not alive(child), "the server to go")


@pytest.mark.parametrize("command", [["no-such-program"], ["true"], ["false"]])
def test_a_server_that_does_not_run_is_one_readable_line(tmp_path: Path, command: list[str]) -> None:
    log = tmp_path / "bridge.log"
    with running(["bridge", "--listen", f"unix:{tmp_path}/b.sock", "--", *command], log) as bridge:
        assert bridge.wait(60) == 1
    assert f"{command[0]} ended by itself" in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("address", ["8080", "unix:relative.sock", "localhost:99999", "http://localhost:80", ""])
def test_an_invalid_address_is_reported(tmp_path: Path, address: str) -> None:
    log = tmp_path / "server.log"
    with running(["example-server", "--listen", address], log) as server:
        assert server.wait(60) == 2
    assert log.read_text().startswith("portcullis: address")


@pytest.mark.parametrize("mode", ERAS)
async def test_the_example_returns_the_identity_that_it_received(example: Path, mode: str) -> None:
    assert await call(example, mode, "whoami", IDENTITY) == {
        "user_id": "42",
        "user_name": "octavia",
        "client_id": "app",
        "token_scope": "mcp.whoami",
        "assertion": None,
        "authorization_arrived": False,
    }


async def test_the_example_reports_a_forwarded_token_without_showing_it(example: Path) -> None:
    answer = await call(example, ERAS[0], "whoami", {"Authorization": "Bearer secret"})
    assert answer["authorization_arrived"] is True
    assert "secret" not in str(answer)


async def test_the_example_echoes(example: Path) -> None:
    assert await call(example, ERAS[0], "echo", text="hello") == {"result": "hello"}


def test_only_its_owner_can_open_a_socket_and_it_is_removed_at_the_end(tmp_path: Path) -> None:
    with serving(["example-server"], tmp_path) as socket:
        assert socket.stat().st_mode & 0o077 == 0
    assert not socket.exists()


def test_a_stale_socket_is_replaced_but_a_used_one_is_not(tmp_path: Path) -> None:
    with serving(["example-server"], tmp_path) as socket:
        log = tmp_path / "second.log"
        with running(["example-server", "--listen", f"unix:{socket}"], log) as second:
            assert second.wait(60) == 2
        assert "another program listens" in log.read_text()
        with client_of(socket) as client:
            assert client.get("/mcp").status_code < 500
    with serving(["example-server"], tmp_path) as socket, client_of(socket) as client:
        assert client.get("/mcp").status_code < 500
