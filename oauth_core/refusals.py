"""Every refusal of the check and of the web, in one table: reason → status, error, description, challenge, audit.

A reason is a member of `DenyReason` (the check) or of `OAuthReason` (the authorization server), and its `row` is
its line of the table. A new refusal is one line here. The check turns rows into responses in
`oauth_core.policy.deny_response`; the endpoints raise `refused(reason)`, and `oauth_web.http.errors` makes the
response.

A description of the check never contains which check of a token failed: only the audit log does. `{name}` in a
description is filled in where the refusal is raised. `{fault}` is the text of a parser, the same as on the command
line.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_core.errors import DisplayedError, ErrorCode

if TYPE_CHECKING:
    from oauth_core.errors import OAuthError

RETRY_AFTER_SECONDS = 2
"""For outages, most of which end soon."""
RETRY_DISABLED_AFTER_SECONDS = 60
"""An operator enables the service again, which takes longer than a usual outage of Redis."""
RETRY_PAUSED_AFTER_SECONDS = 10
"""An operator ends the pause, or the restore of a backup ends."""

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INVALID_PARAMS = -32602
HEADER_MISMATCH = -32020
"""Codes of JSON-RPC. The last is MCP's, from revision 2026-07-28 on: a header contradicts the body."""


class Challenge(Enum):
    """The form of `WWW-Authenticate` (RFC 6750 section 3, RFC 7617, RFC 9449 section 7.1)."""

    NONE = ""
    WHERE = "Bearer, resource_metadata, scope"
    """The place to get a token, without an error: the client made no mistake yet (RFC 6750 section 3.1)."""
    TOKEN = "Bearer, error, error_description, resource_metadata, scope"
    PROOF = "DPoP, algs, error, error_description, resource_metadata, scope"
    FORBIDDEN = "Bearer, error, error_description"
    """No scope and no place to get a token: a new token would not help, so no client may ask its user for one."""
    BASIC = 'Basic realm="token", charset="UTF-8"'
    REGISTER = 'Bearer realm="register"'
    REGISTER_TOKEN = 'Bearer realm="register", error="invalid_token"'
    MANAGE_TOKEN = 'Bearer error="invalid_token"'
    MANAGE_PERMISSION = 'Bearer error="insufficient_scope", scope="{permission}"'


class Audit(Enum):
    """How the audit log records a refusal that has no own event."""

    BY_ENDPOINT = "by_endpoint"
    """The endpoint records it under its own event, such as `token.refused`, with the error as the reason."""
    NOTHING = "nothing"
    """It is not recorded: it is an ordinary answer, or does not concern the caller."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    `status` is that of HTTP, `error` the code of OAuth, `description` for developers or people. `audit` is the
    event that records the refusal. `retry_after` is in seconds. `code` is that of JSON-RPC, if there is one.
    """

    status: int
    error: ErrorCode
    description: str
    challenge: Challenge = Challenge.NONE
    audit: EventKind | Audit = Audit.BY_ENDPOINT
    retry_after: int | None = None
    code: int | None = None
    allow: str | None = None


class Reason(StrEnum):
    """The reason of a refusal: a stable name, with its row of the table."""

    row: Row

    def __new__(cls, name: str, row: Row) -> Reason:
        """The reason `name`."""
        self = str.__new__(cls, name)
        self._value_ = name
        self.row = row
        return self

    @property
    def event(self) -> EventKind:
        """The event that records this refusal. Raises `ValueError` for a reason without its own event."""
        if isinstance(self.row.audit, Audit):
            raise ValueError(f"{self} has no event of its own")  # noqa: TRY004 - the value, not the type, is wrong
        return self.row.audit


def _checked(
    status: int,
    error: ErrorCode,
    description: str,
    challenge: Challenge = Challenge.NONE,
    *,
    retry_after: int | None = None,
    code: int | None = None,
    allow: str | None = None,
) -> Row:
    return Row(status, error, description, challenge, EventKind.ACCESS_DENIED, retry_after, code, allow)


_NO_SERVICE = _checked(404, ErrorCode.NOT_FOUND, "There is no such service here.")
_BAD_TOKEN = _checked(401, ErrorCode.INVALID_TOKEN, "The access token is not valid here.", Challenge.TOKEN)
_NOT_PLAIN = _checked(
    400, ErrorCode.INVALID_REQUEST, "The body is not one plain JSON-RPC message.", code=INVALID_REQUEST
)
_NOT_JSON = _checked(
    415, ErrorCode.INVALID_REQUEST, "The body must be application/json, as it is and not compressed."
)
# Never 401: clients discard good tokens after it, so an outage would sign all people out.
_UNKNOWN = _checked(
    503,
    ErrorCode.TEMPORARILY_UNAVAILABLE,
    "The access token cannot be checked right now.",
    retry_after=RETRY_AFTER_SECONDS,
)


class DenyReason(Reason):
    """Why the check refuses a request, for the audit log and the metrics. Its row defines the answer."""

    MALFORMED_REQUEST = (
        "malformed_request",
        _checked(400, ErrorCode.INVALID_REQUEST, "The request could not be understood."),
    )
    UNKNOWN_SERVICE = "unknown_service", _NO_SERVICE
    ROUTE_MISMATCH = "route_mismatch", _NO_SERVICE
    # Not 401: the tokens are good, and clients need them again when the service is back.
    SERVICE_DISABLED = (
        "service_disabled",
        _checked(
            503,
            ErrorCode.SERVICE_DISABLED,
            "The service is disabled{detail}",
            retry_after=RETRY_DISABLED_AFTER_SECONDS,
        ),
    )
    MISSING_TOKEN = (
        "missing_token",
        _checked(401, ErrorCode.UNAUTHORIZED, "An access token is needed.", Challenge.WHERE),
    )
    MALFORMED_AUTHORIZATION = "malformed_authorization", _BAD_TOKEN
    TOKEN_IN_QUERY = (
        "token_in_query",
        _checked(400, ErrorCode.INVALID_REQUEST, "An access token must not be sent in the URL.", Challenge.TOKEN),
    )
    MALFORMED_TOKEN = "malformed_token", _BAD_TOKEN
    WRONG_TYPE = "wrong_type", _BAD_TOKEN
    UNKNOWN_KEY = "unknown_key", _BAD_TOKEN
    WRONG_ALGORITHM = "wrong_algorithm", _BAD_TOKEN
    BAD_SIGNATURE = "bad_signature", _BAD_TOKEN
    BAD_CLAIMS = "bad_claims", _BAD_TOKEN
    WRONG_ISSUER = "wrong_issuer", _BAD_TOKEN
    EXPIRED = "expired", _BAD_TOKEN
    NOT_YET_VALID = "not_yet_valid", _BAD_TOKEN
    WRONG_AUDIENCE = "wrong_audience", _BAD_TOKEN
    WRONG_CERTIFICATE = "wrong_certificate", _BAD_TOKEN
    WRONG_PROOF = (
        "wrong_proof",
        _checked(
            401,
            ErrorCode.INVALID_TOKEN,
            "The access token came without a good DPoP proof of its key.",
            Challenge.PROOF,
        ),
    )
    REVOKED = "revoked", _BAD_TOKEN
    INSUFFICIENT_SCOPE = (
        "insufficient_scope",
        _checked(
            403,
            ErrorCode.INSUFFICIENT_SCOPE,
            "The access token lacks a scope that is needed here.",
            Challenge.TOKEN,
        ),
    )
    FORBIDDEN_BY_POLICY = (
        "forbidden_by_policy",
        _checked(403, ErrorCode.ACCESS_DENIED, "You may not do this here.", Challenge.FORBIDDEN),
    )
    ARGUMENTS_NOT_ALLOWED = (
        "arguments_not_allowed",
        _checked(
            403,
            ErrorCode.ACCESS_DENIED,
            "You may not call this with these arguments{detail}",
            Challenge.FORBIDDEN,
        ),
    )
    BODY_MISSING = "body_missing", _NOT_PLAIN
    # Not the caller's fault, so not 400: the operator's Envoy configuration lacks `with_request_body`.
    BODY_NOT_SENT = (
        "body_not_sent",
        _checked(
            503,
            ErrorCode.TEMPORARILY_UNAVAILABLE,
            "The gateway does not read request bodies, which this service needs. Tell its operator.",
            retry_after=RETRY_AFTER_SECONDS,
        ),
    )
    BODY_PARTIAL = "body_partial", _checked(413, ErrorCode.INVALID_REQUEST, "The body is too large.")
    BODY_ENCODED = "body_encoded", _NOT_JSON
    BODY_NOT_JSON = "body_not_json", _NOT_JSON
    BODY_UNREADABLE = (
        "body_unreadable",
        _checked(400, ErrorCode.INVALID_REQUEST, _NOT_PLAIN.description, code=PARSE_ERROR),
    )
    BODY_BATCH = "body_batch", _NOT_PLAIN
    BODY_NOT_A_MESSAGE = "body_not_a_message", _NOT_PLAIN
    PARAMS_INVALID = (
        "params_invalid",
        _checked(
            400,
            ErrorCode.INVALID_REQUEST,
            "The params are not those that MCP defines for this method.",
            code=INVALID_PARAMS,
        ),
    )
    AMBIGUOUS_NAME = (
        "ambiguous_name",
        _checked(
            400, ErrorCode.INVALID_REQUEST, "The name or URI can be read in several ways.", code=INVALID_PARAMS
        ),
    )
    AMBIGUOUS_ARGUMENTS = (
        "ambiguous_arguments",
        _checked(
            400,
            ErrorCode.INVALID_REQUEST,
            "The arguments can be read in several ways{detail}",
            code=INVALID_PARAMS,
        ),
    )
    HEADER_MISMATCH = (
        "header_mismatch",
        _checked(
            400,
            ErrorCode.INVALID_REQUEST,
            "The headers name another method or tool than the body.",
            code=HEADER_MISMATCH,
        ),
    )
    WRONG_HTTP_METHOD = (
        "wrong_http_method",
        _checked(
            405,
            ErrorCode.INVALID_REQUEST,
            "A call is a POST; GET and DELETE have no body.",
            allow="GET, POST, DELETE",
        ),
    )
    UNKNOWN_SESSION = (
        "unknown_session",
        _checked(404, ErrorCode.NOT_FOUND, "There is no such session here. Begin a new one."),
    )
    # These two refuse an answer and not a request: the service gave a list that the gateway cannot filter.
    LIST_UNREADABLE = (
        "list_unreadable",
        _checked(
            502,
            ErrorCode.BAD_ANSWER,
            "The gateway cannot read the list of the service, and shows none that it cannot read.",
        ),
    )
    LIST_TOO_LARGE = (
        "list_too_large",
        _checked(502, ErrorCode.BAD_ANSWER, "The list of the service is too large for the gateway to read."),
    )
    LIST_TOO_SLOW = (
        "list_too_slow",
        _checked(504, ErrorCode.TEMPORARILY_UNAVAILABLE, "The service did not complete its list in time."),
    )
    LISTS_BUSY = (
        "lists_busy",
        _checked(
            503,
            ErrorCode.TEMPORARILY_UNAVAILABLE,
            "Too many lists are read right now.",
            retry_after=RETRY_AFTER_SECONDS,
        ),
    )
    # `Retry-After` depends on the limit, so these rows leave it open.
    RATE_LIMITED = (
        "rate_limited",
        Row(
            429,
            ErrorCode.TOO_MANY_REQUESTS,
            "You have sent too many calls. Wait before the next one.",
            audit=EventKind.RATE_LIMITED,
        ),
    )
    QUOTA_USED_UP = (
        "quota_used_up",
        Row(
            429,
            ErrorCode.TOO_MANY_REQUESTS,
            "You have used up the calls of this day. The next day begins at midnight UTC.",
            audit=EventKind.RATE_LIMITED,
        ),
    )
    TOKEN_STATE_UNKNOWN = "token_state_unknown", _UNKNOWN
    SERVICE_STATE_UNKNOWN = "service_state_unknown", _UNKNOWN
    AUDIT_UNAVAILABLE = (
        "audit_unavailable",
        _checked(
            503,
            ErrorCode.TEMPORARILY_UNAVAILABLE,
            "The gateway cannot record calls right now, and allows none without a record.",
            retry_after=RETRY_AFTER_SECONDS,
        ),
    )
    INTERNAL_ERROR = "internal_error", _UNKNOWN


def _request(description: str, status: int = 400, audit: EventKind | Audit = Audit.BY_ENDPOINT) -> Row:
    return Row(status, ErrorCode.INVALID_REQUEST, description, audit=audit)


def _client(description: str) -> Row:
    return Row(401, ErrorCode.INVALID_CLIENT, description)


def _grant(description: str) -> Row:
    return Row(400, ErrorCode.INVALID_GRANT, description)


def _proof(description: str) -> Row:
    return Row(400, ErrorCode.INVALID_DPOP_PROOF, description)


def _metadata(description: str, status: int = 400) -> Row:
    return Row(status, ErrorCode.INVALID_CLIENT_METADATA, description)


def _redirect_uri(description: str) -> Row:
    return Row(400, ErrorCode.INVALID_REDIRECT_URI, description)


def _unauthorized(description: str) -> Row:
    return Row(400, ErrorCode.UNAUTHORIZED_CLIENT, description)


def _target(description: str) -> Row:
    return Row(400, ErrorCode.INVALID_TARGET, description)


def _scope(description: str) -> Row:
    return Row(400, ErrorCode.INVALID_SCOPE, description)


def _later(
    description: str, *, retry_after: int | None = None, audit: EventKind | Audit = Audit.BY_ENDPOINT
) -> Row:
    return Row(503, ErrorCode.TEMPORARILY_UNAVAILABLE, description, audit=audit, retry_after=retry_after)


# Only the log contains why a fetch failed: in the answer, it would let callers use the server as a port scanner.
_NOT_FETCHED = (
    "could not be fetched. Please try again in a moment. If that does not help, the gateway may have no access "
    "to the internet: the setting clients.documents is the remedy, for the people who run it."
)


class OAuthReason(Reason):
    """Why the authorization server refuses a request."""

    # Parameters and bodies of any endpoint.
    PARAMETERS_MALFORMED = (
        "parameters_malformed",
        _request("the parameters are not well-formed UTF-8, or too many"),
    )
    PARAMETER_REPEATED = "parameter_repeated", _request("{name} was sent more than once")
    PARAMETER_TOO_LONG = "parameter_too_long", _request("{name} is longer than {longest} characters")
    PARAMETER_WITH_NUL = "parameter_with_nul", _request("{name} has a NUL character")
    PARAMETER_MISSING = "parameter_missing", _request("{name} is missing")
    PARAMETER_TOO_OFTEN = "parameter_too_often", _request("{name} was sent too often or is too long")
    NOT_A_FORM = "not_a_form", _request("the body must be application/x-www-form-urlencoded", 415)
    NOT_JSON = "not_json", _metadata("the body must be application/json", 415)
    JSON_UNREADABLE = "json_unreadable", _metadata("{fault}")
    HTTP_ERROR = "http_error", Row(400, ErrorCode.INVALID_REQUEST, "{name}", audit=Audit.NOTHING)
    """`status` and `name` are those of HTTP, such as 404 Not Found."""

    # Limits and outages.
    TOO_MANY_REQUESTS = (
        "too_many_requests",
        Row(
            429,
            ErrorCode.TOO_MANY_REQUESTS,
            "too many requests; try again in {wait} seconds",
            audit=EventKind.RATE_LIMITED,
        ),
    )
    NO_ROOM = (
        "no_room",
        _later(
            "there is no room for more at this moment; try again in {wait} seconds", audit=EventKind.RATE_LIMITED
        ),
    )
    STORE_UNAVAILABLE = (
        "store_unavailable",
        _later("please try again in a moment", audit=Audit.NOTHING, retry_after=RETRY_AFTER_SECONDS),
    )
    NOT_ENDED = (
        "not_ended",
        _later(
            "this was not ended and may still work; please try again in a moment",
            audit=Audit.NOTHING,
            retry_after=RETRY_AFTER_SECONDS,
        ),
    )
    AUDIT_UNAVAILABLE = (
        "audit_unavailable",
        _later(
            "the gateway cannot record this right now, and does nothing without a record; please try again in a "
            "moment",
            audit=Audit.NOTHING,
            retry_after=RETRY_AFTER_SECONDS,
        ),
    )
    UNEXPECTED = (
        "unexpected",
        Row(500, ErrorCode.SERVER_ERROR, "an unexpected error; it has been logged", audit=Audit.NOTHING),
    )
    SIGN_INS_PAUSED = (
        "sign_ins_paused",
        _later(
            "sign-ins are paused{detail}; try again later",
            audit=Audit.NOTHING,
            retry_after=RETRY_PAUSED_AFTER_SECONDS,
        ),
    )
    RESTORING = (
        "restoring",
        _later(
            "a backup is being restored; try again later",
            audit=Audit.NOTHING,
            retry_after=RETRY_PAUSED_AFTER_SECONDS,
        ),
    )

    # Client authentication (RFC 6749 section 2.3, RFC 7523). The challenge is sent if the client tried Basic.
    NO_CLIENT_AUTHENTICATION = "no_client_authentication", _client("no client authentication was sent")
    CLIENT_AUTHENTICATION_FAILED = "client_authentication_failed", _client("client authentication failed")
    SEVERAL_CLIENT_AUTHENTICATIONS = (
        "several_client_authentications",
        _request("more than one way of client authentication was sent"),
    )
    BASIC_NAMES_ANOTHER = "basic_names_another", _request("the Basic header and the form name different clients")
    ASSERTION_NAMES_ANOTHER = (
        "assertion_names_another",
        _request("the assertion and the form name different clients"),
    )
    NOT_BASIC = "not_basic", _client("only Basic is understood in the Authorization header here")
    BASIC_TOO_LONG = "basic_too_long", _client("the Basic header is too long")
    BASIC_MALFORMED = "basic_malformed", _client("the Basic header is malformed")
    WRONG_ASSERTION_TYPE = "wrong_assertion_type", _client("client_assertion_type must be {type}")
    CLIENT_KEYS_UNUSABLE = "client_keys_unusable", _client("{fault}")
    CLIENT_DELETED = "client_deleted", _client("the client was deleted")
    CLIENT_DISABLED = (
        "client_disabled",
        Row(
            400,
            ErrorCode.UNAUTHORIZED_CLIENT,
            "the operator of this gateway has disabled this app",
            audit=EventKind.CLIENT_REFUSED,
        ),
    )
    PUBLIC_CLIENT_INTROSPECTS = ("public_client_introspects", _client("a public client cannot introspect tokens"))
    CLIENT_ASSERTION_MALFORMED = (
        "client_assertion_malformed",
        _client("the client assertion is not a JWT that names its client"),
    )
    CLIENT_ASSERTION_WRONG_TYPE = (
        "client_assertion_wrong_type",
        _client("the client assertion has a typ or crit that is not understood"),
    )
    CLIENT_ASSERTION_WRONG_ALGORITHM = (
        "client_assertion_wrong_algorithm",
        _client("the client assertion is signed with an algorithm that is not accepted"),
    )
    CLIENT_ASSERTION_UNKNOWN_KEY = (
        "client_assertion_unknown_key",
        _client("the client assertion is signed with a key that is not the client's, or names none of several"),
    )
    CLIENT_ASSERTION_BAD_SIGNATURE = (
        "client_assertion_bad_signature",
        _client("the signature of the client assertion is wrong"),
    )
    CLIENT_ASSERTION_WRONG_CLIENT = (
        "client_assertion_wrong_client",
        _client("iss and sub of the client assertion must both be the client_id"),
    )
    CLIENT_ASSERTION_WRONG_AUDIENCE = (
        "client_assertion_wrong_audience",
        _client("aud of the client assertion must be the issuer or its token endpoint, and nothing else"),
    )
    CLIENT_ASSERTION_NO_ID = (
        "client_assertion_no_id",
        _client("the client assertion needs a jti of at most 256 characters"),
    )
    CLIENT_ASSERTION_BAD_TIMES = (
        "client_assertion_bad_times",
        _client("the client assertion needs exp, at most an hour ahead; times must be seconds since the epoch"),
    )
    CLIENT_ASSERTION_EXPIRED = "client_assertion_expired", _client("the client assertion has expired")
    CLIENT_ASSERTION_NOT_YET_VALID = (
        "client_assertion_not_yet_valid",
        _client("the client assertion is not valid yet"),
    )
    CLIENT_ASSERTION_USED_BEFORE = (
        "client_assertion_used_before",
        _client("the client assertion was used before"),
    )

    # The certificate or key to which tokens are bound (RFC 8705, RFC 9449).
    NO_CERTIFICATE = (
        "no_certificate",
        _request("tokens of this client are bound to its certificate, and it presented none (RFC 8705 section 3)"),
    )
    NO_PROOF = "no_proof", _proof("tokens of this client are bound to a key, and it sent no DPoP proof")
    SEVERAL_PROOFS = "several_proofs", _proof("more than one DPoP proof came")
    NO_PROOF_FOR_REFRESH = (
        "no_proof_for_refresh",
        _proof("the refresh token is bound to a key, and no DPoP proof came"),
    )
    PROOF_MALFORMED = "proof_malformed", _proof("the DPoP proof is not a JWT")
    PROOF_WRONG_TYPE = "proof_wrong_type", _proof("the DPoP proof has a typ or crit that is not understood")
    PROOF_WRONG_ALGORITHM = (
        "proof_wrong_algorithm",
        _proof("the DPoP proof is signed with an algorithm that is not accepted"),
    )
    PROOF_UNKNOWN_KEY = (
        "proof_unknown_key",
        _proof("the DPoP proof has no jwk that is one public key and fits its alg"),
    )
    PROOF_BAD_SIGNATURE = "proof_bad_signature", _proof("the signature of the DPoP proof is wrong")
    PROOF_WRONG_METHOD = ("proof_wrong_method", _proof("htm of the DPoP proof is not the method of the request"))
    PROOF_WRONG_PLACE = "proof_wrong_place", _proof("htu of the DPoP proof is not the address of the request")
    PROOF_NO_ID = "proof_no_id", _proof("the DPoP proof needs a jti of at most 256 characters")
    PROOF_BAD_TIMES = (
        "proof_bad_times",
        _proof("iat of the DPoP proof must be about now, in seconds since the epoch"),
    )
    PROOF_WRONG_TOKEN = ("proof_wrong_token", _proof("ath of the DPoP proof is not the hash of the access token"))
    PROOF_USED_BEFORE = "proof_used_before", _proof("the DPoP proof was used before")
    OTHER_KEY = "other_key", _grant("the refresh token is bound to another key (RFC 9449)")
    OTHER_CERTIFICATE = (
        "other_certificate",
        _grant("the refresh token is bound to another certificate (RFC 8705 section 4)"),
    )
    CODE_OF_OTHER_KEY = "code_of_other_key", _grant("the code is bound to another key (RFC 9449 section 10)")

    # Registration (RFC 7591, RFC 7592).
    REGISTRATION_CLOSED = (
        "registration_closed",
        Row(403, ErrorCode.ACCESS_DENIED, "clients cannot be registered here"),
    )
    # RFC 6750 section 3.1: no error code for a caller that sent no token.
    INVITATION_NEEDED = (
        "invitation_needed",
        Row(
            401,
            ErrorCode.INVALID_TOKEN,
            "registering here needs an initial access token from the operator",
            Challenge.REGISTER,
        ),
    )
    INVITATION_NOT_GOOD = (
        "invitation_not_good",
        Row(
            401,
            ErrorCode.INVALID_TOKEN,
            "the initial access token is not good, or not any more",
            Challenge.REGISTER_TOKEN,
        ),
    )
    REGISTRATION_TOKEN_WRONG = (
        "registration_token_wrong",
        Row(
            401,
            ErrorCode.INVALID_TOKEN,
            "the registration access token is not valid for this client",
            Challenge.MANAGE_TOKEN,
            EventKind.CLIENT_MANAGEMENT_REFUSED,
        ),
    )
    REGISTRATION_PERMISSION_MISSING = (
        "registration_permission_missing",
        Row(
            403,
            ErrorCode.INSUFFICIENT_SCOPE,
            "the registration access token does not carry {permission}",
            Challenge.MANAGE_PERMISSION,
            EventKind.CLIENT_MANAGEMENT_REFUSED,
        ),
    )
    REGISTRATION_CHANGED = (
        "registration_changed",
        _later(
            "the registration changed at this very moment; try again",
            audit=Audit.NOTHING,
            retry_after=RETRY_AFTER_SECONDS,
        ),
    )
    METADATA_NOT_AN_OBJECT = "metadata_not_an_object", _metadata("the request body must be a JSON object")
    METADATA_TOO_LONG = (
        "metadata_too_long",
        _metadata("the metadata is too long: the record would have {size} bytes, and {most} are the most"),
    )
    RESPONSE_TYPE_MISSING = "response_type_missing", _metadata("response_types must include {missing}")
    GRANT_TYPE_MISSING = "grant_type_missing", _metadata("grant_types must have {possible}")
    UNKNOWN_AUTH_METHOD = (
        "unknown_auth_method",
        _metadata("token_endpoint_auth_method must be one of: {methods}"),
    )
    MACHINE_MUST_PROVE_ITSELF = (
        "machine_must_prove_itself",
        _metadata("token_endpoint_auth_method must not be none for a client with {grant_types}"),
    )
    SCOPE_NOT_ALLOWED = (
        "scope_not_allowed",
        _metadata("scope must be within what the operator allows: {allowed}"),
    )
    ONE_KEY_SOURCE = "one_key_source", _metadata("private_key_jwt needs exactly one of jwks and jwks_uri")
    KEYS_UNUSABLE = "keys_unusable", _metadata("{fault}")
    MEMBER_NOT_BOOLEAN = "member_not_boolean", _metadata("{name} must be true or false")
    UPDATE_OF_ANOTHER = ("update_of_another", _metadata("client_id must be present and the same as in the URL"))
    UPDATE_WITH_MEMBER = (
        "update_with_member",
        _metadata("{member} must not be sent in an update (RFC 7592 section 2.2)"),
    )
    UPDATE_WITH_OTHER_SECRET = (
        "update_with_other_secret",
        _metadata("client_secret is not this client's; an update cannot choose one"),
    )
    NO_REDIRECT_URIS = ("no_redirect_uris", _redirect_uri("redirect_uris must be an array with at least one URI"))
    TOO_MANY_REDIRECT_URIS = "too_many_redirect_uris", _redirect_uri("redirect_uris has more than {most}")
    REDIRECT_URI_NOT_TEXT = "redirect_uri_not_text", _redirect_uri("redirect URI {uri} is not a string")
    REDIRECT_URI_TOO_LONG = (
        "redirect_uri_too_long",
        _redirect_uri("redirect URI {uri} is longer than {longest} characters"),
    )
    REDIRECT_URI_CHARACTERS = (
        "redirect_uri_characters",
        _redirect_uri("redirect URI {uri} has a character that a URI may not contain"),
    )
    REDIRECT_URI_FRAGMENT = "redirect_uri_fragment", _redirect_uri("redirect URI {uri} has a fragment")
    REDIRECT_URI_MALFORMED = "redirect_uri_malformed", _redirect_uri("redirect URI {uri} is not a URI")
    REDIRECT_URI_RELATIVE = (
        "redirect_uri_relative",
        _redirect_uri("redirect URI {uri} is not an absolute URI with a lower-case scheme"),
    )
    REDIRECT_URI_SCHEME = (
        "redirect_uri_scheme",
        _redirect_uri(
            "redirect URI {uri} has the scheme {scheme}, which is not one of a known app; "
            "allowed are https, http on loopback, and schemes with a dot (com.example.app)"
        ),
    )
    REDIRECT_URI_USER = "redirect_uri_user", _redirect_uri("redirect URI {uri} has a user name in it")
    REDIRECT_URI_NO_HOST = "redirect_uri_no_host", _redirect_uri("redirect URI {uri} has no host")
    REDIRECT_URI_ODD_HOST = (
        "redirect_uri_odd_host",
        _redirect_uri("redirect URI {uri} has a host that is not a plain name or address"),
    )
    REDIRECT_URI_HTTP = (
        "redirect_uri_http",
        _redirect_uri("redirect URI {uri} uses http; only loopback addresses may"),
    )
    REDIRECT_URI_EMPTY = "redirect_uri_empty", _redirect_uri("redirect URI {uri} has nothing after its scheme")

    # Client ID documents.
    CLIENT_URL_UNFIT = "client_url_unfit", _metadata("{fault}")
    DOCUMENT_UNUSABLE = "document_unusable", _metadata("the document at client_id cannot be used: {fault}")
    HOST_NOT_ACCEPTED = "host_not_accepted", _unauthorized("apps of this host are not accepted here")
    DOCUMENT_UNAVAILABLE = (
        "document_unavailable",
        _later(f"The document that describes the app {_NOT_FETCHED}", retry_after=RETRY_AFTER_SECONDS),
    )
    KEY_SET_UNAVAILABLE = (
        "key_set_unavailable",
        _later(f"The key set of the app {_NOT_FETCHED}", retry_after=RETRY_AFTER_SECONDS),
    )

    # Authorization requests, and the scopes and resources in them.
    NOT_REGISTERED_FOR = "not_registered_for", _unauthorized("the client did not register for {grant_type}")
    REDIRECT_URI_AMBIGUOUS = (
        "redirect_uri_ambiguous",
        _request("redirect_uri is missing and the client registered several"),
    )
    REDIRECT_URI_UNKNOWN = (
        "redirect_uri_unknown",
        _redirect_uri("redirect_uri is not one that the client registered"),
    )
    RESPONSE_TYPE_NOT_CODE = (
        "response_type_not_code",
        Row(400, ErrorCode.UNSUPPORTED_RESPONSE_TYPE, "response_type must be code"),
    )
    RESPONSE_MODE_NOT_QUERY = "response_mode_not_query", _request("response_mode must be query")
    REQUEST_OBJECT = "request_object", _request("request objects are not supported")
    NO_CODE_CHALLENGE = ("no_code_challenge", _request("code_challenge is missing: PKCE with S256 is required"))
    CODE_CHALLENGE_NOT_S256 = "code_challenge_not_s256", _request("code_challenge_method must be S256")
    CODE_CHALLENGE_MALFORMED = (
        "code_challenge_malformed",
        _request("code_challenge is not the base64url of a SHA-256"),
    )
    DPOP_JKT_MALFORMED = "dpop_jkt_malformed", _request("dpop_jkt is not the thumbprint of a key")
    PROMPT_CONTRADICTS = "prompt_contradicts", _request("prompt=none cannot go with another value")
    RESOURCE_UNKNOWN = "resource_unknown", _target("resource is not a service behind this gateway")
    SCOPES_UNKNOWN = "scopes_unknown", _scope("none of the requested scopes exists here")
    SCOPES_OF_OTHERS = (
        "scopes_of_others",
        _scope("none of the requested scopes exists for the requested resource"),
    )
    SCOPE_TOO_LONG = "scope_too_long", _scope("scope is too long")
    SCOPE_CHARACTERS = "scope_characters", _scope("scope has a character that no scope may contain")
    LOGIN_REQUIRED = "login_required", Row(400, ErrorCode.LOGIN_REQUIRED, "the user is not signed in")
    CONSENT_REQUIRED = "consent_required", Row(400, ErrorCode.CONSENT_REQUIRED, "the user must consent first")

    # Token requests.
    GRANT_TYPE_NOT_OFFERED = (
        "grant_type_not_offered",
        Row(400, ErrorCode.UNSUPPORTED_GRANT_TYPE, "grant_type is not offered here"),
    )
    CODE_UNKNOWN = "code_unknown", _grant("the code is unknown or has expired")
    CODE_OF_ANOTHER = "code_of_another", _grant("the code is not this client's")
    CODE_OTHER_REDIRECT = (
        "code_other_redirect",
        _grant("redirect_uri is not the one of the authorization request"),
    )
    CODE_VERIFIER_MALFORMED = (
        "code_verifier_malformed",
        _grant("code_verifier is missing or not 43 to 128 unreserved characters"),
    )
    CODE_VERIFIER_WRONG = "code_verifier_wrong", _grant("code_verifier does not match the code_challenge")
    CODE_USED_BEFORE = ("code_used_before", _grant("the code was used before; its grant has been revoked"))
    CODE_REPLAYED = ("code_replayed", _grant("the code was used more than once; its grant has been revoked"))
    RESOURCE_NOT_GRANTED = "resource_not_granted", _target("resource is not among those granted")
    SCOPE_NOT_GRANTED = "scope_not_granted", _scope("scope asks for more than was granted")
    REFRESH_TOKEN_NOT_VALID = "refresh_token_not_valid", _grant("the refresh token is not valid")
    REFRESH_TOKEN_USED = "refresh_token_used", _grant("the refresh token was used before")
    REFRESH_TOKEN_REUSED = (
        "refresh_token_reused",
        _grant("the refresh token was used before; everything it led to has been revoked"),
    )
    REFRESH_TOKEN_RESTORED = ("refresh_token_restored", _grant("the refresh token is not valid; sign in again"))
    USER_NO_LONGER_ELIGIBLE = ("user_no_longer_eligible", _grant("the user may no longer use this gateway"))
    USER_NOT_ELIGIBLE = "user_not_eligible", _grant("the user may not use this gateway")
    GRANT_ENDED = "grant_ended", _grant("the grant has ended")
    GRANT_REVOKED = "grant_revoked", _grant("the grant has been revoked; sign in again")
    GRANT_CHANGES_TOO_FAST = (
        "grant_changes_too_fast",
        _later("try again in a moment", retry_after=RETRY_AFTER_SECONDS),
    )
    NO_MACHINE = "no_machine", _unauthorized("the operator has not allowed this client to act as itself")
    DEVICE_CODE_UNKNOWN = "device_code_unknown", _grant("the device code is unknown or was used")
    DEVICE_DENIED = "device_denied", Row(400, ErrorCode.ACCESS_DENIED, "the user did not allow it")
    DEVICE_EXPIRED = (
        "device_expired",
        Row(400, ErrorCode.EXPIRED_TOKEN, "the user did not decide in time; start again"),
    )
    # A waiting device gets these every few seconds: nothing was refused, and they would fill the audit log.
    DEVICE_PENDING = (
        "device_pending",
        Row(400, ErrorCode.AUTHORIZATION_PENDING, "the user has not decided yet", audit=Audit.NOTHING),
    )
    DEVICE_TOO_FAST = (
        "device_too_fast",
        Row(400, ErrorCode.SLOW_DOWN, "wait five seconds longer between polls from now on", audit=Audit.NOTHING),
    )

    # Identity assertions (ID-JAG).
    ASSERTION_BY_PUBLIC_CLIENT = (
        "assertion_by_public_client",
        _unauthorized("only clients that authenticate may present an assertion"),
    )
    ASSERTION_WITHOUT_ACCOUNT = (
        "assertion_without_account",
        _grant("the assertion does not say which GitHub account its subject has"),
    )
    ASSERTION_WITHOUT_SCOPES = (
        "assertion_without_scopes",
        _scope("the assertion allows none of the scopes for that resource"),
    )
    ASSERTION_FOR_OTHER_RESOURCE = (
        "assertion_for_other_resource",
        _target("resource is not among those the assertion is for"),
    )
    ASSERTION_FOR_NO_SERVICE = (
        "assertion_for_no_service",
        _target("the assertion is for no service behind this gateway"),
    )
    ISSUER_KEYS_UNUSABLE = "issuer_keys_unusable", _grant("{fault}")
    IDENTITY_MALFORMED = "identity_malformed", _grant("the assertion is not a JWT that names its issuer")
    IDENTITY_WRONG_TYPE = "identity_wrong_type", _grant("typ of the assertion must be oauth-id-jag+jwt")
    IDENTITY_WRONG_ALGORITHM = (
        "identity_wrong_algorithm",
        _grant("the assertion is signed with an algorithm that is not accepted"),
    )
    IDENTITY_UNKNOWN_KEY = (
        "identity_unknown_key",
        _grant("the assertion is signed with a key that is not its issuer's, or names none of several"),
    )
    IDENTITY_BAD_SIGNATURE = "identity_bad_signature", _grant("the signature of the assertion is wrong")
    IDENTITY_WRONG_ISSUER = ("identity_wrong_issuer", _grant("no issuer of that name is trusted for this client"))
    IDENTITY_WRONG_TENANT = (
        "identity_wrong_tenant",
        _grant("the assertion is of another tenant of its issuer than the trusted one"),
    )
    IDENTITY_WRONG_AUDIENCE = (
        "identity_wrong_audience",
        _grant("aud of the assertion must be the issuer of this server, and nothing else"),
    )
    IDENTITY_WRONG_CLIENT = (
        "identity_wrong_client",
        _grant("client_id of the assertion must be the client that presents it"),
    )
    IDENTITY_NO_SUBJECT = "identity_no_subject", _grant("the assertion has no sub")
    IDENTITY_NO_ID = "identity_no_id", _grant("the assertion needs a jti of at most 256 characters")
    IDENTITY_BAD_TIMES = (
        "identity_bad_times",
        _grant("the assertion needs iat, and exp at most an hour later; times must be seconds since the epoch"),
    )
    IDENTITY_EXPIRED = "identity_expired", _grant("the assertion has expired")
    IDENTITY_NOT_YET_VALID = "identity_not_yet_valid", _grant("the assertion is not valid yet")
    IDENTITY_NOT_UNDERSTOOD = (
        "identity_not_understood",
        _grant("cnf and authorization_details are not understood here, and must not be ignored"),
    )
    IDENTITY_BAD_LIMITS = (
        "identity_bad_limits",
        _grant("scope of the assertion must be a string, and resource one or more; one of them must be there"),
    )
    IDENTITY_USED_BEFORE = "identity_used_before", _grant("the assertion was used before")

    # Pages for people.
    NO_COOKIE = (
        "no_cookie",
        _request(
            "Your browser did not send the cookie that this sign-in needs. Allow cookies for {host} in the "
            "settings of your browser. Then go back to the app and connect again, in the same browser.",
            audit=Audit.NOTHING,
        ),
    )
    PAGE_STALE = (
        "page_stale",
        _request(
            "This page is no longer valid: it was used already, waited too long, or belongs to another browser or "
            "a session that has ended. Go back to the app and connect again.",
            audit=Audit.NOTHING,
        ),
    )
    SIGN_IN_UNKNOWN = (
        "sign_in_unknown",
        _request(
            "This sign-in was finished already, took too long, or began in another browser. "
            "Go back to the app and connect again.",
            audit=EventKind.SIGN_IN_FAILED,
        ),
    )
    CONSENT_DENIED = (
        "consent_denied",
        Row(403, ErrorCode.ACCESS_DENIED, "the user did not consent", audit=EventKind.CONSENT_DENIED),
    )
    PERSON_NOT_ELIGIBLE = (
        "person_not_eligible",
        Row(403, ErrorCode.ACCESS_DENIED, "{login} may not use this gateway", audit=EventKind.SIGN_IN_REFUSED),
    )
    SIGN_IN_NOT_CONFIRMED = (
        "sign_in_not_confirmed",
        Row(403, ErrorCode.ACCESS_DENIED, "GitHub did not confirm the sign-in", audit=EventKind.SIGN_IN_FAILED),
    )
    MEMBERSHIPS_NOT_SHOWN = (
        "memberships_not_shown",
        Row(
            403,
            ErrorCode.ACCESS_DENIED,
            "GitHub did not grant read:org, so your memberships cannot be seen",
            audit=EventKind.SIGN_IN_FAILED,
        ),
    )
    GITHUB_UNREACHABLE = (
        "github_unreachable",
        _later("GitHub cannot be reached; try again in a moment", retry_after=RETRY_AFTER_SECONDS),
    )
    DEVICE_FORM_CROSS_SITE = (
        "device_form_cross_site",
        _request("This code was sent by another page. Type it here yourself.", audit=Audit.NOTHING),
    )
    USER_CODE_NOT_VALID = (
        "user_code_not_valid",
        _request(
            "That code is not valid. Check it on your device; codes expire after ten minutes.",
            audit=EventKind.DEVICE_CODE_REFUSED,
        ),
    )
    TOO_MANY_USER_CODES = (
        "too_many_user_codes",
        Row(
            429,
            ErrorCode.TOO_MANY_REQUESTS,
            "Too many codes were tried. Wait a few minutes and try again.",
            audit=EventKind.DEVICE_CODE_REFUSED,
            retry_after=60,
        ),
    )
    DEVICE_CODE_OVER = (
        "device_code_over",
        Row(
            400,
            ErrorCode.EXPIRED_TOKEN,
            "The code was used already or waited too long. Start again on your device.",
            audit=Audit.NOTHING,
        ),
    )
    SIGNED_OUT = (
        "signed_out",
        Row(403, ErrorCode.LOGIN_REQUIRED, "You are signed out already.", audit=Audit.NOTHING),
    )
    ACCOUNT_FORM_CROSS_SITE = (
        "account_form_cross_site",
        _request(
            "This form is not from your present account page. Open the account page and try again.",
            403,
            EventKind.ACCOUNT_FORM_REFUSED,
        ),
    )
    NO_INVITATIONS = (
        "no_invitations",
        Row(403, ErrorCode.ACCESS_DENIED, "{login} may not register clients here.", audit=Audit.NOTHING),
    )

    NO_MAILS = (
        "no_mails",
        Row(403, ErrorCode.ACCESS_DENIED, "This gateway sends no mails.", audit=Audit.NOTHING),
    )
    NO_MAIL_ADDRESS = (
        "no_mail_address",
        Row(
            400,
            ErrorCode.INVALID_REQUEST,
            "This is no mail address that this gateway can use. Go back and enter another one.",
            audit=Audit.NOTHING,
        ),
    )
    MAIL_CONFIRMATION_UNKNOWN = (
        "mail_confirmation_unknown",
        Row(
            403,
            ErrorCode.ACCESS_DENIED,
            "This link was used already, waited too long, or belongs to another session. Enter your address on "
            "the account page again.",
            audit=Audit.NOTHING,
        ),
    )

    # Addresses without a document.
    SEVERAL_SERVICES = (
        "several_services",
        Row(
            404,
            ErrorCode.NOT_FOUND,
            "several services are here; ask for the metadata of one, by its path",
            audit=Audit.NOTHING,
        ),
    )
    NO_SUCH_RESOURCE = ("no_such_resource", Row(404, ErrorCode.NOT_FOUND, "no such resource", audit=Audit.NOTHING))
    NO_SERVICE_ASSERTIONS = (
        "no_service_assertions",
        Row(
            404,
            ErrorCode.NOT_FOUND,
            "no service receives signed assertions about its callers",
            audit=Audit.NOTHING,
        ),
    )


class DenyFault(Enum):
    """The faults that one check of the check service can find: the value of each is its reason."""

    _value_: DenyReason

    @property
    def reason(self) -> DenyReason:
        """The row of this fault in the table of refusals."""
        return self._value_


class OAuthFault(Enum):
    """The faults that one check of the authorization server can find: the value of each is its reason."""

    _value_: OAuthReason

    @property
    def reason(self) -> OAuthReason:
        """The row of this fault in the table of refusals."""
        return self._value_


def refused(
    reason: OAuthReason,
    *,
    status: int | None = None,
    retry_after: int | None = None,
    by_header: bool = False,
    **details: object,
) -> DisplayedError:
    """The error for `reason`, with `details` in its description.

    `by_header` is true if the client tried Basic, which RFC 6749 section 5.2 answers with a challenge. `status`
    and `retry_after` are for reasons whose row leaves them open.
    """
    row = reason.row
    challenge = Challenge.BASIC if by_header and row.error is ErrorCode.INVALID_CLIENT else row.challenge
    return DisplayedError(
        row.error,
        row.description.format(**details),
        status=status or row.status,
        challenge=challenge.value.format(**details) or None,
        retry_after=retry_after or row.retry_after,
        reason=reason,
    )


def is_recorded_by_endpoint(error: OAuthError) -> bool:
    """Whether the endpoint that refuses with `error` records it under its own event."""
    return not (isinstance(error.reason, Reason) and error.reason.row.audit is Audit.NOTHING)
