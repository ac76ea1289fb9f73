"""Clients of Redis, and the one place that turns failures of Redis into `StoreUnavailableError`.

`oauth_web.http.errors` answers that error with 503. In the check service a token then has an unknown status, for
which `oauth_core.policy.decision` denies with 503.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError

from oauth_core.errors import StoreUnavailableError
from oauth_core.net.redis_address import Topology, read_redis_url
from oauth_core.process.metrics import Family, Histogram
from oauth_core.store.failures import known_cause
from oauth_core.store.topology.cluster import ClusterNodes, NodeClient
from oauth_core.store.topology.sentinel import (
    FollowingConnection,
    FollowingRedis,
    FollowingTlsConnection,
    MajoritySentinel,
)
from oauth_core.store.topology.topology import OneServer, Sentinels

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from oauth_core.net.redis_address import RedisAddress
    from oauth_core.settings import RedisSettings
    from oauth_core.store.topology.quorum import Address
    from oauth_core.store.topology.topology import RedisTopology

ANSWERED = "answered"
FAILED = "failed"
"""Redis refused, could not be reached, or did not answer in time."""

CALLS = Family("portcullis_redis_calls_seconds", "histogram", "Time of a call to Redis, by result.")
CALL_TIMES = Histogram(
    CALLS,
    ("result",),
    (0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
    initial=((ANSWERED,), (FAILED,)),
)
"""The calls of this process to Redis. A call is one command, or the few that belong together."""

Client = TypeVar("Client", bound=Redis)


def connect(settings: RedisSettings) -> Redis:
    """Return a client that connects when first used and gives each attempt `redis.timeout` seconds.

    It finds the server that counts, in any topology. A call on a connection that turns out to be closed is tried
    once more; a call that timed out is not.
    """
    address = read_redis_url(settings.redis_url)
    match address.topology:
        case Topology.ONE:
            return Redis.from_url(settings.redis_url, **_options(settings))
        case Topology.SENTINEL:
            options = _sentinel_options(settings, address)
            sentinel: Any = MajoritySentinel(address.hosts, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
            options = _server_options(settings, address)
            kind = FollowingTlsConnection if options.pop("ssl", False) else FollowingConnection
            found = sentinel.master_for(address.service, FollowingRedis, connection_class=kind, **options)
            return cast("FollowingRedis", found)
        case Topology.CLUSTER:
            return _cluster(settings, address)


def redis_topology(settings: RedisSettings, *, bound: float, clock: Callable[[], float]) -> RedisTopology:
    """Return the topology for a client cache. `bound` is that of the cache, in seconds of `clock`."""
    address = read_redis_url(settings.redis_url)
    match address.topology:
        case Topology.ONE:
            return OneServer(connect(settings))
        case Topology.SENTINEL:
            options = _sentinel_options(settings, address)
            sentinels = [((host, port), Redis(host=host, port=port, **options)) for host, port in address.hosts]
            return Sentinels(
                address.service, sentinels, _single(Redis, settings, address), bound=bound, clock=clock
            )
        case Topology.CLUSTER:
            return ClusterNodes(address.hosts, _single(NodeClient, settings, address), bound=bound, clock=clock)


def server_clients(settings: RedisSettings) -> Callable[[Address], Redis]:
    """Return a function that makes a client of one of the servers of `settings`. The caller closes the client."""
    return _single(Redis, settings, read_redis_url(settings.redis_url))


def is_cluster(redis: Any) -> bool:
    """Return whether this is a client of a Redis Cluster, whose keys are on different servers."""
    return isinstance(redis, RedisCluster)


@asynccontextmanager
async def guarded(*, is_measured: bool = True) -> AsyncIterator[None]:
    """Turn every failure to get an answer from Redis into `StoreUnavailableError`, and measure the time.

    `is_measured` is false where the block does other work too, which may take long.

    Raises `CancelledError` also if the task was cancelled in the block and the block hid that. The client of Redis
    waits with `asyncio.wait_for`, which hides it before Python 3.12 if the awaited work ends at that moment. A
    task that reads for ever would then never end.
    """
    begun = perf_counter()
    task = asyncio.current_task()
    # A task that was cancelled before may still clean up in Redis: only a new cancellation counts.
    cancellations = 0 if task is None else task.cancelling()
    try:
        yield
    except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
        if is_measured:
            CALL_TIMES.add(perf_counter() - begun, FAILED)
        _raise_hidden_cancellation(task, cancellations)
        cause = known_cause(error) or type(error).__name__
        raise StoreUnavailableError(f"{cause}: {error}") from error
    if is_measured:
        CALL_TIMES.add(perf_counter() - begun, ANSWERED)
    _raise_hidden_cancellation(task, cancellations)


def _raise_hidden_cancellation(task: asyncio.Task[Any] | None, before: int) -> None:
    """Raise `CancelledError` if the running task has had more than `before` requests to end."""
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError


def _options(settings: RedisSettings) -> dict[str, Any]:
    """Return the options of every connection to a server."""
    password = settings.redis_password.get_secret_value() if settings.redis_password else None
    return {
        "password": password,
        "decode_responses": True,
        "protocol": 2,
        "socket_timeout": settings.redis_timeout,
        "socket_connect_timeout": settings.redis_timeout,
        "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    }


def _server_options(settings: RedisSettings, address: RedisAddress) -> dict[str, Any]:
    """Return the options of a connection to one of several servers, without its address."""
    in_url: dict[str, Any] = dict(parse_url(address.url))
    del in_url["host"]
    tls = {"ssl": True} if in_url.pop("connection_class", None) else {}
    return {**_options(settings), **in_url, **tls}


def _sentinel_options(settings: RedisSettings, address: RedisAddress) -> dict[str, Any]:
    """Return the options of a connection to a Sentinel: the TLS of the servers, and its own user."""
    of_servers = _server_options(settings, address)
    password = settings.redis_sentinel_password
    return {
        **{name: value for name, value in of_servers.items() if name not in {"db", "username"}},
        "username": settings.redis_sentinel_user,
        "password": password.get_secret_value() if password else None,
    }


def _single(kind: type[Client], settings: RedisSettings, address: RedisAddress) -> Callable[[Address], Client]:
    options = _server_options(settings, address)

    def connect_to(place: Address) -> Client:
        host, port = place
        return kind(host=host, port=port, **options)

    return connect_to


def _cluster(settings: RedisSettings, address: RedisAddress) -> Redis:
    options = {name: value for name, value in _server_options(settings, address).items() if name != "db"}
    # A failed primary is replaced within moments; a writer meanwhile asks for the slots again.
    options["retry"] = Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.25), 3)
    nodes = [ClusterNode(host, port) for host, port in address.hosts]
    client: Any = RedisCluster(startup_nodes=nodes, require_full_coverage=False, **options)
    return cast("Redis", client)  # the same commands, for one key or for keys with one hash tag
