"""What Envoy does when callers take much of it: how many connections there may be, and which ones end first.

Envoy cannot limit the connections of one address. So the more connections there are, the shorter one may be idle:
from half of the most on, the time shrinks from `IDLE_SECONDS` to two seconds. Somebody who only holds connections
loses them before nobody else can connect, and a connection on which a request or a stream runs is never idle.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.overload.v3 import (
    OverloadAction,
    OverloadManager,
    ResourceMonitor,
    ScaledTrigger,
    ScaleTimersOverloadActionConfig,
    ScaleTimersOverloadActionConfigScaleTimer,
    ScaleTimersOverloadActionConfigTimerType,
    Trigger,
)
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import (
    DownstreamConnectionsConfig,
)
from envoy_data_plane.envoy.extensions.resource_monitors.fixed_heap.v3 import FixedHeapConfig

from portcullis.envoy_config.messages import packed, seconds

IDLE_SECONDS = 300
"""How long a connection may be idle while there are few."""

_MOST_CONNECTIONS = 20_000
_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"
_HEAP = "envoy.resource_monitors.fixed_heap"
_HEAP_BYTES = 1024**3
_REFRESH_SECONDS = 0.25
_SHRINKS_FROM, _SHORTEST_FROM = 0.5, 0.9
"""Of the most connections."""
_SHORTEST_SECONDS = 2


def overload_manager() -> OverloadManager:
    """The overload manager of the whole process."""
    return OverloadManager(
        refresh_interval=seconds(_REFRESH_SECONDS),
        resource_monitors=[
            ResourceMonitor(
                name=_CONNECTIONS,
                typed_config=packed(
                    DownstreamConnectionsConfig(max_active_downstream_connections=_MOST_CONNECTIONS)
                ),
            ),
            # Envoy looks at the number of connections only where it has another resource to look at, too.
            ResourceMonitor(name=_HEAP, typed_config=packed(FixedHeapConfig(max_heap_size_bytes=_HEAP_BYTES))),
        ],
        actions=[
            OverloadAction(
                name="envoy.overload_actions.reduce_timeouts",
                triggers=[
                    Trigger(
                        name=_CONNECTIONS,
                        scaled=ScaledTrigger(scaling_threshold=_SHRINKS_FROM, saturation_threshold=_SHORTEST_FROM),
                    )
                ],
                typed_config=packed(ScaleTimersOverloadActionConfig(timer_scale_factors=_timers())),
            )
        ],
    )


def _timers() -> list[ScaleTimersOverloadActionConfigScaleTimer]:
    kinds = ScaleTimersOverloadActionConfigTimerType
    return [
        ScaleTimersOverloadActionConfigScaleTimer(timer=timer, min_timeout=seconds(_SHORTEST_SECONDS))
        for timer in (kinds.HTTP_DOWNSTREAM_CONNECTION_IDLE, kinds.TRANSPORT_SOCKET_CONNECT)
    ]
