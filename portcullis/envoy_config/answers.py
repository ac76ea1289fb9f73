"""The filters on answers: Envoy sends lists, and answers that can begin a session, to the check service.

Each filter (`ext_proc`) is skipped unless the check of the request left its metadata, which no caller can set. A
skipped filter opens no stream. It is skipped also for refusals, whose requests never came to it.

The filter on lists gets the whole answer. Envoy holds nothing of it: the check service does, within its own
limits, and Envoy sends on only what comes back. The filter on sessions gets the headers alone, of an answer with
`Mcp-Session-Id`. If the check service gives no answer, the caller gets an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutationRules
from envoy_data_plane.envoy.config.core.v3 import GrpcService, GrpcServiceEnvoyGrpc, TypedExtensionConfig
from envoy_data_plane.envoy.extensions.common.matching.v3 import ExtensionWithMatcher
from envoy_data_plane.envoy.extensions.filters.common.matcher.action.v3 import SkipFilter
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ExternalProcessor,
    ExternalProcessorRouteCacheAction,
    HeaderForwardingRules,
    MetadataOptions,
    MetadataOptionsMetadataNamespaces,
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.matching.common_inputs.network.v3 import (
    DynamicMetadataInput,
    DynamicMetadataInputPathSegment,
)
from envoy_data_plane.envoy.extensions.matching.input_matchers.metadata.v3 import Metadata
from envoy_data_plane.envoy.type.matcher.v3 import (
    HttpResponseHeaderMatchInput,
    ListStringMatcher,
    RegexMatcher,
    ValueMatcher,
)
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.xds.core.v3 import TypedExtensionConfig as XdsExtensionConfig
from envoy_data_plane.xds.type.matcher.v3 import (
    Matcher,
    MatcherMatcherList,
    MatcherMatcherListFieldMatcher,
    MatcherMatcherListPredicate,
    MatcherMatcherListPredicateSinglePredicate,
    MatcherOnMatch,
    RegexMatcherGoogleRe2,
)
from envoy_data_plane.xds.type.matcher.v3 import RegexMatcher as XdsRegexMatcher
from envoy_data_plane.xds.type.matcher.v3 import StringMatcher as XdsStringMatcher

from portcullis.envoy_config.checks import DECISIONS
from portcullis.envoy_config.clusters import ANSWERS
from portcullis.envoy_config.messages import exactly, packed, seconds

if TYPE_CHECKING:
    from oauth_core.settings import EnvoySettings

PROCESSOR = "envoy.filters.http.ext_proc"
LISTS = "portcullis.lists"
SESSIONS = "portcullis.sessions"

_LIST, _SESSION = "portcullis.lists", "portcullis.session"
"""Metadata of a check that switch the filters on."""

_SECONDS = 2
_SESSION_ID = "mcp-session-id"
_CHANGED = f"{_SESSION_ID}|content-type|cache-control|retry-after"
"""Headers that the check service may set: the first in any answer, the others in a refusal."""
_FORWARDED = (":status", "content-type", "content-encoding", _SESSION_ID)


def answer_filters(settings: EnvoySettings) -> list[HttpFilter]:
    """The filters, in their order. They stand after the checks, whose metadata they need.

    A filter that no service needs is left out: Envoy makes every filter for every request. `filter_lists` may be
    turned on while Envoy runs, so the first filter is there for every service with rules. Without the second, a
    session whose binding begins later is refused.
    """
    services = settings.resolved_services
    has_lists = any(service.rules is not None for service in services)
    has_sessions = any(service.bind_sessions for service in services)
    send, skip = ProcessingModeHeaderSendMode.SEND, ProcessingModeHeaderSendMode.SKIP
    lists = ProcessingMode(
        request_header_mode=skip,
        response_header_mode=send,
        response_body_mode=ProcessingModeBodySendMode.FULL_DUPLEX_STREAMED,
        response_trailer_mode=send,
    )
    sessions = ProcessingMode(request_header_mode=skip, response_header_mode=send)
    return [
        *([_filter(LISTS, lists, _without_metadata(_LIST))] if has_lists else []),
        # The second is known only with the answer, and the filter has no part in the request.
        *(
            [_filter(SESSIONS, sessions, _without_metadata(_SESSION), _without_header(_SESSION_ID))]
            if has_sessions
            else []
        ),
    ]


def _without_metadata(metadata: str) -> MatcherMatcherListPredicate:
    present = MatcherMatcherListPredicateSinglePredicate(
        input=XdsExtensionConfig(
            name="envoy.matching.inputs.dynamic_metadata",
            typed_config=packed(
                DynamicMetadataInput(filter=DECISIONS, path=[DynamicMetadataInputPathSegment(key=metadata)])
            ),
        ),
        custom_match=XdsExtensionConfig(
            name="envoy.matching.matchers.metadata_matcher",
            typed_config=packed(Metadata(value=ValueMatcher(present_match=True))),
        ),
    )
    return MatcherMatcherListPredicate(not_matcher=MatcherMatcherListPredicate(single_predicate=present))


def _without_header(header: str) -> MatcherMatcherListPredicate:
    present = MatcherMatcherListPredicateSinglePredicate(
        input=XdsExtensionConfig(
            name="response-header", typed_config=packed(HttpResponseHeaderMatchInput(header_name=header))
        ),
        value_match=XdsStringMatcher(safe_regex=XdsRegexMatcher(regex=".+", google_re2=RegexMatcherGoogleRe2())),
    )
    return MatcherMatcherListPredicate(not_matcher=MatcherMatcherListPredicate(single_predicate=present))


def _filter(name: str, mode: ProcessingMode, *skipped: MatcherMatcherListPredicate) -> HttpFilter:
    """A filter that is skipped if one of the conditions holds."""
    skip = XdsExtensionConfig(name="skip", typed_config=packed(SkipFilter()))
    return HttpFilter(
        name=name,
        typed_config=packed(
            ExtensionWithMatcher(
                extension_config=TypedExtensionConfig(name=PROCESSOR, typed_config=packed(_processor(name, mode))),
                xds_matcher=Matcher(
                    matcher_list=MatcherMatcherList(
                        matchers=[
                            MatcherMatcherListFieldMatcher(predicate=one, on_match=MatcherOnMatch(action=skip))
                            for one in skipped
                        ]
                    )
                ),
            )
        ),
    )


def _processor(name: str, mode: ProcessingMode) -> ExternalProcessor:
    decisions = MetadataOptionsMetadataNamespaces(untyped=[DECISIONS])
    return ExternalProcessor(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=ANSWERS, skip_envoy_headers=True),
        ),
        processing_mode=mode,
        # For the headers of answers alone: Envoy has no such limit while it sends a body.
        message_timeout=seconds(_SECONDS),
        failure_mode_allow=False,
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        mutation_rules=HeaderMutationRules(disallow_all=True, allow_expression=RegexMatcher(regex=_CHANGED)),
        forward_rules=HeaderForwardingRules(
            allowed_headers=ListStringMatcher(patterns=[exactly(header) for header in _FORWARDED])
        ),
        metadata_options=MetadataOptions(forwarding_namespaces=decisions, receiving_namespaces=decisions),
        route_cache_action=ExternalProcessorRouteCacheAction.RETAIN,
        stat_prefix=name,
    )
