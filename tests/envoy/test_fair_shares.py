"""Fair shares at Envoy: the requests and connections of some addresses do not reduce the reserve of the others."""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from portcullis.envoy_config import overload, routes
from portcullis.programs.envoy import version_of
from tests.envoy.process import never_refill
from tests.envoy.world import World, world_of
from tests.support.envoy import envoy_path

if TYPE_CHECKING:
    from collections.abc import Iterator

BURST_SECONDS = 5
RESERVED, SHARED, MOST = 1, 10, 4 * 10
"""Requests a second. No bucket is refilled while these tests run."""
MOST_CONNECTIONS = 60


@pytest.fixture
def shares() -> Iterator[World]:
    """A gateway with few requests for each address, behind a proxy that names the callers."""
    with world_of(
        issuer="https://gate.example.com",
        local=False,
        change=never_refill,
        trusted_proxies=1,
        web_rate=SHARED,
        web_rate_per_address=6,
        web_rate_reserved=RESERVED,
    ) as world:
        yield world


def _sent(world: World, address: str, times: int, path: str = "/token") -> list[int]:
    headers = {"X-Forwarded-For": address}
    return [world.gate.ask(path, method="POST", headers=headers, body=b"x").status for _ in range(times)]


def test_an_address_within_its_share_is_served_while_twenty_others_flood(shares: World) -> None:
    flood = [_sent(shares, f"203.0.113.{number}", 15) for number in range(20)]
    served = sum(statuses.count(200) for statuses in flood)
    assert served == 20 * RESERVED * BURST_SECONDS + SHARED * BURST_SECONDS
    assert {status for statuses in flood for status in statuses} == {200, 429}
    for number in range(10):
        assert _sent(shares, f"198.51.100.{number}", RESERVED * BURST_SECONDS) == [200] * 5
    assert len(shares.received) == MOST * BURST_SECONDS, "the requests of all addresses together are used up"
    assert _sent(shares, "198.51.100.99", 1) == [429]
    assert _sent(shares, "198.51.100.99", 1, "/revoke") == [200], "each path has its own limit"


def test_one_address_has_its_own_limit_beyond_its_share(shares: World) -> None:
    assert _sent(shares, "203.0.113.1", 40).count(200) == 6 * BURST_SECONDS


def test_one_address_has_one_limit_over_all_paths(shares: World) -> None:
    paths = ("/token", "/revoke", "/introspect", "/register")
    statuses = [status for path in paths for status in _sent(shares, "203.0.113.1", 15, path)]
    assert statuses.count(200) == 6 * BURST_SECONDS
    assert _sent(shares, "203.0.113.2", 1) == [200]


def test_a_slow_body_does_not_keep_a_connection_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routes, "_WEB_SECONDS", 0.5)  # a whole request may still take a minute
    with world_of(issuer="https://gate.example.com", local=False) as world:
        with socket.create_connection(("127.0.0.1", world.gate.port), timeout=60) as slow:
            slow.sendall(world.gate.head("POST", "/token", "Content-Length: 60000"))
            for _ in range(600):
                if select.select([slow], [], [], 0.1)[0]:
                    break
                slow.sendall(b"x")
            assert slow.recv(65536).startswith(b"HTTP/1.1 408 ")
        assert world.received == []


def test_a_network_of_ipv6_has_one_share(shares: World) -> None:
    statuses = [_sent(shares, f"2001:db8::{number:x}", 1)[0] for number in range(1, 41)]
    assert statuses.count(200) == 6 * BURST_SECONDS
    assert _sent(shares, "2001:db8:0:1::1", 1) == [200]


@pytest.mark.parametrize(
    ("named", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:51234", "203.0.113.7"),
        ("192.0.2.1, 203.0.113.7:51234", "203.0.113.7"),
        ("192.0.2.1:1,198.51.100.9 ,203.0.113.7", "203.0.113.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
    ],
)
def test_the_authorization_server_receives_the_address_that_the_trusted_proxy_names(
    shares: World, named: str, address: str
) -> None:
    forged = {"X-Portcullis-Caller": "192.0.2.9", "X-Portcullis-Network": "192.0.2.9"}
    shares.gate.ask("/token", method="POST", headers={"X-Forwarded-For": named, **forged}, body=b"x")
    headers = shares.only_received().headers
    assert headers["x-portcullis-address"] == [address]
    assert not {"x-portcullis-caller", "x-portcullis-network"} & headers.keys()


@pytest.mark.parametrize("named", ["nonsense", "203.0.113.7:port", "[203.0.113.7", "a.b.c.d", ""])
def test_a_proxy_that_names_no_address_is_counted_itself(shares: World, named: str) -> None:
    shares.gate.ask("/token", method="POST", headers={"X-Forwarded-For": named}, body=b"x")
    (address,) = shares.only_received().headers["x-portcullis-address"]
    assert ip_address(address).version in {4, 6}
    assert address != "203.0.113.7"


def test_callers_with_ports_behind_a_proxy_have_separate_shares(shares: World) -> None:
    for port in range(40):  # one caller with a connection for each request
        _sent(shares, f"203.0.113.1:{40_000 + port}", 1)
    assert len(shares.received) == 6 * BURST_SECONDS
    for number in range(10):
        assert _sent(shares, f"198.51.100.{number}:443", 1) == [200]
    networks = [f"[2001:db8:0:{number % 2}::{number:x}]:443" for number in range(1, 81)]
    statuses = [_sent(shares, network, 1)[0] for network in networks]
    assert statuses.count(200) == 2 * RESERVED * BURST_SECONDS + SHARED * BURST_SECONDS - 25


def test_a_caller_cannot_set_the_busy_mark_of_the_gateway(shares: World) -> None:
    headers = {"X-Forwarded-For": "198.51.100.1", "X-Portcullis-Busy": "1"}
    for _ in range(RESERVED * BURST_SECONDS):
        assert shares.gate.ask("/token", method="POST", headers=headers, body=b"x").status == 200
    assert _sent(shares, "198.51.100.2", 1) == [200]
    assert not any("x-portcullis-busy" in request.headers for request in shares.received)
    # None of them was counted in the shared part of busy addresses.
    assert [_sent(shares, f"203.0.113.{n}", 15).count(200) for n in range(6)] == [15] * 5 + [5]


@pytest.mark.skipif(
    version_of(envoy_path()) < (1, 37), reason="Envoy 1.36 does not act on the number of connections"
)
def test_idle_connections_end_before_all_connections_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "MOST_CONNECTIONS", MOST_CONNECTIONS)
    monkeypatch.setattr(routes, "_WEB_SECONDS", 600)
    with world_of(issuer="https://gate.example.com", local=False) as world, ExitStack() as connections:
        request = world.gate.head("GET", "/healthz").replace(b"Connection: close\r\n", b"")
        busy = _connected(world, connections, "127.0.2.1")
        busy.sendall(world.gate.head("POST", "/token", "Content-Length: 2") + b"x")
        # Each has its own address, which may always open one connection.
        held = [_connected(world, connections, f"127.0.1.{n}") for n in range(1, MOST_CONNECTIONS - 1)]
        waiting = set(held)
        for connection in held[::2]:  # some have sent a request, some have never sent a byte
            # On a slow machine the first connections end before the last ones are open.
            if not (_send(connection, request) and _received(connection).startswith(b"HTTP/1.1 200 ")):
                waiting.remove(connection)
        # with fewer connections, idle ones may stay open longer
        while len(waiting) > len(held) - MOST_CONNECTIONS // 10:
            ended, _, _ = select.select(list(waiting), [], [], 60)
            assert ended, "idle connections end, though each by itself could be idle for minutes"
            waiting -= {connection for connection in ended if _received(connection) == b""}
        assert world.gate.ask("/healthz").status == 200
        busy.sendall(b"y")
        assert busy.recv(65536).startswith(b"HTTP/1.1 200 "), (
            "a connection with a request in progress does not end"
        )


def _connected(world: World, connections: ExitStack, address: str) -> socket.socket:
    """Open a connection from `address` to Envoy. It is closed with `connections`."""
    place = ("127.0.0.1", world.gate.port)
    return connections.enter_context(socket.create_connection(place, 60, source_address=(address, 0)))


def _send(connection: socket.socket, data: bytes) -> bool:
    """Send. Return whether the other side still accepted the data."""
    try:
        connection.sendall(data)
    except ConnectionError:
        return False
    return True


def _received(connection: socket.socket) -> bytes:
    """Receive data. Return nothing at the end of the connection, however it ends."""
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""
