"""The closed set of errors with which an OAuth endpoint can answer.

There are two types: a `DisplayedError` is shown at the endpoint, and a `RedirectedError` is sent to the client's
redirect URI. `redirected_to` makes the second from the first, only with the redirect URI of a request that
`oauth_core.flows.authorization` has validated. `oauth_core.refusals` has the texts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


# RFC 6749 allows printable ASCII without these two in an error_description (sections 4.1.2.1 and 5.2).
_NOT_IN_DESCRIPTIONS = re.compile(r"[^\x20-\x7e]|\\")


class ErrorCode(StrEnum):
    """Values of the `error` member: RFC 6749 sections 4.1.2.1 and 5.2, RFC 7591 section 3.2.2, RFC 8707.

    Also of RFC 9449 section 5, for proofs, of RFC 8628 section 3.5, for devices that poll, of RFC 6750 section
    3.1, for bearer tokens, and of OpenID Connect Core section 3.1.2.6, for `prompt=none`.
    """

    INVALID_REQUEST = "invalid_request"
    INVALID_CLIENT = "invalid_client"
    INVALID_GRANT = "invalid_grant"
    INVALID_SCOPE = "invalid_scope"
    INVALID_TARGET = "invalid_target"
    INVALID_TOKEN = "invalid_token"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    UNAUTHORIZED_CLIENT = "unauthorized_client"
    UNSUPPORTED_GRANT_TYPE = "unsupported_grant_type"
    UNSUPPORTED_RESPONSE_TYPE = "unsupported_response_type"
    ACCESS_DENIED = "access_denied"
    SERVER_ERROR = "server_error"
    TEMPORARILY_UNAVAILABLE = "temporarily_unavailable"
    INVALID_REDIRECT_URI = "invalid_redirect_uri"
    INVALID_CLIENT_METADATA = "invalid_client_metadata"
    AUTHORIZATION_PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    EXPIRED_TOKEN = "expired_token"
    LOGIN_REQUIRED = "login_required"
    CONSENT_REQUIRED = "consent_required"
    INVALID_DPOP_PROOF = "invalid_dpop_proof"
    TOO_MANY_REQUESTS = "too_many_requests"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    SERVICE_DISABLED = "service_disabled"
    BAD_ANSWER = "bad_answer"
    """The last five are our own: no specification defines a name for them."""


# Not frozen: a context manager that an error passes through must be able to set its `__traceback__`.
@dataclass(eq=False)
class OAuthError(Exception):
    """An error for which the protocol has a name.

    `description` is for the developer of the client and never repeats a secret. `reason` is the row of the table
    that the error was made from (`oauth_core.refusals`).
    """

    code: ErrorCode
    description: str
    reason: StrEnum | None = field(default=None, kw_only=True)

    def __str__(self) -> str:
        return f"{self.code}: {self.description}"

    @property
    def error_description(self) -> str:
        """`description` in the characters that the parameter allows; it may repeat text of the caller."""
        return _NOT_IN_DESCRIPTIONS.sub("?", self.description).replace('"', "'")

    def redirected_to(self, redirect_uri: str, state: str | None, *, on_page: bool = False) -> RedirectedError:
        """Return the same error for the client at `redirect_uri`, which must have been validated."""
        return RedirectedError(
            self.code, self.description, redirect_uri, state, on_page=on_page, reason=self.reason
        )


@dataclass(eq=False)
class DisplayedError(OAuthError):
    """An error that the endpoint returns itself: JSON with an HTTP status, or a page for people at `/authorize`.

    `status` is the HTTP status. `challenge` is the value of `WWW-Authenticate`, if there is one, and `retry_after`
    the seconds after which the caller may try again.
    """

    status: int = 400
    challenge: str | None = None
    retry_after: int | None = None


@dataclass(eq=False)
class RedirectedError(OAuthError):
    """An error that is returned by a redirect to a validated redirect URI (RFC 6749 section 4.1.2.1).

    With `on_page` a page of the gateway shows the error and a link to that URI (RFC 9700 section 4.11.2).
    """

    redirect_uri: str
    state: str | None
    on_page: bool = False


class SettingsError(Exception):
    """The settings cannot be used. `faults` lists every fault, one readable line each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class StoreUnavailableError(Exception):
    """Redis did not answer within its deadline, so the state is unknown. The caller must refuse with 503."""
