"""Health checks and load balancing for replicas of our own programs, which may die, hang or stop at any moment.

Envoy checks the health of each every second, and sends no requests to one that does not answer or is unhealthy. A
program reports itself as unhealthy before it stops, and when it cannot reach Redis. When
all are unhealthy, Envoy sends requests to all of them: their answers are better than "no healthy upstream".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterCommonLbConfig, ClusterLbPolicy
from envoy_data_plane.envoy.config.core.v3 import (
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    HealthCheckHttpHealthCheck,
)
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.type.v3 import Percent

from oauth_core.net.listen_addresses import ListenAddress, TcpAddress
from portcullis.envoy_config.messages import packed, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envoy_data_plane.google.protobuf import Any

HEALTH_PATH = "/healthz"

RETRIES = 2
ATTEMPTS_TO_FIND_ANOTHER = 8
PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"

_EVERY_SECONDS = 1
_ANSWER_SECONDS = 1
_MISSED = 2
_NONE_LEFT_PERCENT = 1.0


def are_several(endpoints: Sequence[ListenAddress]) -> bool:
    """Whether there may be more than one process: a name can resolve to any number of addresses."""
    return len(endpoints) > 1 or any(
        isinstance(endpoint, TcpAddress) and not endpoint.is_ip for endpoint in endpoints
    )


def watch(cluster: Cluster, *, grpc: bool) -> None:
    """Let Envoy check the health of each process of `cluster`, and prefer the least busy one."""
    cluster.lb_policy = ClusterLbPolicy.LEAST_REQUEST
    cluster.common_lb_config = ClusterCommonLbConfig(healthy_panic_threshold=Percent(value=_NONE_LEFT_PERCENT))
    check = HealthCheck(
        timeout=seconds(_ANSWER_SECONDS),
        interval=seconds(_EVERY_SECONDS),
        no_traffic_interval=seconds(_EVERY_SECONDS),  # else a minute, until the first request
        unhealthy_threshold=_MISSED,
        healthy_threshold=1,
    )
    if grpc:
        check.grpc_health_check = HealthCheckGrpcHealthCheck()
    else:
        check.http_health_check = HealthCheckHttpHealthCheck(path=HEALTH_PATH)
    cluster.health_checks = [check]


def another_one() -> Any:
    """The typed configuration of the predicate `PREVIOUS_HOSTS`: a retry goes to another process."""
    return packed(PreviousHostsPredicate())
