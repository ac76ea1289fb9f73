"""Limits on the fetches that unknown clients cause: few for each address, and none at the cost of
other clients.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from oauth_core.crypto.credentials import hash_secret
from oauth_core.store import keyspace
from oauth_web.client_documents.budgets import NEW_OF_ONE_HOST
from tests.support.assertions import as_form, signed
from tests.support.master_key import age_documents
from tests.support.oauth_client import OAuthClient, Pkce
from tests.support.publisher import Page, Publisher, running_publisher
from tests.support.web_process import WebServer, another_web, running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx2

CHALLENGE = Pkce.fresh().challenge


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with running_publisher() as publisher:
        yield publisher


async def asked(client: OAuthClient, client_id: str) -> httpx2.Response:
    return await client.http.get(client.authorize_url(client_id, CHALLENGE))


def age(web: WebServer) -> None:
    """Make every copy stale."""
    then = int(time.time()) - 3600
    with web.redis.client() as redis:
        age_documents(redis, then)


@pytest.fixture(scope="module")
def besieged_web(publisher: Publisher) -> Iterator[WebServer]:
    """A server that the tests attack."""
    settings = {
        "CLIENT_DOCUMENTS_CA_FILE": str(publisher.ca_file),
        "ALLOW_LOOPBACK_CLIENT_DOCUMENTS": "true",
    }
    with running_web(settings) as server:
        yield server


@asynccontextmanager
async def at_address(server: WebServer, address: str) -> AsyncIterator[OAuthClient]:
    """A client that is counted under this address, on a server whose counts are zero."""
    async with OAuthClient(server.issuer) as client:
        client.http.headers["X-Portcullis-Address"] = address
        yield client


@pytest.fixture
def besieged(besieged_web: WebServer) -> WebServer:
    with besieged_web.redis.client() as redis:
        for pattern in ("rate:*", "document-fetches:*"):
            for key in redis.scan_iter(pattern):
                redis.delete(key)
    return besieged_web


@pytest.mark.requirement("mcp:cimd-abuse")
async def test_an_address_may_cause_ten_fetches_from_a_host_and_blocks_no_other_address(
    publisher: Publisher, besieged: WebServer
) -> None:
    known, new = publisher.client("/busy/known.json"), publisher.client("/busy/new.json")
    async with at_address(besieged, "198.51.100.1") as honest, at_address(besieged, "203.0.113.66") as stranger:
        assert (await asked(honest, known)).status_code == 200
        answers = [await asked(stranger, publisher.url(f"/made-up/{number}")) for number in range(70)]
        assert [answer.status_code for answer in answers] == [503] * 10 + [429] * 60
        assert all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in answers[10:])
        assert sum(path.startswith("/made-up/") for path, _ in publisher.asked) == 10
        age(besieged)
        assert (await asked(honest, known)).status_code == 200
        assert (await asked(honest, new)).status_code == 200


async def test_fetches_of_new_documents_of_a_host_are_limited_and_its_known_clients_still_sign_in(
    publisher: Publisher, besieged: WebServer
) -> None:
    known = publisher.client("/many/known.json")
    async with at_address(besieged, "198.51.100.1") as honest:
        assert (await asked(honest, known)).status_code == 200
        with besieged.redis.client() as redis:  # as after thirty addresses with ten made-up URLs each
            redis.set(keyspace.document_fetches(hash_secret(f"new {publisher.host}")), NEW_OF_ONE_HOST, ex=60)
        assert (await asked(honest, publisher.client("/many/new.json"))).status_code == 429
        assert publisher.times_asked("/many/new.json") == 0
        age(besieged)
        before = publisher.times_asked("/many/known.json")
        assert (await asked(honest, known)).status_code == 200
        assert publisher.times_asked("/many/known.json") == before + 1, (
            "fetched again, not only read from the copy"
        )


async def test_silent_hosts_hold_few_fetches_of_one_address_and_none_of_another(
    publisher: Publisher, besieged: WebServer
) -> None:
    gates = [threading.Event() for _ in range(12)]
    for number, gate in enumerate(gates):
        publisher.pages[f"/silent/{number}"] = Page(b"{}", gate=gate)
    new = publisher.client("/beside/silent.json")
    async with at_address(besieged, "198.51.100.1") as honest, at_address(besieged, "203.0.113.66") as stranger:
        held = [asyncio.create_task(asked(stranger, publisher.url(f"/silent/{n}"))) for n in range(12)]
        done, waiting = await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result().status_code for task in done} == {429}
        assert (await asked(honest, new)).status_code == 200
        await asyncio.wait(waiting)
        statuses = sorted(task.result().status_code for task in held)
        for gate in gates:
            gate.set()
    assert statuses == [429] * 8 + [503] * 4


async def test_fetches_are_counted_at_every_endpoint_and_a_refused_fetch_is_not_remembered(
    publisher: Publisher, besieged: WebServer
) -> None:
    good = publisher.client("/counted/good.json")
    with another_web(besieged, {"DOCUMENT_FETCHES_PER_ADDRESS": "4"}) as address:
        async with OAuthClient(address) as client:
            client.http.headers["X-Portcullis-Address"] = "203.0.113.66"

            async def sent(path: str, number: int) -> int:
                form = {"client_id": publisher.url(f"/counted/{path}/{number}"), "token": "x"}
                return (await client.http.post(f"{address}/{path}", data=form)).status_code

            for path in ("token", "revoke", "introspect", "device_authorization"):
                assert await sent(path, 1) == 503
            for path in ("token", "revoke", "introspect", "device_authorization"):
                assert await sent(path, 2) == 429
            refused = await asked(client, good)
            assert refused.status_code == 429
            assert refused.headers["Content-Type"].startswith("text/html")
            client.http.headers["X-Portcullis-Address"] = "198.51.100.1"
            assert (await asked(client, good)).status_code == 200


async def test_fetches_of_keys_of_a_registered_client_are_counted_too(
    publisher: Publisher, besieged: WebServer
) -> None:
    async with at_address(besieged, "203.0.113.66") as client:
        statuses = []
        for number in range(12):
            registration = await client.register(
                client_name=f"Client {number}",
                token_endpoint_auth_method="private_key_jwt",
                jwks_uri=publisher.url(f"/no-keys/{number}"),
            )
            form = as_form(signed(registration.client_id, besieged.issuer))
            answer = await client.http.post(f"{besieged.issuer}/token", data=form)
            statuses.append(answer.status_code)
    assert statuses == [503] * 10 + [429] * 2
