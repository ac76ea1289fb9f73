"""The closed set of errors an OAuth endpoint can answer with.

Two families, and the type tells them apart: `DisplayedError` is shown where it happened and `RedirectedError`
is sent back to the client's redirect URI. The second is made from the first by `redirected_to`, only with the
redirect URI of a request that `oauth_core.flows.authorization` has validated. `oauth_core.refusals` has the texts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


# What RFC 6749 lets an error_description contain is printable ASCII without these two (sections 4.1.2.1 and 5.2).
_NOT_IN_DESCRIPTIONS = re.compile(r"[^\x20-\x7e]|\\")


class ErrorCode(StrEnum):
    """Values of the `error` member: RFC 6749 sections 4.1.2.1 and 5.2, RFC 7591 section 3.2.2, RFC 8707.

    And of RFC 9449 section 5, for proofs, of RFC 8628 section 3.5, for devices that poll, of RFC 6750 section 3.1,
    for bearer tokens, and of OpenID Connect Core section 3.1.2.6, for `prompt=none`.
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
    SERVICE_ISOLATED = "service_isolated"
    """The last four are ours: no specification has a name for them."""


# Not frozen: a context manager that an error passes through sets its `__traceback__`, and must be able to.
@dataclass(eq=False)
class OAuthError(Exception):
    """Something the protocol has a name for.

    `description` is written for the developer of the client and never repeats a secret. `reason` is the row of the
    table that the error was made from (`oauth_core.refusals`).
    """

    code: ErrorCode
    description: str
    reason: StrEnum | None = field(default=None, kw_only=True)

    def __str__(self) -> str:
        return f"{self.code}: {self.description}"

    @property
    def error_description(self) -> str:
        """`description` in the characters of the parameter; it may repeat what a caller sent."""
        return _NOT_IN_DESCRIPTIONS.sub("?", self.description).replace('"', "'")

    def redirected_to(self, redirect_uri: str, state: str | None, *, on_page: bool = False) -> RedirectedError:
        """The same error for the client at `redirect_uri`, which must have been validated."""
        return RedirectedError(
            self.code, self.description, redirect_uri, state, on_page=on_page, reason=self.reason
        )


@dataclass(eq=False)
class DisplayedError(OAuthError):
    """Answered in place: JSON with an HTTP status, or a page for people at `/authorize`.

    `status` is the HTTP status. `challenge` is the value of `WWW-Authenticate`, when there is one, and
    `retry_after` the seconds after which to come again.
    """

    status: int = 400
    challenge: str | None = None
    retry_after: int | None = None


@dataclass(eq=False)
class RedirectedError(OAuthError):
    """Answered by a redirect to a redirect URI that has been validated (RFC 6749 section 4.1.2.1).

    With `on_page` a page of ours says what is wrong and has a link to there (RFC 9700 section 4.11.2).
    """

    redirect_uri: str
    state: str | None
    on_page: bool = False


class SettingsError(Exception):
    """The settings cannot be used. `faults` lists every fault found, one readable line each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class StoreUnavailableError(Exception):
    """Redis did not answer within its deadline, so nothing is known. The caller must refuse with 503."""
