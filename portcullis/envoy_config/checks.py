"""The filters that ask the check service, in three steps, so that Envoy holds no body before the headers are good.

The first asks without the body. Its answer names the next step in metadata: none, when the request may pass; a
second check with the first bytes of the body, which refuses with the id of the request; or a third with the whole
body, if the service has tool rules. A filter is skipped only when the metadata allow it: without metadata every
filter asks, and any answer but an explicit OK is a refusal.

The checks are on unless a route turns them off, so a route without settings is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import (
    BufferSettings,
    CheckSettings,
    ExtAuthz,
    ExtAuthzPerRoute,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import MetadataMatcher, MetadataMatcherPathSegment, ValueMatcher
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode

from oauth_core.settings.envoy import SMALLEST_BODY_BUFFER
from portcullis.envoy_config import replicas
from portcullis.envoy_config.clusters import AUTHZ
from portcullis.envoy_config.messages import matching, packed, seconds

if TYPE_CHECKING:
    from envoy_data_plane.google.protobuf import Any

    from oauth_core.model import Service
    from oauth_core.settings import EnvoySettings

CHECK = "envoy.filters.http.ext_authz"
REFUSALS = "portcullis.refusals"
BODIES = "portcullis.bodies"
CHECKS = (CHECK, REFUSALS, BODIES)

DECISIONS = "envoy.filters.http.ext_authz"
"""The namespace of the metadata in the answers of the check service."""

REQUEST_ID = "portcullis.request_id"
"""Metadata with the id of a request, as JSON, if a check has read its body."""

_SERVICE, _STEP, _BODY_BYTES = "portcullis.service", "portcullis.step", "portcullis.body_bytes"
"""Context extensions: the service of a route, the step of a check, and how much body the last check takes."""

_CHECK_SECONDS = 2
_BYTES_FOR_AN_ID = 8 * 1024

UNCHECKED: dict[str, Any] = dict.fromkeys(CHECKS, packed(ExtAuthzPerRoute(disabled=True)))
"""The configuration of a route without any check."""


def check_filters(settings: EnvoySettings) -> list[HttpFilter]:
    """The filters, in their order."""
    # Bytes, not text: in text Envoy would replace bytes that are not UTF-8, and the check would read another body.
    beginning = BufferSettings(max_request_bytes=_BYTES_FOR_AN_ID, allow_partial_message=True, pack_as_bytes=True)
    # The check decides on complete bodies only. It refuses one over `max_checked_bytes` itself, and Envoy one over
    # this limit: both are 413.
    most = max(settings.max_checked_bytes, SMALLEST_BODY_BUFFER)
    whole = BufferSettings(max_request_bytes=most, allow_partial_message=False, pack_as_bytes=True)
    has_rules = any(service.rules is not None for service in settings.resolved_services)
    return [
        _filter(CHECK, _check(settings)),
        _filter(REFUSALS, _check(settings, body=beginning, unless="allowed|undecided")),
        *([_filter(BODIES, _check(settings, body=whole, unless="allowed"))] if has_rules else []),
    ]


def checked(service: Service, settings: EnvoySettings) -> dict[str, Any]:
    """The configuration of a route to `service`: it names the service, the step and the size of bodies."""
    context = {_SERVICE: service.name}
    if service.rules is not None:
        context[_BODY_BYTES] = str(settings.max_checked_bytes)
    return {
        CHECK: _on_route({**context, _STEP: "headers"}),
        REFUSALS: _on_route({**context, _STEP: "refusal"}),
        # The filter exists only if a service has rules.
        **({BODIES: _on_route(context)} if service.rules is not None else {}),
    }


def decision_is(values: str, *, invert: bool = False) -> MetadataMatcher:
    """Match the last decision against an RE2 pattern; inverted, also match where there is no decision."""
    return MetadataMatcher(
        filter=DECISIONS,
        path=[MetadataMatcherPathSegment(key="portcullis"), MetadataMatcherPathSegment(key="decision")],
        value=ValueMatcher(string_match=matching(values)),
        invert=invert,
    )


def has_request_id() -> MetadataMatcher:
    """Match if a check has found the id of the JSON-RPC request."""
    return MetadataMatcher(
        filter=DECISIONS,
        path=[MetadataMatcherPathSegment(key=REQUEST_ID)],
        value=ValueMatcher(present_match=True),
    )


def _filter(name: str, config: ExtAuthz) -> HttpFilter:
    return HttpFilter(name=name, typed_config=packed(config))


def _on_route(context: dict[str, str]) -> Any:
    return packed(ExtAuthzPerRoute(check_settings=CheckSettings(context_extensions=context)))


def _check(settings: EnvoySettings, *, body: BufferSettings | None = None, unless: str | None = None) -> ExtAuthz:
    return ExtAuthz(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=AUTHZ, skip_envoy_headers=True),
            timeout=seconds(_CHECK_SECONDS),
            retry_policy=_another_process(),
        ),
        transport_api_version=ApiVersion.V3,
        with_request_body=body,
        failure_mode_allow=False,
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        validate_mutations=True,
        clear_route_cache=False,
        include_peer_certificate=settings.certificate_bound_tokens != "off",
        stat_prefix="portcullis",
        filter_enabled_metadata=None if unless is None else decision_is(unless, invert=True),
    )


def _another_process() -> RetryPolicy:
    """Retry a check at another process when the first one gave no answer: a check has no side effects."""
    return RetryPolicy(
        retry_on="connect-failure,refused-stream,reset,unavailable,cancelled",
        num_retries=replicas.RETRIES,
        retry_host_predicate=[
            RetryPolicyRetryHostPredicate(name=replicas.PREVIOUS_HOSTS, typed_config=replicas.another_one())
        ],
        host_selection_retry_max_attempts=replicas.ATTEMPTS_TO_FIND_ANOTHER,
    )
