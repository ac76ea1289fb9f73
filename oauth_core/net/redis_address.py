"""Addresses of Redis in the settings: one server, servers with Sentinels, or a cluster.

| form | topology |
|---|---|
| `redis://host:port/0`, `rediss://…`, `unix:///path` | one server |
| `redis+sentinel://host:port,host:port,…/service/0` | Sentinels, and their name for the servers |
| `redis+cluster://host:port,host:port,…` | some nodes of a Redis Cluster |

`rediss+sentinel` and `rediss+cluster` use TLS, also for Sentinels. User, password and `?options` are the servers'.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote, urlsplit

from oauth_core.net.listen_addresses import parse_tcp
from oauth_core.net.public_urls import is_loopback

_SENTINEL_PORT = 26379
_CLUSTER_PORT = 6379
_WITH_PORT = re.compile(r":[0-9]+\Z")


class Topology(Enum):
    """How many servers there are, and which parties determine the one that counts."""

    ONE = "one"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True)
class RedisAddress:
    """The location of Redis. `url` is that of one server, with all other parts: scheme, user, options.

    `hosts` are the Sentinels, or nodes of the cluster; `service` is the Sentinels' name for the servers.
    """

    topology: Topology
    url: str
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""


def read_redis_url(url: str) -> RedisAddress:
    """Parse `url`. Raises `ValueError` without repeating it, because it may contain a password."""
    try:
        address = _read(url)
    except ValueError:
        address = None
    if address is None:
        raise ValueError(
            "is not the address of a Redis server: redis://, rediss:// or unix://, "
            "redis+sentinel://host:port,…/service or redis+cluster://host:port,…"
        ) from None
    return address


def is_on_this_machine(url: str) -> bool:
    """Return whether every server, Sentinel and node in the valid `url` is on this machine."""
    address = read_redis_url(url)
    if address.topology is Topology.ONE:
        return urlsplit(url).scheme == "unix" or is_loopback(url)
    return all(is_loopback(f"redis://[{host}]" if ":" in host else f"redis://{host}") for host, _ in address.hosts)


def check_redis_url(url: str) -> str:
    """Return `url` when it can be an address of Redis; else raise `ValueError` without repeating it."""
    read_redis_url(url)
    return url


def _read(url: str) -> RedisAddress | None:
    scheme, _, kind = urlsplit(url).scheme.partition("+")
    match scheme, kind:
        case (("redis" | "rediss" | "unix"), ""):
            port = urlsplit(url).port
            return RedisAddress(Topology.ONE, url) if port is None or port > 0 else None
        case (("redis" | "rediss"), "sentinel"):
            return _several(url, scheme, Topology.SENTINEL)
        case (("redis" | "rediss"), "cluster"):
            return _several(url, scheme, Topology.CLUSTER)
    return None


def _several(url: str, scheme: str, topology: Topology) -> RedisAddress | None:
    parts = urlsplit(url)
    user, at, places = parts.netloc.rpartition("@")
    default_port = _SENTINEL_PORT if topology is Topology.SENTINEL else _CLUSTER_PORT
    hosts = tuple(_host(place, default_port) for place in places.split(","))
    path = [unquote(segment) for segment in parts.path.split("/")[1:]]
    service = path.pop(0) if topology is Topology.SENTINEL and path else ""
    database = path.pop(0) if path else ""
    if bool(service) != (topology is Topology.SENTINEL) or path or (database and not database.isdecimal()):
        return None
    if topology is Topology.CLUSTER and database not in {"", "0"}:
        return None  # a cluster has one database
    # The host is never used; the other parts are.
    one = f"{scheme}://{user}{at}redis.invalid/{database or 0}" + (f"?{parts.query}" if parts.query else "")
    return RedisAddress(topology, one, hosts, service)


def _host(place: str, default_port: int) -> tuple[str, int]:
    address = parse_tcp(place if _WITH_PORT.search(place) else f"{place}:{default_port}")
    return address.host, address.port
