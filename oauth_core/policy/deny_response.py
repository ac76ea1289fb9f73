"""The HTTP response to a denied request: a row of `oauth_core.refusals` becomes status, headers and body.

The body is a JSON-RPC error, since the callers are MCP clients: see `oauth_core.policy.jsonrpc_errors`.

The challenge contains the address of the authorization server and the scopes to request (RFC 6750 section 3,
RFC 9728 section 5.1). It never contains which check failed: only the audit log does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from oauth_core.jose.client_keys import ALGORITHMS
from oauth_core.policy import jsonrpc_errors
from oauth_core.policy.resources import metadata_url
from oauth_core.refusals import Challenge

if TYPE_CHECKING:
    from oauth_core.model import Service
    from oauth_core.refusals import DenyReason, Row


@dataclass(frozen=True, slots=True)
class DenyResponse:
    """An HTTP answer. Header names are lower-case.

    `code` is the JSON-RPC code, `error` the OAuth code; `description` is for people. `request_id` is that of the
    refused request, if it is known.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    code: int
    error: str
    description: str
    request_id: jsonrpc_errors.RequestId | None = None

    @property
    def body(self) -> str:
        """The body, as JSON."""
        return jsonrpc_errors.error_body(self.code, self.error, self.description, self.request_id)

    def answering(self, request_id: jsonrpc_errors.RequestId | None) -> DenyResponse:
        """The same response for the request with this id."""
        return replace(self, request_id=request_id)


def deny_response(
    reason: DenyReason,
    service: Service | None,
    detail: str | None = None,
    scopes: tuple[str, ...] = (),
    retry_after: int | None = None,
) -> DenyResponse:
    """The answer to a request that was refused for `reason`.

    `service` is the one it was for; without it there is no authorization server to name, and so no challenge.
    `detail` is an operator's text for callers. `scopes` are those to request, if not only the service's own.
    `retry_after` is in seconds, for a row that leaves it open.
    """
    row = reason.row
    retry_after = row.retry_after if retry_after is None else retry_after
    description = row.description.format(detail=f": {detail}" if detail else ".")
    headers = {
        # An operator's text may have characters that no header can have (RFC 9110 section 5.5).
        "www-authenticate": _challenge(row, service, row.description.format(detail="."), scopes),
        "retry-after": None if retry_after is None else str(retry_after),
        "allow": row.allow,
        "content-type": "application/json",
        "cache-control": "no-store",
    }
    return DenyResponse(
        status=row.status,
        headers=tuple((name, value) for name, value in headers.items() if value is not None),
        # Where JSON-RPC and MCP define no code, the HTTP status is the code: that range is free.
        code=row.status if row.code is None else row.code,
        error=row.error,
        description=description,
    )


def _challenge(row: Row, service: Service | None, description: str, scopes: tuple[str, ...]) -> str | None:
    """The value of `WWW-Authenticate`, if `row` has a challenge and there is a service."""
    kind, scheme = row.challenge, "Bearer "
    if kind is Challenge.NONE:
        return None
    parameters: dict[str, str] = {}
    if kind is not Challenge.WHERE:
        parameters |= {"error": row.error, "error_description": description}
    if kind is not Challenge.FORBIDDEN:
        if service is None:
            return None
        parameters |= {
            "resource_metadata": metadata_url(service.resource),
            "scope": " ".join(scopes) or service.scope,
        }
    if kind is Challenge.PROOF:
        scheme = f'DPoP algs="{" ".join(ALGORITHMS)}", '
    return scheme + ", ".join(f"{name}={_quoted(value)}" for name, value in parameters.items())


def _quoted(text: str) -> str:
    """`text` as a quoted-string (RFC 9110 section 5.6.4)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
