"""`/register`: dynamic client registration (RFC 7591) and its management (RFC 7592)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response, request

from oauth_core import strict_json
from oauth_core.audit import EventKind
from oauth_core.clients import client_metadata, registration, registration_permissions
from oauth_core.clients.registration_permissions import DELETE, READ, WRITE
from oauth_core.crypto.credentials import hash_secret, secret_matches
from oauth_core.errors import DisplayedError
from oauth_core.flows.notices import NoticeKind
from oauth_core.limits.quotas import Stored
from oauth_core.limits.rate_limits import Limit
from oauth_core.refusals import OAuthReason, refused
from oauth_web.client_auth.registration_authorization import authorize_registration
from oauth_web.guards.rate_limiting import enforce_address_limit
from oauth_web.http.client_addresses import caller_address
from oauth_web.http.responses import NO_STORE, body, json_answer, one_header
from oauth_web.runtime import ended_grants

if TYPE_CHECKING:
    from oauth_core.model import Client
    from oauth_web.runtime.deps import Deps

_NOBODY = hash_secret("")
_CREATED = 201
_NO_CONTENT = 204


def blueprint(deps: Deps) -> Blueprint:
    """The endpoints at and below `/register`."""
    bp = Blueprint("register", __name__)
    issuer = deps.settings.issuer

    @bp.post("/register")
    async def register() -> Response:
        await enforce_address_limit(deps, Limit.REGISTRATIONS_PER_ADDRESS)
        try:
            authorized = await authorize_registration(deps, one_header("Authorization"))
            registered = registration.register(
                await _json_body(),
                now=deps.clock(),
                grant_types=deps.grant_types,
                permissions=authorized.registration_permissions,
                app_schemes=deps.settings.app_schemes,
                known_scopes=deps.services.scopes,
                machine_scopes=authorized.machine_scopes,
                invited=authorized.by_operator,
            )
            await _check_not_disabled(deps, registered.client)
            if authorized.token_id is None:
                await _make_room(deps, registered.client, authorized.unused_lifetime)
            await authorized.use_up()
        except DisplayedError as error:
            deps.audit.record(EventKind.CLIENT_REGISTRATION_REFUSED, reason=error.description)
            raise
        unused = None if registered.client.machine_scopes else authorized.unused_lifetime
        await deps.audit.intend(EventKind.CLIENT_REGISTERED, client_id=registered.client.client_id)
        await deps.clients.add(registered.client, unused=unused)
        deps.audit.record(
            EventKind.CLIENT_REGISTERED, reason=authorized.reason, client_id=registered.client.client_id
        )
        return json_answer(registration.client_information(registered, issuer=issuer), _CREATED)

    @bp.get("/register/<client_id>")
    async def read(client_id: str) -> Response:
        client, token = await _managed(deps, client_id, READ)
        deps.audit.record(EventKind.CLIENT_READ, client_id=client_id)
        result = registration.RegistrationResult(client, None, token)
        return json_answer(registration.client_information(result, issuer=issuer))

    @bp.put("/register/<client_id>")
    async def update(client_id: str) -> Response:
        client, token = await _managed(deps, client_id, WRITE)
        changed = registration.update(
            client,
            await _json_body(),
            grant_types=deps.grant_types,
            app_schemes=deps.settings.app_schemes,
            known_scopes=deps.services.scopes,
        )
        await _check_not_disabled(deps, changed.client)
        # Growth counts: otherwise a client could register a small record and enlarge it afterwards.
        growth = client_metadata.size_of(changed.client) - client_metadata.size_of(client)
        if growth > 0:
            lifetime = deps.settings.unused_client_lifetime
            await deps.quotas.take(Stored.REGISTRATIONS, growth, lifetime=lifetime, caller=caller_address())
        await deps.audit.intend(EventKind.CLIENT_UPDATED, client_id=client_id)
        if not await deps.clients.swap(client, changed.client):
            raise refused(OAuthReason.REGISTRATION_CHANGED)
        deps.audit.record(EventKind.CLIENT_UPDATED, client_id=client_id)
        result = registration.RegistrationResult(changed.client, changed.secret, token)
        return json_answer(registration.client_information(result, issuer=issuer))

    @bp.delete("/register/<client_id>")
    async def delete(client_id: str) -> Response:
        await _managed(deps, client_id, DELETE)
        await deps.audit.intend_to_end(EventKind.CLIENT_DELETED, client_id=client_id)
        deletion = deps.revocation.delete_client(deps.clients, client_id)
        try:
            await ended_grants.revoke_and_audit(
                deps, deletion, reason="client deleted", notice=NoticeKind.APP_ENDED_BY_ITSELF
            )
        finally:
            deps.audit.record(EventKind.CLIENT_DELETED, client_id=client_id)
        return Response(b"", _NO_CONTENT, NO_STORE)

    return bp


async def _managed(deps: Deps, client_id: str, permission: str) -> tuple[Client, str]:
    """The client, and the registration token that authenticates the caller for `permission` (RFC 7592 section 2).

    An unknown client and a wrong token get the same answer, so that ids cannot be probed.
    """
    scheme, _, token = (one_header("Authorization") or "").partition(" ")
    client = await deps.clients.get_even_disabled(client_id)
    known = secret_matches(token, client.registration_token_hash if client else _NOBODY)
    if client is None or scheme.lower() != "bearer" or not known:
        deps.audit.record(OAuthReason.REGISTRATION_TOKEN_WRONG.event)
        raise refused(OAuthReason.REGISTRATION_TOKEN_WRONG)
    try:
        registration_permissions.require(client, permission)
    except DisplayedError as error:
        deps.audit.record(
            OAuthReason.REGISTRATION_PERMISSION_MISSING.event, reason=error.description, client_id=client_id
        )
        raise
    if permission != DELETE:
        await deps.clients.check_enabled(client_id)
    return client, token


async def _check_not_disabled(deps: Deps, client: Client) -> None:
    """Pass unless this is a disabled client that tries to come back. Raises `DisplayedError`."""
    if await deps.clients.has_disabled_trait(client):
        raise refused(OAuthReason.CLIENT_DISABLED)


async def _make_room(deps: Deps, client: Client, lifetime: int) -> None:
    """Count a registration without a token. Raises `DisplayedError` when there were too many."""
    size = client_metadata.size_of(client)
    await enforce_address_limit(deps, Limit.REGISTRATIONS_PER_ADDRESS_A_DAY)
    await enforce_address_limit(deps, Limit.REGISTRATION_KILOBYTES_PER_ADDRESS_A_DAY, cost=-(-size // 1024))
    await deps.quotas.take(Stored.REGISTRATIONS, size, lifetime=lifetime, caller=caller_address())


async def _json_body() -> object:
    """The JSON of this request. Raises `DisplayedError`: 415 when it is not declared as JSON."""
    if request.mimetype != "application/json":
        raise refused(OAuthReason.NOT_JSON)
    try:
        return strict_json.parse(await body())
    except ValueError as error:
        raise refused(OAuthReason.JSON_UNREADABLE, fault=error) from None
