"""The limit of open connections of one address at Envoy, and the connections that remain for other addresses."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portcullis.envoy_config import overload
from tests.envoy.connections_module import MODULE, Host, compiled
from tests.envoy.world import World, world_of

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 8
MOST = 400


@pytest.fixture(scope="module")
def counting() -> Iterator[World]:
    """A gateway that accepts few connections."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overload, "MOST_CONNECTIONS", MOST)
        with world_of(issuer="https://gate.example.com", local=False, connections_per_address=LIMIT) as world:
            yield world


class Connections:
    """The open connections of some addresses to a gateway."""

    def __init__(self, world: World) -> None:
        """Start without a connection."""
        self.world = world
        self.open: list[socket.socket] = []

    def another(self, address: str) -> socket.socket | None:
        """Open one more connection from this address. Return None if Envoy closes it at once."""
        connection = socket.create_connection(("127.0.0.1", self.world.gate.port), 20, source_address=(address, 0))
        # Envoy reads no request on a connection that it refuses. It answers this request on an accepted one.
        connection.sendall(self.world.gate.head("GET", "/healthz").replace(b"Connection: close\r\n", b""))
        with contextlib.suppress(ConnectionResetError):
            if connection.recv(65536):
                self.open.append(connection)
                return connection
        connection.close()
        return None

    def as_many_as_possible(self, address: str, most: int) -> int:
        """Open at most `most` connections. Return the number that Envoy accepted."""
        return next((number for number in range(most) if self.another(address) is None), most)

    def close(self) -> None:
        """Close all, and wait until Envoy has noticed it."""
        for connection in self.open:
            connection.shutdown(socket.SHUT_WR)
        for connection in self.open:
            while connection.recv(65536):
                pass
            connection.close()
        self.open.clear()


@pytest.fixture
def connections(counting: World) -> Iterator[Connections]:
    held = Connections(counting)
    yield held
    held.close()


def test_each_address_has_its_own_limit(connections: Connections) -> None:
    assert connections.as_many_as_possible("127.0.0.2", 30) == LIMIT
    assert connections.as_many_as_possible("127.0.0.3", 30) == LIMIT
    assert connections.another("127.0.0.2") is None


def test_a_closed_connection_makes_room_for_the_next(connections: Connections) -> None:
    for _ in range(3):
        assert connections.as_many_as_possible("127.0.0.2", 30) == LIMIT
        connections.close()


def test_refused_connections_are_not_counted(connections: Connections) -> None:
    assert connections.as_many_as_possible("127.0.0.2", LIMIT) == LIMIT
    assert [connections.another("127.0.0.2") for _ in range(50)] == [None] * 50
    connections.close()
    assert connections.as_many_as_possible("127.0.0.2", 30) == LIMIT


@pytest.mark.parametrize("begun", [b"", b"POST /token HT", b"\x16\x03\x01\x02\x00"])
def test_a_connection_without_a_complete_request_counts(connections: Connections, begun: bytes) -> None:
    port = connections.world.gate.port
    with contextlib.ExitStack() as stack:
        for _ in range(LIMIT):
            silent = socket.create_connection(("127.0.0.1", port), 20, source_address=("127.0.0.2", 0))
            stack.enter_context(silent).sendall(begun)
        assert connections.another("127.0.0.2") is None
        assert connections.another("127.0.0.3")


def test_a_hundred_hostile_addresses_leave_connections_for_new_addresses(connections: Connections) -> None:
    took = [connections.as_many_as_possible(f"127.0.1.{number}", 2 * LIMIT) for number in range(1, 101)]
    assert took[0] == LIMIT
    assert sum(took) < MOST
    assert all(connections.another(f"127.0.2.{number}") for number in range(1, 21))


def test_behind_the_operators_proxy_connections_are_not_counted() -> None:
    with world_of(
        issuer="https://gate.example.com", local=False, connections_per_address=LIMIT, trusted_proxies=1
    ) as world:
        held = Connections(world)
        assert held.as_many_as_possible("127.0.0.2", 3 * LIMIT) == 3 * LIMIT
        held.close()


def test_zero_means_no_limit() -> None:
    with world_of(issuer="https://gate.example.com", local=False, connections_per_address=0) as world:
        held = Connections(world)
        assert held.as_many_as_possible("127.0.0.2", 40) == 40
        held.close()


def test_the_committed_module_equals_its_compiled_text() -> None:
    assert MODULE.read_bytes() == compiled()


NETWORKS = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda number: f"{ipaddress.IPv4Address(number)}"),
    st.integers(0, 2**64 - 1),
    # Few bits are set, so that runs of zeros, which have a short form, occur at every position.
    st.sets(st.integers(0, 63), max_size=3).map(lambda bits: sum(1 << bit for bit in bits)),
)
HOSTS = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 1 << 48, 0xFFFF << 32, 2**64 - 1]))


def _peer(network: Any, host: int, port: int) -> str:
    if isinstance(network, str):
        return f"{network}:{port}"
    return f"[{ipaddress.IPv6Address(network << 64 | host)}]:{port}"


@pytest.fixture(scope="module")
def module() -> Host:
    return Host(b"1000 20000 20")


@given(NETWORKS, NETWORKS, st.lists(HOSTS, min_size=3, max_size=3), st.integers(0, 65535))
def test_the_addresses_of_one_network_have_one_count(
    module: Host, first: Any, other: Any, hosts: list[int], port: int
) -> None:
    (place,) = {module.place(_peer(first, host, port)) for host in hosts}
    # two networks have the same count with a probability of one in a million, and these two do not
    if other != first:
        assert module.place(_peer(other, hosts[0], port)) != place
    assert module.counted() == 0


def test_an_ipv4_address_has_one_count_in_both_notations() -> None:
    module = Host(b"2 1000 20")
    assert module.opened("192.0.2.1:1")
    assert module.opened("[::ffff:192.0.2.1]:2")
    assert not module.opened("192.0.2.1:3")
    assert module.opened("[::ffff:192.0.2.2]:4")


@pytest.mark.parametrize(
    "peer", ["", "/run/some.sock", "[", "[]", "[::", "[:::::::::::]:1", "[1:2:3:4:5:6:7:8:9:a]:1"]
)
def test_an_invalid_address_breaks_nothing(peer: str) -> None:
    module = Host(b"5 1000 20")
    for _ in range(3):
        module.opened(peer)
    for _ in range(3):
        module.ended(peer)
    assert module.counted() == 0
    assert module.opened("192.0.2.1:1")


@pytest.mark.parametrize(("hostile", "left"), [(1, 1900), (10, 1300), (100, 300)])
def test_networks_that_open_all_they_can_leave_connections_for_others(hostile: int, left: int) -> None:
    module = Host(b"1000 2000 20")
    for network in range(hostile):
        while module.opened(f"10.0.0.{network}:1"):
            pass
        module.ended(f"10.0.0.{network}:1")
    assert 2000 - module.counted() >= left
    served = [module.opened(f"192.0.2.{network}:1") for network in range(200)]
    assert served.count(False) <= 1, "at most one shares a count by chance"
