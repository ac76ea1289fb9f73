"""Envoy's overload manager: the limits on connections and memory, and what Envoy does near them.

The more connections there are, the shorter one may be idle: from half of the limit on, the time shrinks from
`IDLE_SECONDS` to two seconds. So callers that only hold connections lose them before others cannot connect.
A connection with a running request or stream is never idle. Envoy 1.36 does not act on the number of
connections; 1.37 and later do. `connection_limit` bounds the connections of one address.

Bodies that Envoy holds take memory. Near the limit Envoy ends the requests with the largest bodies, and at the
limit it answers new requests with 503 until there is memory again.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.overload.v3 import (
    BufferFactoryConfig,
    OverloadAction,
    OverloadManager,
    ResourceMonitor,
    ScaledTrigger,
    ScaleTimersOverloadActionConfig,
    ScaleTimersOverloadActionConfigScaleTimer,
    ScaleTimersOverloadActionConfigTimerType,
    ThresholdTrigger,
    Trigger,
)
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import (
    DownstreamConnectionsConfig,
)
from envoy_data_plane.envoy.extensions.resource_monitors.fixed_heap.v3 import FixedHeapConfig

from portcullis.envoy_config.messages import packed, seconds

IDLE_SECONDS = 300
"""How long a connection may be idle while there are few connections."""

MOST_CONNECTIONS = 20_000
"""The limit for all callers together. Envoy closes further connections at once."""

_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"
_HEAP = "envoy.resource_monitors.fixed_heap"
_REFRESH_SECONDS = 0.25
_SHRINKS_FROM, _SHORTEST_FROM = 0.5, 0.9
"""Fractions of the limit on connections."""
_SHORTEST_SECONDS = 2
_FULL_FROM, _REFUSES_FROM = 0.85, 0.95
"""Fractions of the heap."""
_TRACKED_POWER_OF_TWO = 15


def overload_manager(heap_bytes: int) -> OverloadManager:
    """The overload manager of the process, which may have `heap_bytes` of heap."""
    return OverloadManager(
        refresh_interval=seconds(_REFRESH_SECONDS),
        resource_monitors=[
            ResourceMonitor(
                name=_CONNECTIONS,
                typed_config=packed(
                    DownstreamConnectionsConfig(max_active_downstream_connections=MOST_CONNECTIONS)
                ),
            ),
            # Envoy monitors the number of connections only if it monitors another resource too.
            ResourceMonitor(name=_HEAP, typed_config=packed(FixedHeapConfig(max_heap_size_bytes=heap_bytes))),
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
            ),
            _from_heap("shrink_heap", Trigger(name=_HEAP, threshold=ThresholdTrigger(value=_FULL_FROM))),
            _from_heap(
                "reset_high_memory_stream",
                Trigger(
                    name=_HEAP,
                    scaled=ScaledTrigger(scaling_threshold=_FULL_FROM, saturation_threshold=_REFUSES_FROM),
                ),
            ),
            _from_heap(
                "stop_accepting_requests", Trigger(name=_HEAP, threshold=ThresholdTrigger(value=_REFUSES_FROM))
            ),
        ],
        # Envoy sorts streams with this much memory or more by their memory.
        buffer_factory_config=BufferFactoryConfig(minimum_account_to_track_power_of_two=_TRACKED_POWER_OF_TWO),
    )


def _from_heap(name: str, trigger: Trigger) -> OverloadAction:
    return OverloadAction(name=f"envoy.overload_actions.{name}", triggers=[trigger])


def _timers() -> list[ScaleTimersOverloadActionConfigScaleTimer]:
    kinds = ScaleTimersOverloadActionConfigTimerType
    return [
        ScaleTimersOverloadActionConfigScaleTimer(timer=timer, min_timeout=seconds(_SHORTEST_SECONDS))
        for timer in (kinds.HTTP_DOWNSTREAM_CONNECTION_IDLE, kinds.TRANSPORT_SOCKET_CONNECT)
    ]
