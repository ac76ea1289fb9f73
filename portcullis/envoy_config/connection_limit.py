"""The limit on open connections of one network at Envoy: an IPv4 address, or the first 64 bits of an IPv6 one.

Envoy has no such limit: `connection_limit` counts a whole filter chain. So a small module in WebAssembly
(`connections.wat`), which every Envoy can run, counts. It sees a connection as soon as it is
accepted, before TLS and before the first byte. So unfinished handshakes, unfinished headers and silent
connections count like others.

One network may have `connections_per_address`, and fewer when connections become scarce: of `free` connections
out of `most` it may have free² / (most * PART), and always one. So each further network gets fewer, and
some are left: N networks that take all they can leave about most / (1 + N / PART). With 20,000 and a part of 20
a thousand hostile networks leave more than 200, and each new network may have one of these.

If the module fails, Envoy accepts connections without a count. The module protects availability and does not
decide on access.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.core.v3 import AsyncDataSource, DataSource
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.extensions.filters.network.wasm.v3 import Wasm
from envoy_data_plane.envoy.extensions.wasm.v3 import FailurePolicy, PluginConfig, VmConfig
from envoy_data_plane.google.protobuf import StringValue

from portcullis.envoy_config import overload
from portcullis.envoy_config.messages import packed

if TYPE_CHECKING:
    from oauth_core.settings import EnvoySettings

PART = 20
"""One network may have one n-th of all connections while all are free."""

_NAME = "portcullis.connections"


def counted_connections(settings: EnvoySettings) -> list[Filter]:
    """The first network filter of a listener, or none without a limit.

    Behind the operator's proxies all connections come from the same few addresses, so there is no limit here.
    Listeners share the counts, because the module and `vm_id` are the same.
    """
    if settings.trusted_proxies or not settings.connections_per_address:
        return []
    module = files("portcullis.envoy_config").joinpath("connections.wasm").read_bytes()
    numbers = f"{settings.connections_per_address} {overload.MOST_CONNECTIONS} {PART}"
    counting = PluginConfig(
        name=_NAME,
        root_id=_NAME,
        failure_policy=FailurePolicy.FAIL_OPEN,
        configuration=packed(StringValue(value=numbers)),
        vm_config=VmConfig(
            vm_id=_NAME,
            runtime="envoy.wasm.runtime.v8",
            code=AsyncDataSource(local=DataSource(inline_bytes=module)),
        ),
    )
    return [Filter(name="envoy.filters.network.wasm", typed_config=packed(Wasm(config=counting)))]
