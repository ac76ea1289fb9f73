"""The complete bootstrap: listeners, connection managers, clusters and admin interface."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from betterproto2 import Casing, Message
from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.config.listener.v3 import AdditionalAddress, Filter, FilterChain, Listener

from portcullis.envoy_config.answers import PROCESSOR
from portcullis.envoy_config.checks import CHECKS
from portcullis.envoy_config.clusters import clusters
from portcullis.envoy_config.connection_limit import counted_connections
from portcullis.envoy_config.connection_manager import connection_manager, redirect_manager
from portcullis.envoy_config.messages import address, fields_of_older_envoys, packed, seconds
from portcullis.envoy_config.overload import overload_manager
from portcullis.envoy_config.tls import transport_socket
from portcullis.envoy_config.topology import Topology, topology

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager

    from oauth_core.net.listen_addresses import TcpAddress
    from oauth_core.settings import EnvoySettings

# betterproto2 evaluates the annotations of a class again for each message that it renders. Evaluated once for each
# class, rendering takes half the processor time, and `portcullis up` starts sooner.
_EVALUATED: Any = cache(vars(Message)["_type_hints"].__func__)
Message._type_hints = classmethod(_EVALUATED)  # type: ignore[assignment]  # noqa: SLF001

SYSTEM_CAS = "/etc/ssl/certs/ca-certificates.crt"
"""The file of public certificate authorities on Debian, Ubuntu, Alpine and in Envoy's own image."""

_NODE = "portcullis"
_CLOSED = frozenset({*CHECKS, PROCESSOR})
"""The filters that refuse if the check service does not answer."""
_HANDSHAKE_SECONDS = 10
_BUFFER_BYTES = 32 * 1024
"""Bytes that Envoy buffers for one connection before it stops reading. Requests have another limit."""


def render(settings: EnvoySettings, *, trusted_cas: str = SYSTEM_CAS) -> dict[str, object]:
    """The Envoy bootstrap for these settings, ready for `json.dumps` or `to_yaml`.

    `trusted_cas` is a file on Envoy's machine: the certificate authorities for services reached by https.
    Raises `SettingsError` naming every address that cannot be used; an admin address that other machines can
    reach is one of those.
    """
    message = bootstrap(settings, trusted_cas=trusted_cas)
    with fields_of_older_envoys():
        rendered = message.to_dict(casing=Casing.SNAKE)
    _expand_our_filters(rendered)
    _leave_out_empty_types(rendered)
    return rendered


def bootstrap(settings: EnvoySettings, *, trusted_cas: str = SYSTEM_CAS) -> Bootstrap:
    """The bootstrap of `render` as a typed message. Raises the same `SettingsError`."""
    places = topology(settings)
    return Bootstrap(
        # Envoy asks for its certificate (SDS) only when its node has a name.
        node=Node(id=_NODE, cluster=_NODE),
        static_resources=BootstrapStaticResources(
            listeners=list(_listeners(settings, places)), clusters=clusters(settings, places, trusted_cas)
        ),
        overload_manager=overload_manager(settings.envoy_max_memory),
        admin=Admin(address=address(places.admin), ignore_global_conn_limit=True),
    )


def _listeners(settings: EnvoySettings, topology: Topology) -> Iterator[Listener]:
    counting = counted_connections(settings)
    gateway = FilterChain(filters=[*counting, _manager(connection_manager(settings, topology))])
    if settings.terminates_tls:
        gateway.transport_socket = transport_socket(settings)
        # A caller that connects and then sends nothing must not keep the connection.
        gateway.transport_socket_connect_timeout = seconds(_HANDSHAKE_SECONDS)
    yield _listener("gateway", topology.listen, gateway)
    if topology.redirect:
        redirect = FilterChain(filters=[*counting, _manager(redirect_manager(settings))])
        yield _listener("redirect", topology.redirect, redirect)


def _listener(name: str, addresses: Sequence[TcpAddress], chain: FilterChain) -> Listener:
    first, *others = addresses
    return Listener(
        name=name,
        address=address(first),
        additional_addresses=[AdditionalAddress(address=address(other)) for other in others],
        per_connection_buffer_limit_bytes=_BUFFER_BYTES,
        filter_chains=[chain],
    )


def _manager(manager: HttpConnectionManager) -> Filter:
    return Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))


def _leave_out_empty_types(value: object) -> None:
    """Write an empty `google.protobuf.Any` as `{}`. Envoy refuses an empty `@type`."""
    if isinstance(value, dict):
        if value.get("@type") == "":
            del value["@type"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _leave_out_empty_types(item)


def _expand_our_filters(value: object) -> None:
    """Write `failure_mode_allow: false` into the filters: a reader need not know that it is the default."""
    if isinstance(value, dict):
        if value.get("name") in _CLOSED and "typed_config" in value:
            value["typed_config"].setdefault("failure_mode_allow", False)
        for item in value.values():
            _expand_our_filters(item)
    elif isinstance(value, list):
        for item in value:
            _expand_our_filters(item)
