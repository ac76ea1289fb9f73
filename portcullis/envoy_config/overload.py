"""What Envoy does when callers take much of it: how many connections and how much memory there may be.

The more connections there are, the shorter one may be idle: from half of the most on, the time shrinks from
`IDLE_SECONDS` to two seconds. So callers that only hold connections lose them before the others cannot connect.
A connection on which a request or a stream runs is never idle. Envoy 1.36 does not act on the number of
connections; 1.37 and later do. How many connections one address may have is in `connections.py`.

Bodies that Envoy holds take memory. Near the limit it ends the requests for which it holds the most, and at last
it answers new requests with 503 until there is memory again.
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
"""How long a connection may be idle while there are few."""

MOST_CONNECTIONS = 20_000
"""Of all callers together. Envoy closes further ones at once."""

_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"
_HEAP = "envoy.resource_monitors.fixed_heap"
_REFRESH_SECONDS = 0.25
_SHRINKS_FROM, _SHORTEST_FROM = 0.5, 0.9
"""Of the most connections."""
_SHORTEST_SECONDS = 2
_FULL_FROM, _REFUSES_FROM = 0.85, 0.95
"""Of the heap."""
_TRACKED_POWER_OF_TWO = 15


def overload_manager(heap_bytes: int) -> OverloadManager:
    """The overload manager of the whole process, which may have so many bytes of heap."""
    return OverloadManager(
        refresh_interval=seconds(_REFRESH_SECONDS),
        resource_monitors=[
            ResourceMonitor(
                name=_CONNECTIONS,
                typed_config=packed(
                    DownstreamConnectionsConfig(max_active_downstream_connections=MOST_CONNECTIONS)
                ),
            ),
            # Envoy looks at the number of connections only where it has another resource to look at, too.
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
        # Streams that hold this much or more are told apart by how much they hold.
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
