"""Client authentication by RFC 6749 section 2.3, with the deviations of real clients.

The id may be in the Basic header, in the form, in a signed assertion (RFC 7523), or in several when they agree.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from oauth_core.clients import client_assertions
from oauth_core.clients.client_assertions import AssertionFault
from oauth_core.crypto.credentials import secret_matches
from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from oauth_core.model import Client
    from oauth_core.parameters import Parameters


_LONGEST = 4096
"""Characters of a Basic header; the same limit as for a parameter of the form."""


@dataclass(frozen=True)
class PresentedCredentials:
    """The id and credentials that a caller sent. `repr` leaves out the secret and the assertion.

    `fault` describes bad credentials; it counts only against a client that has to authenticate.
    """

    client_id: str
    secret: str | None = field(repr=False)
    by_header: bool
    assertion: str | None = field(default=None, repr=False)
    fault: DisplayedError | None = None


def parse_credentials(authorization: str | None, form: Parameters) -> PresentedCredentials:
    """Read the caller's credentials.

    Raises `DisplayedError` when they name no client. `authenticate` judges other faults.
    """
    form_id, form_secret = form.get("client_id"), form.get("client_secret")
    if form.get("client_assertion") or form.get("client_assertion_type"):
        try:
            if authorization is not None or form_secret is not None:
                # RFC 6749 section 2.3: only one method; otherwise it is unclear which one counted.
                raise refused(OAuthReason.SEVERAL_CLIENT_AUTHENTICATIONS)
            return _by_assertion(form)
        except DisplayedError as wrong:
            if form_id is None:
                raise
            return PresentedCredentials(form_id, None, by_header=False, fault=wrong)
    if authorization is None:
        if form_id is None:
            raise refused(OAuthReason.NO_CLIENT_AUTHENTICATION)
        return PresentedCredentials(form_id, form_secret, by_header=False)
    try:
        client_id, secret = _basic(authorization)
    except DisplayedError as malformed:
        if form_id is None:
            raise
        return PresentedCredentials(form_id, None, by_header=True, fault=malformed)
    contradiction = refused(OAuthReason.BASIC_NAMES_ANOTHER)
    if form_id is not None and form_id != client_id:
        # A public client does not authenticate, so a header that real clients send beside the form does not
        # matter.
        return PresentedCredentials(form_id, None, by_header=True, fault=contradiction)
    fault = contradiction if form_secret not in {None, secret} else None
    return PresentedCredentials(client_id, secret or None, by_header=True, fault=fault)


def authenticate(client: Client | None, who: PresentedCredentials) -> Client:
    """Return the client when `who` authenticated as it, by its secret or because it needs none.

    For a public client all credentials are ignored, such as dummy secrets, assertions, or a header of an earlier
    token: if they are refused, real clients discard their registration. For any other client an assertion does not
    authenticate here: the calling code checks it with the client's keys.
    An unknown client and a wrong secret get the same answer. Raises `DisplayedError`, mostly 401 `invalid_client`:
    clients that see it register again.
    """
    if client is None and who.fault is not None and who.fault.code is ErrorCode.INVALID_REQUEST:
        raise who.fault
    if client is None:
        raise refused(OAuthReason.CLIENT_AUTHENTICATION_FAILED, by_header=who.by_header)
    if is_public(client):
        return client
    if who.assertion is not None:
        raise refused(OAuthReason.CLIENT_AUTHENTICATION_FAILED, by_header=who.by_header)
    if who.fault is not None:
        raise who.fault
    if client.secret_hash is None:
        raise refused(OAuthReason.CLIENT_AUTHENTICATION_FAILED, by_header=who.by_header)
    if who.secret is None or not secret_matches(who.secret, client.secret_hash):
        raise refused(OAuthReason.CLIENT_AUTHENTICATION_FAILED, by_header=who.by_header)
    return client


def is_public(client: Client) -> bool:
    """Whether `client` has no credential (OAuth 2.1 section 2.1), not even a secret from before an update."""
    return client.token_endpoint_auth_method == "none" and client.secret_hash is None


def _by_assertion(form: Parameters) -> PresentedCredentials:
    """The caller's id and assertion (RFC 7521 section 4.2); a `client_id` beside it must be the same."""
    if form.get("client_assertion_type") != client_assertions.TYPE:
        raise refused(OAuthReason.WRONG_ASSERTION_TYPE, type=client_assertions.TYPE)
    assertion = form.get("client_assertion")
    said = AssertionFault.MALFORMED if assertion is None else client_assertions.parse_unverified(assertion)
    if isinstance(said, AssertionFault):
        raise refused(said.reason)
    if form.get("client_id") not in {None, said.client_id}:
        raise refused(OAuthReason.ASSERTION_NAMES_ANOTHER)
    return PresentedCredentials(said.client_id, None, by_header=False, assertion=assertion)


def _basic(authorization: str) -> tuple[str, str]:
    """Id and secret of a Basic header. Clients form-encode both first (RFC 6749 section 2.3.1).

    Clients that skip that step are understood too: our ids and secrets contain nothing to encode.
    """
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise refused(OAuthReason.NOT_BASIC, by_header=True)
    if len(encoded) > _LONGEST:
        raise refused(OAuthReason.BASIC_TOO_LONG, by_header=True)
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise refused(OAuthReason.BASIC_MALFORMED, by_header=True) from None
    client_id, colon, secret = (unquote_plus(part) for part in pair.partition(":"))
    # NUL is checked after decoding, or `%00` would pass, which the form refuses.
    if not colon or not client_id or "\x00" in client_id + secret:
        raise refused(OAuthReason.BASIC_MALFORMED, by_header=True)
    return client_id, secret
