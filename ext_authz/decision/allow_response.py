"""Allow responses: the identity headers of an allowed request, and a time by which its answer must end.

A check happens when a request begins, but the answer may be an event stream without an end. So the response makes
Envoy end the stream when the token expires, and after a maximum time in any case, since the token may have been
revoked meanwhile. A caller that wants to continue sends a new request, which is checked.

A service can also get the identity as a signed assertion. A signature costs as much as the check of one, so the
response is cached with it, and made again after a minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ext_authz.decision import envoy_messages
from oauth_core.policy.mcp_request import LISTEN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ext_authz.decision.envoy_messages import AllowResponse, IncomingRequest, Names
    from oauth_core.model import AccessClaims, Service
    from oauth_core.tokens.service_assertions import AssertionSigner

STREAM_SECONDS = 300
CALL_SECONDS = 900

_METHOD_IN_HEADER = "2026-07-28"
"""From this revision of MCP on a request has its method in a header too."""


class AllowResponses:
    """Makes allow responses as the operator configured them."""

    def __init__(
        self,
        names: Names = envoy_messages.USUAL_NAMES,
        *,
        stream_seconds: int = STREAM_SECONDS,
        call_seconds: int = CALL_SECONDS,
        signer: AssertionSigner | None = None,
    ) -> None:
        """`stream_seconds` limits an event stream that a client opens, `call_seconds` any other answer.

        Without `signer` no service may require assertions.
        """
        self.names = names
        self._stream_seconds = stream_seconds
        self._call_seconds = call_seconds
        self._signer = signer

    def build_response(
        self, claims: AccessClaims, service: Service, lookalikes: Iterable[str], now: int
    ) -> tuple[AllowResponse, int]:
        """Return the response for the caller of `claims` at `service`, and the second until which it is valid.

        Raises `RuntimeError` when the service requires an assertion and there is no key or no header name for it.
        Only a change of the settings file can cause this. The service must not receive requests without a proof of
        the caller.
        """
        if not service.assertion:
            response = envoy_messages.encode_allowed(claims, service.name, lookalikes, self.names)
            return response, claims.exp
        if self._signer is None or not self.names.headers.assertion:
            raise RuntimeError(
                "a service wants assertions, which needs a restart: there is no key or no name for it"
            )
        assertion, until = self._signer.sign(claims, service, now)
        response = envoy_messages.encode_allowed(claims, service.name, lookalikes, self.names, assertion)
        return response, until

    def render(
        self,
        response: AllowResponse,
        claims: AccessClaims,
        request: IncomingRequest,
        now: int,
        *,
        is_stream: bool | None = None,
    ) -> bytes:
        """Return `response` as it is sent for `request` at second `now`, at which the token has not expired.

        `is_stream` is whether the body opens an event stream; `None` if no body was read, and the headers decide.
        """
        if is_stream is None:
            is_stream = _opens_stream(request)
        bound = self._stream_seconds if is_stream else self._call_seconds
        return response.lasting(min(bound, claims.exp - now))


def _opens_stream(request: IncomingRequest) -> bool:
    """Return whether `request` opens an event stream without an end, by its headers.

    A GET does (MCP revisions up to 2025-11-25), and so does a POST of `subscriptions/listen` (from 2026-07-28 on).
    There the header `Mcp-Method` repeats the method, and a service must refuse a request in which the two differ.
    A request of these revisions without the header counts as a stream: its method is not known.
    """
    if request.method != "POST" or request.http is None:
        return request.method == "GET"
    headers = request.headers
    method, version = headers.get("mcp-method"), headers.get("mcp-protocol-version", "")
    if method is None and not version and request.http.HasField("header_map"):
        headers = envoy_messages.message_of(request).headers
        method, version = headers.get("mcp-method"), headers.get("mcp-protocol-version", "")
    return LISTEN in method if method is not None else version >= _METHOD_IN_HEADER
