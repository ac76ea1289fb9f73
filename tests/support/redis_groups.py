"""Several real Redis processes for a test: two servers behind three Sentinels, or a cluster of three primaries.

    with running_sentinels(password="secret") as group:
        group.primary().kill()

The files of each process contain from the start what it would learn from the others in some seconds.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from redis import Redis, RedisCluster
from redis.cluster import ClusterNode
from redis.exceptions import RedisError

from tests.support.ports import free_port
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_PATIENCE = 60.0
_SLOTS = 16384
_PRIMARIES = 3
_BUS = 10_000
"""The offset of a node's bus port from its port."""
_PORTS = range(20_000, 22_700)
"""The ports and their bus ports are below those that the system chooses for connections."""
_HOST = "127.0.0.1"
SERVICE = "portcullis"


def until(happened: Callable[[], object]) -> None:
    """Return once `happened()` is true and Redis reports no error; fail if it does not become true."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            if happened():
                return
        except (RedisError, AssertionError):  # the nodes do not agree yet
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _free_ports(count: int) -> list[int]:
    """Free ports whose ports of the cluster bus are free too."""
    return [free_port(_PORTS, other=_BUS) for _ in range(count)]


class SentinelGroup:
    """Two servers, of which one is the primary, and three Sentinels."""

    def __init__(self, servers: dict[int, RedisServer], sentinels: dict[int, RedisServer], password: str) -> None:
        self.servers = servers
        self.sentinels = sentinels
        self.password = password

    def url(self, *, user: str | None = None) -> str:
        """The address without a password, for `REDIS_URL`."""
        places = ",".join(f"{_HOST}:{port}" for port in self.sentinels)
        return f"redis+sentinel://{f'{user}@' if user else ''}{places}/{SERVICE}/0"

    def primary(self) -> RedisServer:
        """The server that a majority of the Sentinels names as the primary."""
        named = [self._named_by(sentinel) for sentinel in self.sentinels.values()]
        port = max(named, key=named.count)
        assert named.count(port) * 2 > len(named), named
        assert port is not None
        return self.servers[port]

    def replica(self) -> RedisServer:
        """The replica."""
        primary = self.primary()
        return next(server for server in self.servers.values() if server is not primary)

    def client(self) -> Redis:
        """A blocking client of the primary with all rights."""
        return self.primary().client()

    def is_replicating(self) -> bool:
        """Whether the replica follows the primary."""
        with self.replica().client() as client:
            state: Any = client.info("replication")
        return bool(state["role"] == "slave" and state["master_link_status"] == "up")

    def wait_for_failover(self, old: RedisServer) -> None:
        """Return when another server than `old` is the primary, and reports so itself."""

        def happened() -> bool:
            primary = self.primary()
            if primary is old:  # which may not answer
                return False
            with primary.client() as client:
                state: Any = client.info("replication")
            return bool(state["role"] == "master")

        until(happened)

    @staticmethod
    def _named_by(sentinel: RedisServer) -> int | None:
        if not sentinel.is_running:
            return None
        try:
            with sentinel.client() as client:
                found: Any = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        except RedisError:
            return None
        return int(found[1]) if found else None


@contextmanager
def running_sentinels(
    *, password: str, users: Mapping[str, Sequence[str]] | None = None, count: int = 3
) -> Iterator[SentinelGroup]:
    """Run two servers and `count` Sentinels, which mark a primary as down after a second."""
    ports = _free_ports(2 + count)
    ids = {port: token_hex(20) for port in ports}
    first, second, *others = ports
    with TemporaryDirectory(prefix="redis-") as folder, ExitStack() as stack:

        def start(port: int, *lines: str, is_sentinel: bool = False) -> RedisServer:
            place = Path(folder) / str(port)
            place.mkdir()
            server = RedisServer(
                place,
                password=password,
                users={} if is_sentinel else users or {},
                lines=(f"port {port}", f"bind {_HOST}", *lines),
                is_sentinel=is_sentinel,
            )
            stack.callback(server.kill)
            server.start()
            return server

        follow = ("repl-diskless-sync yes", "repl-diskless-sync-delay 0", "replica-read-only yes")
        auth = (f"masterauth {password}", *follow)
        servers = {
            first: start(first, *auth),
            second: start(second, *auth, f"replicaof {_HOST} {first}"),
        }
        sentinels = {}
        for port in others:
            known = [f"sentinel known-sentinel {SERVICE} {_HOST} {p} {ids[p]}" for p in others if p != port]
            sentinels[port] = start(
                port,
                f"sentinel myid {ids[port]}",
                f"sentinel monitor {SERVICE} {_HOST} {first} {count // 2 + 1}",
                f"sentinel auth-pass {SERVICE} {password}",
                f"sentinel down-after-milliseconds {SERVICE} 1000",
                f"sentinel failover-timeout {SERVICE} 2000",
                f"sentinel known-replica {SERVICE} {_HOST} {second}",
                *known,
                f"sentinel sentinel-pass {password}",
                is_sentinel=True,
            )
        group = SentinelGroup(servers, sentinels, password)
        until(group.is_replicating)
        yield group


class ClusterGroup:
    """Three primaries, and a replica for the first of them, or for each."""

    def __init__(self, nodes: dict[int, RedisServer], ids: dict[int, str], password: str) -> None:
        self.nodes = nodes
        self.ids = ids
        self.password = password

    def url(self, *, user: str | None = None) -> str:
        """The address without a password, for `REDIS_URL`."""
        places = ",".join(f"{_HOST}:{port}" for port in self.nodes)
        return f"redis+cluster://{f'{user}@' if user else ''}{places}"

    def client(self) -> RedisCluster:
        """A blocking client of the whole cluster with all rights."""
        nodes = [ClusterNode(_HOST, port) for port in self.nodes]  # type: ignore[no-untyped-call]
        return RedisCluster(
            startup_nodes=nodes,
            password=self.password,
            decode_responses=True,
        )

    def owner_of(self, slot: int) -> RedisServer:
        """The primary of `slot`, according to most nodes."""
        named = [found for server in self.nodes.values() if (found := self._named_by(server, slot)) is not None]
        port = max(named, key=named.count)
        assert named.count(port) * 2 > len(self.nodes), named
        return self.nodes[port]

    def replica_of_first(self) -> RedisServer:
        """The node without slots, if there is one."""
        owners = {id(self.owner_of(slot)) for slot in (0, _SLOTS // 2, _SLOTS - 1)}
        return next(server for server in self.nodes.values() if id(server) not in owners)

    def port_of(self, server: RedisServer) -> int:
        """The port of a node."""
        return next(port for port, node in self.nodes.items() if node is server)

    def is_replicating(self) -> bool:
        """Whether the replica follows its primary."""
        with self.replica_of_first().client() as client:
            state: Any = client.info("replication")
        return bool(state["role"] == "slave" and state["master_link_status"] == "up")

    def is_well(self) -> bool:
        """Whether every running node reports that every slot is served."""
        for server in self.nodes.values():
            if not server.is_running:
                continue
            with server.client() as client:
                state: Any = client.execute_command("CLUSTER INFO")
            if state["cluster_state"] != "ok":
                return False
        return True

    @staticmethod
    def _named_by(server: RedisServer, slot: int) -> int | None:
        if not server.is_running:
            return None
        try:
            with server.client() as client:
                slots: Any = client.execute_command("CLUSTER", "SLOTS")
        except RedisError:
            return None
        return next((int(primary[1]) for first, last, primary, *_ in slots if first <= slot <= last), None)


@contextmanager
def running_cluster(
    *, password: str, users: Mapping[str, Sequence[str]] | None = None, count: int = 4
) -> Iterator[ClusterGroup]:
    """Run `count` nodes, three of them primaries; of six, each primary has a replica, of four the first one has.

    They mark a node that does not answer as down after a second.
    """
    ports = _free_ports(count)
    ids = {port: token_hex(20) for port in ports}
    primaries, following = ports[:_PRIMARIES], dict(zip(ports[_PRIMARIES:], ports, strict=False))
    with TemporaryDirectory(prefix="redis-") as folder, ExitStack() as stack:
        nodes = {}
        for port in ports:
            place = Path(folder) / str(port)
            place.mkdir()
            (place / "nodes.conf").write_text(_nodes_conf(port, primaries, following, ids), encoding="ascii")
            nodes[port] = RedisServer(
                place,
                password=password,
                users=users or {},
                lines=(
                    f"port {port}",
                    f"bind {_HOST}",
                    "cluster-enabled yes",
                    "cluster-node-timeout 1000",
                    "cluster-require-full-coverage no",
                    "repl-diskless-sync yes",
                    "repl-diskless-sync-delay 0",
                    f"masterauth {password}",
                ),
            )
            stack.callback(nodes[port].kill)
            nodes[port].start()
        group = ClusterGroup(nodes, ids, password)
        until(group.is_well)
        until(group.is_replicating)
        yield group


def _nodes_conf(port: int, primaries: list[int], following: dict[int, int], ids: dict[int, str]) -> str:
    """`following` is the primary of each replica."""
    lines = []
    each = _SLOTS // len(primaries)
    for number, one in enumerate(primaries):
        last = _SLOTS - 1 if one == primaries[-1] else (number + 1) * each - 1
        myself = "myself," if one == port else ""
        slots = f"{number * each}-{last}"
        place = f"{_HOST}:{one}@{one + _BUS}"
        lines.append(f"{ids[one]} {place} {myself}master - 0 0 {number + 1} connected {slots}")
    for number, (replica, primary) in enumerate(following.items()):
        myself = "myself," if replica == port else ""
        place = f"{_HOST}:{replica}@{replica + _BUS}"
        lines.append(f"{ids[replica]} {place} {myself}slave {ids[primary]} 0 0 {number + 1} connected")
    return "\n".join([*lines, f"vars currentEpoch {len(primaries)} lastVoteEpoch 0", ""])
