"""What a refused caller learns: status, challenge and a bland body for every reason, in one exhaustive table.

The body is an error of JSON-RPC, since the callers are MCP clients: `oauth_core.policy.jsonrpc_errors` says why.

The challenge tells a client where to find the authorization server and what to ask for (RFC 6750 section 3,
RFC 9728 section 5.1). It never tells which check failed: that is for the audit log.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from oauth_core.jose.client_keys import ALGORITHMS
from oauth_core.policy import jsonrpc_errors
from oauth_core.policy.decision import DenyReason
from oauth_core.policy.resources import metadata_url

if TYPE_CHECKING:
    from oauth_core.model import Service

RETRY_AFTER_SECONDS = 2

RETRY_ISOLATED_AFTER_SECONDS = 60
"""An operator brings the service back, which takes longer than an outage of Redis may."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer. Header names are lower-case.

    `code` is that of JSON-RPC, `error` that of OAuth; `description` is for people. `request_id` is that of the
    request which is refused, if it is known.
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

    def answering(self, request_id: jsonrpc_errors.RequestId | None) -> Refusal:
        """The same for the request with this id."""
        return replace(self, request_id=request_id)


def refusal(  # noqa: PLR0912 - the table is exhaustive, and one branch is one row
    reason: DenyReason, service: Service | None, told: str | None = None, scopes: tuple[str, ...] = ()
) -> Refusal:
    """How a request that was refused for `reason` is answered.

    `service` is the one it was for; without it there is nowhere to send the client, and so no challenge. `told` is
    what an operator wants callers to know. `scopes` are what to ask for, when that is not just the service's own.
    """
    match reason:
        case DenyReason.MALFORMED_REQUEST:
            return _answer(400, "invalid_request", "The request could not be understood.")
        case DenyReason.UNKNOWN_SERVICE | DenyReason.ROUTE_MISMATCH:
            return _answer(404, "not_found", "There is no such service here.")
        case DenyReason.MISSING_TOKEN:
            # No error code in the challenge: the client did nothing wrong yet (RFC 6750 section 3.1).
            return _answer(401, "unauthorized", "An access token is needed.", _challenge(service))
        case DenyReason.TOKEN_IN_QUERY:
            description = "An access token must not be sent in the URL."
            return _answer(
                400, "invalid_request", description, _challenge(service, "invalid_request", description)
            )
        case (
            DenyReason.MALFORMED_AUTHORIZATION
            | DenyReason.MALFORMED_TOKEN
            | DenyReason.WRONG_TYPE
            | DenyReason.UNKNOWN_KEY
            | DenyReason.WRONG_ALGORITHM
            | DenyReason.BAD_SIGNATURE
            | DenyReason.BAD_CLAIMS
            | DenyReason.WRONG_ISSUER
            | DenyReason.EXPIRED
            | DenyReason.NOT_YET_VALID
            | DenyReason.WRONG_AUDIENCE
            | DenyReason.WRONG_CERTIFICATE
            | DenyReason.REVOKED
        ):
            description = "The access token is not valid here."
            return _answer(401, "invalid_token", description, _challenge(service, "invalid_token", description))
        case DenyReason.WRONG_PROOF:
            description = "The access token came without a good DPoP proof of its key."
            return _answer(
                401,
                "invalid_token",
                description,
                _challenge(service, "invalid_token", description, scheme=f'DPoP algs="{" ".join(ALGORITHMS)}", '),
            )
        case DenyReason.INSUFFICIENT_SCOPE:
            description = "The access token lacks a scope that is needed here."
            return _answer(
                403,
                "insufficient_scope",
                description,
                _challenge(service, "insufficient_scope", description, scopes),
            )
        case DenyReason.FORBIDDEN_BY_POLICY:
            # RFC 6750 section 3 asks for a challenge. It names no scope and no place to get a token, and its error
            # is not `insufficient_scope`: a client must not send its user for a new token, since none would do.
            description = "You may not do this here."
            value = f"Bearer error={_quoted('access_denied')}, error_description={_quoted(description)}"
            return _answer(403, "access_denied", description, ("www-authenticate", value))
        case DenyReason.BODY_UNREADABLE:
            return _answer(400, "invalid_request", _NOT_PLAIN, code=jsonrpc_errors.PARSE_ERROR)
        case DenyReason.BODY_MISSING | DenyReason.BODY_BATCH | DenyReason.BODY_NOT_A_MESSAGE:
            return _answer(400, "invalid_request", _NOT_PLAIN, code=jsonrpc_errors.INVALID_REQUEST)
        case DenyReason.AMBIGUOUS_NAME:
            description = "The name or URI can be read in several ways."
            return _answer(400, "invalid_request", description, code=jsonrpc_errors.INVALID_PARAMS)
        case DenyReason.BODY_NOT_SENT:
            # Not the caller's fault, so not 400: the operator's Envoy lacks `with_request_body`.
            return _answer(
                503,
                "temporarily_unavailable",
                "The gateway does not read request bodies, which this service needs. Tell its operator.",
                ("retry-after", str(RETRY_AFTER_SECONDS)),
            )
        case DenyReason.HEADER_MISMATCH:
            description = "The headers name another method or tool than the body."
            return _answer(400, "invalid_request", description, code=jsonrpc_errors.HEADER_MISMATCH)
        case DenyReason.BODY_PARTIAL:
            return _answer(413, "invalid_request", "The body is too large.")
        case DenyReason.BODY_ENCODED | DenyReason.BODY_NOT_JSON:
            return _answer(
                415, "invalid_request", "The body must be application/json, as it is and not compressed."
            )
        case DenyReason.WRONG_HTTP_METHOD:
            allow = ("allow", "GET, POST, DELETE")
            return _answer(405, "invalid_request", "A call is a POST; GET and DELETE have no body.", allow)
        case DenyReason.SERVICE_ISOLATED:
            # Not 401 here either: the tokens are good, and are wanted again when the service is back.
            return _answer(
                503,
                "service_isolated",
                f"The service was taken out of use: {told}" if told else "The service was taken out of use.",
                ("retry-after", str(RETRY_ISOLATED_AFTER_SECONDS)),
            )
        case DenyReason.TOKEN_STATE_UNKNOWN | DenyReason.SERVICE_STATE_UNKNOWN | DenyReason.INTERNAL_ERROR:
            # Never 401: clients throw good tokens away on it, and an outage would sign everybody out.
            return _answer(
                503,
                "temporarily_unavailable",
                "The access token cannot be checked right now.",
                ("retry-after", str(RETRY_AFTER_SECONDS)),
            )
        case _:
            assert_never(reason)


_NOT_PLAIN = "The body is not one plain JSON-RPC message."


def _answer(
    status: int, error: str, description: str, *headers: tuple[str, str] | None, code: int | None = None
) -> Refusal:
    """A refusal. Where JSON-RPC and MCP have no code, the HTTP status is the code: that range is free."""
    return Refusal(
        status=status,
        headers=(
            *(header for header in headers if header is not None),
            ("content-type", "application/json"),
            ("cache-control", "no-store"),
        ),
        code=status if code is None else code,
        error=error,
        description=description,
    )


def _challenge(
    service: Service | None,
    error: str | None = None,
    description: str | None = None,
    scopes: tuple[str, ...] = (),
    *,
    scheme: str = "Bearer ",
) -> tuple[str, str] | None:
    if service is None:
        return None
    parameters = {
        "error": error,
        "error_description": description,
        "resource_metadata": metadata_url(service.resource),
        "scope": " ".join(scopes) or service.scope,
    }
    listed = ", ".join(f"{name}={_quoted(value)}" for name, value in parameters.items() if value is not None)
    return "www-authenticate", f"{scheme}{listed}"


def _quoted(text: str) -> str:
    """`text` as a quoted-string (RFC 9110 section 5.6.4)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
