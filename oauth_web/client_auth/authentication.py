"""Authenticates the client at the endpoints that require it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_core.clients import client_assertions, client_authentication
from oauth_core.clients.client_assertions import AssertionFault, UnverifiedAssertion
from oauth_core.errors import DisplayedError, ErrorCode, StoreUnavailableError
from oauth_core.jose import client_keys
from oauth_core.limits.quotas import NoRoomError
from oauth_core.limits.rate_limits import Limit
from oauth_core.refusals import OAuthReason, refused
from oauth_web.guards.rate_limiting import count_failure, enforce_failure_limit, enforce_limit
from oauth_web.http.client_addresses import caller_address
from oauth_web.http.responses import one_header

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from oauth_core.jose.client_keys import ClientKeys
    from oauth_core.model import Client
    from oauth_core.parameters import Parameters
    from oauth_web.runtime.deps import Deps


async def authenticate_client(deps: Deps, form: Parameters, *, only_revokes: bool = False) -> Client:
    """The authenticated client of this request (RFC 6749 section 2.3). Raises `DisplayedError`, and audits it.

    A request that `only_revokes` rights is served even when Redis has no memory left to count it: an attacker
    who fills Redis must not keep a stolen token active.
    """
    who = client_authentication.parse_credentials(one_header("Authorization"), form)
    await enforce_failure_limit(deps, who.client_id)
    try:
        client = await deps.clients.get_even_disabled(who.client_id)
        if who.assertion is not None and not (client is not None and client_authentication.is_public(client)):
            client = await _authenticate_by_assertion(deps, client, who.assertion, only_revokes=only_revokes)
        else:
            client = client_authentication.authenticate(client, who)
    except DisplayedError as error:
        # The id is the caller's claim. The form limits its length, and the log's JSON escapes it.
        deps.audit.record(
            EventKind.CLIENT_AUTHENTICATION_FAILED, reason=error.description, client_id=who.client_id
        )
        if error.code is ErrorCode.INVALID_CLIENT:  # not when its keys could not be fetched
            await count_failure(deps, who.client_id)
        raise
    if not only_revokes:
        await deps.clients.check_enabled_client(client)
    # Any caller can name a public client, so a caller at another address must not use up that client's share.
    proven = client.token_endpoint_auth_method != "none"
    subject = client.client_id if proven else f"{client.client_id} {caller_address()}"
    with _unless(only_revokes):
        await enforce_limit(deps, Limit.REQUESTS_PER_CLIENT, subject)
    return client


def _unless(only_revokes: bool) -> AbstractContextManager[None]:  # noqa: FBT001 - its only argument
    """When rights are given back, ignore what a full Redis cannot store. If Redis is unavailable, giving back
    fails anyway.
    """
    if not only_revokes:
        return contextlib.nullcontext()
    return contextlib.suppress(StoreUnavailableError, NoRoomError)


async def _authenticate_by_assertion(
    deps: Deps, client: Client | None, assertion: str, *, only_revokes: bool
) -> Client:
    """The client, if it signed `assertion` and did not use it before (RFC 7523). Raises `DisplayedError`."""
    if client is None or client.token_endpoint_auth_method != "private_key_jwt":
        raise refused(OAuthReason.CLIENT_AUTHENTICATION_FAILED)
    issuer = deps.settings.issuer
    verdict = client_assertions.check(
        assertion,
        await _keys(deps, client, assertion),
        client_id=client.client_id,
        audiences=(issuer, f"{issuer}/token"),
        now=deps.clock(),
    )
    if isinstance(verdict, AssertionFault):
        raise refused(verdict.reason)
    # Only now: if any caller could use up a jti, an attacker could lock the client out.
    with _unless(only_revokes):
        if not await deps.assertions.use(
            client.client_id, verdict.jti, until=verdict.until, now=deps.clock(), caller=caller_address()
        ):
            raise refused(AssertionFault.USED_BEFORE.reason)
    if client.jwks_uri is not None and await deps.clients.is_in_use(client.client_id):
        # Only for a client in use: anyone can register a client and sign with its keys.
        await deps.documents.keep_keys(client.jwks_uri)
    return client


async def _keys(deps: Deps, client: Client, assertion: str) -> ClientKeys:
    """The keys of `client`: the registered key set, or the one at its registered address."""
    said = client_assertions.parse_unverified(assertion)
    kid = said.kid if isinstance(said, UnverifiedAssertion) else None
    try:
        if client.jwks is not None:
            return client_keys.from_text(client.jwks)
        return await deps.documents.keys(client.jwks_uri or "", kid=kid)
    except ValueError as error:
        raise refused(OAuthReason.CLIENT_KEYS_UNUSABLE, fault=error) from None
