"""Every check the doctor makes, in order. Each returns a `Finding`.

Two faults end the examination early: a sign-in that fails, because the other checks need its token, and a gateway
that stops answering.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from oauth_core.crypto import base64url
from oauth_core.policy.resources import metadata_url
from portcullis.doctor.client import SessionStorage, SignedIn, call_whoami, sign_in
from portcullis.doctor.deployment import (
    counts_addresses,
    describes_itself,
    keeps_records,
    reaches_client_documents,
)
from portcullis.doctor.findings import Finding, Outcome, finding

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    import httpx2

    from portcullis.doctor.browsers import Browser
    from portcullis.doctor.client import Management
    from portcullis.doctor.forge import Forger
    from portcullis.doctor.gateway import Gateway

_UNAUTHORIZED = 401
_REVOCATION_BOUND = 1.0
_PAUSE = 0.02
# No user or client has one of these values: if one of them reaches a service, the doctor sent it.
_FORGED = {
    "x-user-id": "forged-by-doctor",
    "x-user-name": "forged-by-doctor",
    "x-client-id": "forged-by-doctor",
    "x-token-scope": "forged-by-doctor",
}


async def examine(gateway: Gateway, browser: Browser, forger: Forger | None) -> AsyncGenerator[Finding]:
    """Make every check against `gateway`. `forger` is `None` if the gateway's keys are not available.

    Raises `httpx2.HTTPError` when the gateway stops answering.
    """
    yield describes_itself(gateway)
    yield await keeps_records(forger)
    yield await counts_addresses(gateway)
    yield await reaches_client_documents(gateway)
    for resource in gateway.resources:
        yield await _names_its_authorization_server(gateway, resource)
        yield await _unauthenticated_gets_401(gateway, resource)
    storage = SessionStorage(gateway.clients)
    first = gateway.resources[0]
    try:
        signed_in = await sign_in(first, storage, browser)
    except Exception as error:  # noqa: BLE001 - any error of a real client is the finding
        yield Finding("a real MCP client signs in and lists the tools", Outcome.BROKEN, _innermost(error))
        await _forget(gateway, storage)
        return
    yield Finding(
        "a real MCP client signs in and lists the tools",
        Outcome.HOLDS,
        f"{first}: {', '.join(signed_in.tools)}, in {signed_in.seconds:.1f} s",
    )
    token = signed_in.access_token
    yield await _accepts_token(gateway, first, token)
    yield await _forged_identity_alone(gateway, first)
    yield await _forged_identity_beside_a_token(gateway, browser)
    for resource in gateway.resources[1:]:
        yield _refused(
            f"a token for another audience is refused at {_short(resource)}", await gateway.probe(resource, token)
        )
    if len(gateway.resources) == 1:
        yield Finding("a token for another audience is refused", Outcome.UNTRIED, "there is only one service")
    yield await _expired(gateway, signed_in, forger)
    yield _refused("a token with a changed payload is refused", await gateway.probe(first, _tampered(token)))
    yield _refused("a token without a signature is refused", await gateway.probe(first, _unsigned(token)))
    in_query = await gateway.probe(first, url=f"{first}?access_token={token}")
    yield finding("a token in the query string is refused", in_query.is_client_error, _seen(in_query))
    yield await _foreign_host(gateway, first, token)
    async for one in _other_spellings(gateway, first):
        yield one
    async for one in _realms_and_revocation(gateway, storage, first, token):
        yield one


async def _names_its_authorization_server(gateway: Gateway, resource: str) -> Finding:
    document = await gateway.resource_metadata(resource)
    right = document.get("resource") == resource and document.get("authorization_servers") == [gateway.issuer]
    claim = f"{_short(resource)} has metadata that names this authorization server"
    return finding(claim, right, metadata_url(resource))


async def _unauthenticated_gets_401(gateway: Gateway, resource: str) -> Finding:
    answer = await gateway.probe(resource)
    challenge = answer.headers.get("WWW-Authenticate", "")
    right = answer.status_code == _UNAUTHORIZED and f'resource_metadata="{metadata_url(resource)}"' in challenge
    claim = f"{_short(resource)} answers a call without a token with 401 and its metadata URL"
    return finding(claim, right, _seen(answer))


async def _accepts_token(gateway: Gateway, resource: str, token: str) -> Finding:
    answer = await gateway.probe(resource, token)
    return finding(f"the token is accepted at {_short(resource)}", answer.is_success, _seen(answer))


async def _forged_identity_alone(gateway: Gateway, resource: str) -> Finding:
    return _refused("identity headers without a token are refused", await gateway.probe(resource, headers=_FORGED))


async def _forged_identity_beside_a_token(gateway: Gateway, browser: Browser) -> Finding:
    """Use a service that returns what it received: only such a service can show this."""
    claim = "identity headers that the caller sent never reach a service"
    for resource in gateway.resources:
        storage = SessionStorage(gateway.clients)
        try:
            if "whoami" not in (await sign_in(resource, storage, browser)).tools:
                continue
            received = await call_whoami(resource, storage, browser, _FORGED) or {}
        except Exception as error:  # noqa: BLE001 - as above
            return Finding(claim, Outcome.BROKEN, _innermost(error))
        finally:
            await _forget(gateway, storage)
        arrived = [f"{name}: {value}" for name, value in received.items() if value in _FORGED.values()]
        if received.get("authorization_arrived"):
            arrived.append("the caller's token")
        if not received.get("user_name"):
            arrived.append("no user at all")
        return finding(claim, not arrived, ", ".join(arrived) or f"the service received {received['user_name']}")
    return Finding(claim, Outcome.UNTRIED, "no service here has the example server's whoami tool")


async def _expired(gateway: Gateway, signed_in: SignedIn, forger: Forger | None) -> Finding:
    claim = "an expired token is refused"
    if forger is None:
        return Finding(claim, Outcome.UNTRIED, "set MASTER_KEY and REDIS_URL as for oauth_web to make one")
    scope = " ".join(gateway.metadata.get("scopes_supported", ()))
    try:
        token = await forger.expired_token(gateway.issuer, signed_in.resource, scope)
    except Exception as error:  # noqa: BLE001 - as above
        return Finding(claim, Outcome.UNTRIED, str(error))
    return _refused(claim, await gateway.probe(signed_in.resource, token))


async def _foreign_host(gateway: Gateway, resource: str, token: str) -> Finding:
    answer = await gateway.probe(resource, token, headers={"Host": "portcullis-doctor.invalid"})
    return finding("a foreign host is refused, even with a valid token", answer.is_client_error, _seen(answer))


async def _other_spellings(gateway: Gateway, resource: str) -> AsyncIterator[Finding]:
    path = urlsplit(resource).path
    for spelling in (
        f"/{path}",
        f"/.{path}",
        f"/x/..{path}",
        f"/%2e{path}",
        f"/%2f{path}",
        path.replace("/", "%2f"),
        f"{path};x",
        f"{path}%00",
        path.upper(),
    ):
        answer = await gateway.probe(resource, target=spelling)
        yield finding(f"without a token {spelling} is refused", answer.is_client_error, _seen(answer))


async def _realms_and_revocation(
    gateway: Gateway, storage: SessionStorage, resource: str, token: str
) -> AsyncIterator[Finding]:
    """Registration tokens and access tokens are not exchangeable, and deleting a client ends its tokens at
    once.
    """
    management = storage.management
    if management is None:
        yield Finding("deleting a client ends its tokens", Outcome.UNTRIED, "the client did not register")
        return
    yield _refused(
        "a registration token is refused at a service",
        await gateway.probe(resource, management.registration_token),
    )
    other_realm = await gateway.http.get(management.url, headers={"Authorization": f"Bearer {token}"})
    yield _refused("an access token is refused where a client manages its registration", other_realm)
    gone = await _delete(gateway, management)
    yield finding("a client can delete its registration", gone.is_success, _seen(gone))
    yield await _soon_refused("its token is refused within a second", gateway, resource, token)


async def _forget(gateway: Gateway, storage: SessionStorage) -> None:
    """Delete the registration, if there is one."""
    if storage.management:
        await _delete(gateway, storage.management)


async def _delete(gateway: Gateway, management: Management) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {management.registration_token}"}
    return await gateway.http.delete(management.url, headers=headers)


def _tampered(token: str) -> str:
    header, payload, signature = token.split(".")
    claims = json.loads(base64url.decode_leniently(payload))
    return f"{header}.{_encode({**claims, 'github_user': 'root'})}.{signature}"


def _unsigned(token: str) -> str:
    header, payload, _ = token.split(".")
    return f"{_encode({**json.loads(base64url.decode_leniently(header)), 'alg': 'none'})}.{payload}."


def _encode(value: dict[str, object]) -> str:
    return base64url.encode(json.dumps(value).encode())


async def _soon_refused(claim: str, gateway: Gateway, resource: str, token: str) -> Finding:
    """Repeat the request until it is refused, at most for the revocation bound.

    Each check process receives the invalidation separately, so the first request may still pass.
    """
    probes = 1
    answer = await gateway.probe(resource, token)
    until = time.monotonic() + _REVOCATION_BOUND
    while answer.status_code != _UNAUTHORIZED and time.monotonic() < until:
        await asyncio.sleep(_PAUSE)
        probes += 1
        answer = await gateway.probe(resource, token)
    found = _refused(claim, answer)
    return found if probes == 1 else replace(found, seen=f"{found.seen}, after {probes} tries")


def _refused(claim: str, answer: httpx2.Response) -> Finding:
    return finding(claim, answer.status_code == _UNAUTHORIZED, _seen(answer))


def _seen(answer: httpx2.Response) -> str:
    return f"{answer.status_code} {answer.reason_phrase}".strip()


def _short(resource: str) -> str:
    return urlsplit(resource).path or resource


def _innermost(error: BaseException) -> str:
    """The message of the first error inside the exception groups of task groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
