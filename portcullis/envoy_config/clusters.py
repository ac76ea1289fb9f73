"""The clusters: the upstreams of Envoy, with their timeouts and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
    ClusterLbPolicy,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    KeepaliveSettings,
    TransportSocket,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HttpProtocolOptions as CommonHttpOptions,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)

from oauth_core.net.listen_addresses import ListenAddress, TcpAddress
from oauth_core.net.special_addresses import is_ip
from portcullis.envoy_config import replicas
from portcullis.envoy_config.messages import address, exactly, packed, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from oauth_core.model import Service
    from oauth_core.settings import EnvoySettings
    from portcullis.envoy_config.topology import Topology, Upstream

AUTHZ = "ext_authz"
ANSWERS = "ext_authz_answers"
WEB = "oauth_web"
STANDIN = "github_standin"
ACME = "acme"

_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_BUFFER_BYTES = 32 * 1024
_CONNECT_SECONDS = 2
_MOST_RETRIES = 1024
_ANSWERS_PING_SECONDS = 5
_ANSWERS_PATIENCE_SECONDS = 5
# Python and Node servers close an idle connection after five seconds. Envoy must close it first:
# a request sent on a connection that is being closed is lost, and a tool call must not be sent twice.
_IDLE_SECONDS = 4


def service_cluster(service: Service) -> str:
    """The name of the cluster of an MCP service."""
    return f"service_{service.name}"


def clusters(settings: EnvoySettings, topology: Topology, trusted_cas: str) -> list[Cluster]:
    """Every cluster of the gateway: our own programs first, then the services.

    `trusted_cas` is the file of the certificate authorities for services reached by https.
    """
    return [
        _authz(settings, topology.authz),
        _answers(settings, topology.authz),
        _web(topology.web),
        *([_cluster(STANDIN, [topology.standin], _http1())] if topology.standin else []),
        *([_cluster(ACME, [topology.acme], _http1())] if topology.acme else []),
        *(_service(service, upstream, trusted_cas) for service, upstream in topology.services),
    ]


def _web(endpoints: Sequence[ListenAddress]) -> Cluster:
    """The processes of the authorization server."""
    cluster = _cluster(WEB, endpoints, _http1())
    if replicas.are_several(endpoints):
        replicas.watch(cluster, grpc=False)
    return cluster


def _authz(settings: EnvoySettings, endpoints: Sequence[ListenAddress]) -> Cluster:
    """The processes of the check service.

    The process with the fewest calls under way gets the next, so a process that hangs or is slow gets few. A
    process that does not answer at all gets none for a moment, unless no other is left.
    """
    return _check_service(AUTHZ, settings, endpoints, _grpc())


def _answers(settings: EnvoySettings, endpoints: Sequence[ListenAddress]) -> Cluster:
    """The same processes, for the filter on answers, whose streams may stay open for minutes.

    They have connections and limits of their own, so that no number of them keeps checks waiting. Envoy has no
    time limit for them: the pings end the streams of a process that hangs.
    """
    return _check_service(
        ANSWERS, settings, endpoints, _grpc(ping_seconds=_ANSWERS_PING_SECONDS, patience=_ANSWERS_PATIENCE_SECONDS)
    )


def _check_service(
    name: str, settings: EnvoySettings, endpoints: Sequence[ListenAddress], protocol: HttpProtocolOptions
) -> Cluster:
    cluster = _cluster(name, endpoints, protocol)
    cluster.lb_policy = ClusterLbPolicy.LEAST_REQUEST
    if cluster.circuit_breakers:  # when a process dies, Envoy retries all its checks at once
        cluster.circuit_breakers.thresholds[0].max_retries = _MOST_RETRIES
    if replicas.are_several(endpoints):
        replicas.watch(cluster, grpc=True)
    if len(endpoints) > 1:
        cluster.outlier_detection = OutlierDetection(
            consecutive_gateway_failure=3,
            enforcing_consecutive_gateway_failure=100,
            interval=seconds(1),
            base_ejection_time=seconds(1),
            max_ejection_time=seconds(5),
            max_ejection_percent=99,
        )
    if settings.authz_upstream_ca:
        cluster.transport_socket = _tls_socket(_authz_tls(settings, settings.authz_upstream_ca, endpoints[0]))
    return cluster


def _authz_tls(settings: EnvoySettings, authorities: Path, endpoint: ListenAddress) -> UpstreamTlsContext:
    name = settings.authz_upstream_name or (endpoint.host if isinstance(endpoint, TcpAddress) else "")
    tls = _tls(name, str(authorities), "h2")
    if tls.common_tls_context and settings.authz_upstream_cert and settings.authz_upstream_key:
        tls.common_tls_context.tls_certificates = [
            TlsCertificate(
                certificate_chain=DataSource(filename=str(settings.authz_upstream_cert)),
                private_key=DataSource(filename=str(settings.authz_upstream_key)),
            )
        ]
    return tls


def _service(service: Service, upstream: Upstream, trusted_cas: str) -> Cluster:
    cluster = _cluster(service_cluster(service), [upstream.endpoint], _http1())
    if upstream.tls and isinstance(upstream.endpoint, TcpAddress):
        cluster.transport_socket = _tls_socket(_tls(upstream.endpoint.host, trusted_cas, "http/1.1"))
    return cluster


def _cluster(name: str, endpoints: Sequence[ListenAddress], protocol: HttpProtocolOptions) -> Cluster:
    by_name = any(isinstance(endpoint, TcpAddress) and not endpoint.is_ip for endpoint in endpoints)
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.STRICT_DNS if by_name else ClusterDiscoveryType.STATIC,
        dns_lookup_family=ClusterDnsLookupFamily.ALL if by_name else ClusterDnsLookupFamily.AUTO,
        connect_timeout=seconds(_CONNECT_SECONDS),
        per_connection_buffer_limit_bytes=_BUFFER_BYTES,
        circuit_breakers=CircuitBreakers(
            thresholds=[
                # An event stream holds a connection as long as it is open, so the first figure is high.
                CircuitBreakersThresholds(max_connections=8192, max_pending_requests=1024, max_requests=8192)
            ]
        ),
        typed_extension_protocol_options={_PROTOCOL_OPTIONS: packed(protocol)},
        load_assignment=ClusterLoadAssignment(
            cluster_name=name,
            endpoints=[
                LocalityLbEndpoints(
                    lb_endpoints=[
                        LbEndpoint(endpoint=Endpoint(address=address(endpoint))) for endpoint in endpoints
                    ]
                )
            ],
        ),
    )


def _http1() -> HttpProtocolOptions:
    return HttpProtocolOptions(
        common_http_protocol_options=CommonHttpOptions(idle_timeout=seconds(_IDLE_SECONDS)),
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions()),
    )


def _grpc(*, ping_seconds: int = 30, patience: int = 5) -> HttpProtocolOptions:
    # The pings detect a check service whose machine vanished without closing the connection, before a request
    # waits.
    return HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
            http2_protocol_options=Http2ProtocolOptions(
                connection_keepalive=KeepaliveSettings(interval=seconds(ping_seconds), timeout=seconds(patience))
            )
        ),
    )


def _tls_socket(context: UpstreamTlsContext) -> TransportSocket:
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def _tls(name: str, trusted_cas: str, protocol: str) -> UpstreamTlsContext:
    """TLS to a server whose certificate must carry `name`, a host name or an IP address."""
    by_address = is_ip(name)
    kind = SubjectAltNameMatcherSanType.IP_ADDRESS if by_address else SubjectAltNameMatcherSanType.DNS
    return UpstreamTlsContext(
        sni="" if by_address else name,  # RFC 6066 section 3: names only
        common_tls_context=CommonTlsContext(
            alpn_protocols=[protocol],
            validation_context=CertificateValidationContext(
                trusted_ca=DataSource(filename=trusted_cas),
                match_typed_subject_alt_names=[SubjectAltNameMatcher(san_type=kind, matcher=exactly(name))],
            ),
        ),
    )
