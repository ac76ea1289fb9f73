"""Each client does what its users need, and what the gateway saw of it is the evidence."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from oauth_core.store import keyspace
from tests.clients.conftest import LIFETIME
from tests.clients.programs import ClientFailedError, Kind

if TYPE_CHECKING:
    from tests.clients.person import Person
    from tests.clients.table import Record
    from tests.support.gateway import RunningGateway

_CANNOT_STEP_UP = {"@modelcontextprotocol/sdk"}


def _events(gateway: RunningGateway, client_id: str, kind: str) -> list[dict[str, Any]]:
    """What the audit log says of one client, oldest first."""
    program = "ext_authz" if kind.startswith("access.") else "oauth_web"
    return [e for e in gateway.audit(program) if e.get("client_id") == client_id and e["event"] == kind]


def _count(gateway: RunningGateway, client_id: str, kind: str) -> int:
    return len(_events(gateway, client_id, kind))


def _client_id(person: Person) -> str:
    """The registration that the client came with. It is the same at every visit."""
    (client_id,) = {visit["client_id"] for visit in person.visits}
    return client_id


def _last_jti(gateway: RunningGateway, client_id: str) -> str:
    return str(_events(gateway, client_id, "access.allowed")[-1]["jti"])


async def test_a_client_finds_the_way_registers_signs_in_lists_and_calls(
    gateway: RunningGateway, kind: Kind, person: Person, record: Record
) -> None:
    url = gateway.resource("whoami")
    async with kind.connected(url, person) as client:
        told = await client.call("whoami")
        tools = client.tools
    (visit,) = person.visits
    assert visit["resource"] == url, "the resource that its metadata names (RFC 8707)"
    assert visit["scope"] == "mcp.whoami", "the scope that the challenge names"
    record.saw(kind, "discover")

    client_id = visit["client_id"]
    assert _count(gateway, client_id, "client.registered") == 1
    with gateway.operator_redis() as redis:
        method = json.loads(str(redis.get(keyspace.client(client_id))))["token_endpoint_auth_method"]
    record.saw(kind, "register", f"`{method}`")

    assert _count(gateway, client_id, "consent.given") == _count(gateway, client_id, "token.issued") == 1
    host = urlsplit(visit["redirect_uri"]).hostname
    record.saw(kind, "sign in", f"back to {host}, {'with' if 'state' in visit else 'without'} `state`")

    assert "whoami" in tools
    record.saw(kind, "list")

    assert told["user_name"] == "octocat"
    assert told["client_id"] == client_id
    assert told["token_scope"] == "mcp.whoami"
    assert told["authorization_arrived"] is False
    record.saw(kind, "call")


async def test_a_client_goes_on_after_its_token_expired(
    short_lived: RunningGateway, kind: Kind, person: Person, record: Record
) -> None:
    async with kind.connected(short_lived.resource("whoami"), person) as client:
        before = await client.call("whoami")
        client_id = _client_id(person)
        jti = _last_jti(short_lived, client_id)
        # The client's clock, too, must say that it is over: it counts from when it was told.
        await asyncio.sleep(LIFETIME + 1)
        with short_lived.operator_redis() as redis:
            assert not redis.exists(keyspace.token(jti))
        refreshed = _count(short_lived, client_id, "token.refreshed")
        assert await client.call("whoami") == before
    assert len(person.visits) == 1, "nobody had to sign in again"
    # Some refresh early, while we waited.
    assert _count(short_lived, client_id, "token.refreshed") > 0
    early = refreshed > 0 and not _count(short_lived, client_id, "access.denied")
    record.saw(kind, "refresh", "yes, before it expires" if early else "yes")


async def test_a_client_goes_on_after_its_token_was_revoked(
    gateway: RunningGateway, kind: Kind, person: Person, record: Record
) -> None:
    async with kind.connected(gateway.resource("whoami"), person) as client:
        before = await client.call("whoami")
        client_id = _client_id(person)
        with gateway.operator_redis() as redis:
            assert redis.delete(keyspace.token(_last_jti(gateway, client_id))) == 1
        assert await client.call("whoami") == before
    assert "revoked" in {event["reason"] for event in _events(gateway, client_id, "access.denied")}
    assert _client_id(person) == client_id, "by the same registration"
    if len(person.visits) == 1:
        assert _count(gateway, client_id, "token.refreshed") == 1
        record.saw(kind, "revoked", "yes, by refreshing")
    else:
        assert len(person.visits) == 2
        record.saw(kind, "revoked", "yes, by signing in again")


async def test_a_client_goes_on_after_everything_it_held_was_revoked(
    gateway: RunningGateway, kind: Kind, person: Person, record: Record
) -> None:
    async with kind.connected(gateway.resource("whoami"), person) as client:
        before = await client.call("whoami")
        client_id = _client_id(person)
        with gateway.operator_redis() as redis:
            grant_id = str(_events(gateway, client_id, "token.issued")[-1]["grant_id"])
            assert redis.delete(keyspace.token(_last_jti(gateway, client_id)), keyspace.grant(grant_id)) == 2
        after = await client.call("whoami")
    assert after["user_name"] == before["user_name"]
    assert len(person.visits) == 2, "the person was asked again"
    same = len({visit["client_id"] for visit in person.visits}) == 1
    record.saw(kind, "signed out", "yes" if same else "yes, and registers again")


async def test_a_client_asks_for_the_scope_that_it_lacks(
    gateway: RunningGateway, kind: Kind, person: Person, record: Record
) -> None:
    person.grant_only("mcp.other")
    url = gateway.resource("whoami")
    if kind.package in _CANNOT_STEP_UP:
        with pytest.raises(ClientFailedError, match="403"):
            await _connect_and_call(kind, url, person)
        assert _lacked_scope(gateway, person)
        assert len(person.visits) == 1
        record.saw(kind, "step up", "no: it refreshes, which cannot widen, and gives up")
        return
    told = await _connect_and_call(kind, url, person)
    assert _lacked_scope(gateway, person)
    assert len(person.visits) == 2
    assert "mcp.whoami" in person.visits[1]["scope"].split()
    assert "mcp.whoami" in told["token_scope"].split()
    record.saw(kind, "step up")


async def _connect_and_call(kind: Kind, url: str, person: Person) -> dict[str, Any]:
    async with kind.connected(url, person) as client:
        return await client.call("whoami")


def _lacked_scope(gateway: RunningGateway, person: Person) -> bool:
    denied = _events(gateway, _client_id(person), "access.denied")
    return "insufficient_scope" in {event["reason"] for event in denied}
