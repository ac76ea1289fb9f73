"""Each client does what its users need; the gateway's record of it is the evidence."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from oauth_core.store import keyspace
from tests.support.authz_process import end_token, wait_for_news
from tests.system.clients.events import client_id_of, count, events, last_jti
from tests.system.clients.lifetime import AGENT_LIFETIME, LIFETIME
from tests.system.clients.programs import ClientFailedError

if TYPE_CHECKING:
    from tests.support.gateway import RunningGateway
    from tests.support.publisher import Publisher
    from tests.system.clients.kinds import Kind
    from tests.system.clients.person import Person
    from tests.system.clients.programs import ConnectedClient
    from tests.system.clients.table import Record

_PATIENCE = 60.0


def _forget(gateway: RunningGateway, client_id: str, *, registration: bool) -> None:
    """Delete the client's token and grant, and with `registration` its registration too."""
    grant_id = str(events(gateway, client_id, "token.issued")[-1]["grant_id"])
    keys = [keyspace.token(last_jti(gateway, client_id)), keyspace.grant(grant_id)]
    if registration:
        keys.append(keyspace.client(client_id))
    with gateway.operator_redis() as redis:
        assert redis.delete(*keys) == len(keys)
        wait_for_news(redis)


def _time(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["timestamp"])


async def test_a_client_discovers_registers_signs_in_lists_and_calls(
    gateway: RunningGateway, kind: Kind, person: Person, record: Record
) -> None:
    url = gateway.resource("whoami")
    async with kind.connected(url, person) as client:
        told = await client.call("whoami")
        tools = client.tools
    (visit,) = person.visits
    assert visit["resource"] == url, "the resource that its metadata names (RFC 8707)"
    assert visit.get("scope", "mcp.whoami") == "mcp.whoami", "the scope that the challenge names"
    record.saw(kind, "discover", "yes" if "scope" in visit else "yes, but requests no scope")

    client_id = visit["client_id"]
    if absent := kind.faults.get("register"):
        assert client_id.startswith("https://")
        record.saw(kind, "register", absent)
    else:
        assert count(gateway, client_id, "client.registered") == 1
        with gateway.operator_redis() as redis:
            place = keyspace.client(client_id)
            client_record = json.loads(gateway.record_key.open(place, str(redis.get(place))))
        method = client_record["token_endpoint_auth_method"]
        record.saw(kind, "register", f"`{method}`")

    # Clients with a vendor's document have the same id in every test.
    if client_id.startswith("https://"):
        assert count(gateway, client_id, "token.issued") >= 1
    else:
        assert count(gateway, client_id, "consent.given") == count(gateway, client_id, "token.issued") == 1
    host = urlsplit(visit["redirect_uri"]).hostname
    record.saw(kind, "sign in", f"back to {host}, {'with' if 'state' in visit else 'without'} `state`")

    assert "whoami" in tools
    record.saw(kind, "list")

    assert told["user_name"] == "octocat"
    assert told["client_id"] == client_id
    assert told["token_scope"] == "mcp.whoami"
    assert told["authorization_arrived"] is False
    record.saw(kind, "call")


async def test_a_client_can_use_its_metadata_document(
    gateway: RunningGateway, publisher: Publisher, kind: Kind, person: Person, record: Record
) -> None:
    if (absent := kind.faults.get("document", "")).startswith("-"):
        record.saw(kind, "document", absent)
        return
    hosts, paths = ("127.0.0.1", "localhost"), ("/callback", "/oauth/callback")
    document = publisher.client(
        f"/{kind.package}/client.json",
        client_name=kind.name,
        redirect_uris=[f"http://{host}{path}" for host in hosts for path in paths],
    )
    before = _registrations(gateway)
    async with kind.connected(gateway.resource("whoami"), person, document) as client:
        told = await client.call("whoami")
    assert told["client_id"] == client_id_of(person) == document
    assert _registrations(gateway) == before
    record.saw(kind, "document")


def _registrations(gateway: RunningGateway) -> int:
    return sum(event["event"] == "client.registered" for event in gateway.audit("oauth_web"))


async def test_a_client_continues_after_its_token_expired(
    request: pytest.FixtureRequest, kind: Kind, person: Person, record: Record
) -> None:
    gateway = request.getfixturevalue("short_lived_for_agents" if kind.is_agent else "short_lived")
    lifetime = AGENT_LIFETIME if kind.is_agent else LIFETIME
    async with kind.connected(gateway.resource("whoami"), person) as client:
        before = await client.call("whoami")
        client_id = client_id_of(person)
        jti = last_jti(gateway, client_id)
        # The client's own clock must also find it expired: it counts from the answer.
        await asyncio.sleep(lifetime + 1)
        with gateway.operator_redis() as redis:
            assert not redis.exists(keyspace.token(jti))
        assert await client.call("whoami") == before
    assert len(person.visits) == 1, "no person had to sign in again"
    # Some refresh early: their first token was still valid, however slow this machine is.
    (issued,) = events(gateway, client_id, "token.issued")
    refreshed, *_ = events(gateway, client_id, "token.refreshed")
    early = (_time(refreshed) - _time(issued)).total_seconds() < lifetime
    record.saw(kind, "refresh", "yes, before it expires" if early else "yes")


async def test_a_client_continues_after_its_token_was_revoked(
    gateway: RunningGateway, kind: Kind, person: Person, record: Record
) -> None:
    async with kind.connected(gateway.resource("whoami"), person) as client:
        before = await client.call("whoami")
        client_id = client_id_of(person)
        refreshed = count(gateway, client_id, "token.refreshed")
        with gateway.operator_redis() as redis:
            end_token(redis, last_jti(gateway, client_id))
        after = await client.call_signed_in("whoami")
    assert after["user_name"] == before["user_name"]
    assert "revoked" in {event["reason"] for event in events(gateway, client_id, "access.denied")}
    if len(person.visits) == 1:
        assert count(gateway, client_id, "token.refreshed") == refreshed + 1
        record.saw(kind, "revoked", "yes, by refreshing")
        return
    assert len(person.visits) == 2
    again = person.visits[1]["client_id"] != client_id
    record.saw(kind, "revoked", f"yes, by {'registering and ' if again else ''}signing in again")


async def test_a_client_continues_after_all_its_tokens_were_revoked(
    gateway: RunningGateway, kind: Kind, person: Person, record: Record
) -> None:
    async with kind.connected(gateway.resource("whoami"), person) as client:
        before = await client.call("whoami")
        client_id = client_id_of(person)
        _forget(gateway, client_id, registration=False)
        after = await client.call_signed_in("whoami")
    assert after["user_name"] == before["user_name"]
    assert len(person.visits) == 2, "the person was asked again"
    same = len({visit["client_id"] for visit in person.visits}) == 1
    record.saw(kind, "signed out", "yes" if same else "yes, and registers again")


async def test_a_client_continues_after_its_registration_was_deleted(
    gateway: RunningGateway, kind: Kind, person: Person, record: Record
) -> None:
    fault = kind.faults.get("forgotten", "")
    if fault.startswith("-"):
        record.saw(kind, "forgotten", fault)
        return
    async with kind.connected(gateway.resource("whoami"), person) as client:
        await client.call("whoami")
        client_id = client_id_of(person)
        _forget(gateway, client_id, registration=True)
        if fault:
            await _turned_away(client, person)
            assert client_id_of(person) == client_id
            record.saw(kind, "forgotten", fault)
            return
        told = await client.call_signed_in("whoami")
    assert told["user_name"] == "octocat"
    assert told["client_id"] != client_id, "it registered again"
    assert count(gateway, told["client_id"], "client.registered") == 1
    record.saw(kind, "forgotten")


async def test_a_client_requests_a_missing_scope(
    gateway: RunningGateway, kind: Kind, person: Person, record: Record
) -> None:
    if "step up" in kind.not_run:
        pytest.skip("it is not known yet whose fault it is when this step fails")
    # The person grants a scope that is sufficient for one tool only, so the first request with it is refused
    # with 403.
    person.grant_only("mcp.guarded.admin")
    url = gateway.resource("guarded")
    how = kind.faults.get("step up", "yes")
    both = {"mcp.guarded.admin", "mcp.guarded.read"}
    if how == "yes":
        told = await _connect_and_call(kind, url, person)
        assert both <= set(person.visits[-1]["scope"].split()), "the present and the missing scope"
        assert len(person.visits) == 2
        assert both <= set(told["token_scope"].split())
    else:
        with pytest.raises(ClientFailedError):
            await _connect_and_call(kind, url, person)
        if "refreshes" in how:
            assert count(gateway, client_id_of(person), "token.refreshed") > 0
        if "signs in again" in how:
            await _connect_and_call(kind, url, person)
        else:
            assert len(person.visits) == 1, "it requested no more"
    assert _lacked_scope(gateway, person) is ("tools of its list" not in how)
    record.saw(kind, "step up", how)


async def _turned_away(client: ConnectedClient, person: Person) -> None:
    """Call a tool, and check that the person gets a page that explains the error. The client continues to wait."""
    call = asyncio.create_task(client.call("whoami"))
    deadline = time.monotonic() + _PATIENCE
    while person.turned_away is None:
        assert not call.done()
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert "/authorize answered 400" in person.turned_away
    call.cancel()
    await asyncio.wait([call])


async def _connect_and_call(kind: Kind, url: str, person: Person) -> dict[str, Any]:
    async with kind.connected(url, person) as client:
        return await client.call_signed_in("whoami")


def _lacked_scope(gateway: RunningGateway, person: Person) -> bool:
    denied = events(gateway, person.visits[0]["client_id"], "access.denied")
    return "insufficient_scope" in {event["reason"] for event in denied}
