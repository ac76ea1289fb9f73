"""What a request that may pass is given on its way: an identity, and a time by which its answer must end.

A check happens when a request begins, but the answer may be an event stream that never ends by itself. So Envoy is
told to end it: when the token expires, and after a while in any case, since the token may have been revoked
meanwhile. A caller that wants to go on sends a new request, which is checked.

A service that wants it is also told who is calling in a signed form. A signature is as dear as the check of one,
so the response is kept with it, and made again after a minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ext_authz.decision import envoy_messages
from oauth_core.policy.mcp_request import LISTEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ext_authz.decision.envoy_messages import AllowResponse, IncomingRequest, Names
    from oauth_core.model import AccessClaims, Service
    from oauth_core.tokens.service_assertions import AssertionSigner

STREAM_SECONDS = 300
CALL_SECONDS = 900

_METHOD_IN_HEADER = "2026-07-28"
"""From this revision of MCP on a request has its method in a header too."""


class AllowResponses:
    """Makes the responses that let requests through, as the operator set them up."""

    def __init__(
        self,
        names: Names = envoy_messages.USUAL_NAMES,
        *,
        stream_seconds: int = STREAM_SECONDS,
        call_seconds: int = CALL_SECONDS,
        signer: AssertionSigner | None = None,
    ) -> None:
        """`stream_seconds` bounds an event stream that a client opens, `call_seconds` the answer to all else.

        Without `signer` no service may want assertions.
        """
        self.names = names
        self._stream_seconds = stream_seconds
        self._call_seconds = call_seconds
        self._signer = signer

    def make(
        self, claims: AccessClaims, service: Service, lookalikes: Iterable[str], now: int
    ) -> tuple[AllowResponse, int]:
        """The response that lets the caller of `claims` reach `service`, and the second until which it may be
        repeated.

        Raises `RuntimeError` when the service wants an assertion and there is no key or no name for it, which only
        a change of the settings file can bring about: it must not have to guess who is one of ours.
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
        is_stream: bool = False,
    ) -> bytes:
        """`response` as it is sent for `request` at second `now`, at which the token has not expired.

        `is_stream` says that the body opens an event stream. Where the body was not read, the headers say it.
        """
        bound = self._stream_seconds if is_stream or _opens_stream(request) else self._call_seconds
        return response.lasting(min(bound, claims.exp - now))


def _opens_stream(request: IncomingRequest) -> bool:
    """Whether `request` opens an event stream without an end of its own, as far as its headers say.

    A GET does (MCP revisions up to 2025-11-25), and so does a POST of `subscriptions/listen` (from 2026-07-28 on).
    There the header `Mcp-Method` repeats the method, and a service must refuse a request in which the two differ.
    A request of these revisions without the header counts as a stream: its method is not known.
    """
    if request.method != "POST" or request.http is None:
        return request.method == "GET"
    headers: Mapping[str, str] = request.http.headers
    method, version = headers.get("mcp-method"), headers.get("mcp-protocol-version", "")
    if method is None and not version and request.http.HasField("header_map"):
        headers = envoy_messages.message_of(request).headers
        method, version = headers.get("mcp-method"), headers.get("mcp-protocol-version", "")
    return LISTEN in method if method is not None else version >= _METHOD_IN_HEADER
