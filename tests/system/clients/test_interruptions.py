"""Each client continues after an interruption: of the client, of Redis, and of the gateway.

Only `CLIENTS=…` runs these steps: CI has no time for them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support.authz_process import end_token
from tests.support.mcp_clients import probe
from tests.support.oauth_client import OAuthClient
from tests.support.outages import silent
from tests.support.processes import command_line, descendants_of
from tests.system.clients.events import client_id_of, count, events, last_jti
from tests.system.clients.kinds import SELECTION
from tests.system.clients.programs import ClientFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.gateway import RunningGateway
    from tests.system.clients.kinds import Kind
    from tests.system.clients.person import Person
    from tests.system.clients.table import Record

pytestmark = pytest.mark.skipif(not SELECTION, reason="only with CLIENTS=all, or with names of clients")

_PATIENCE = 60.0
_PROGRAMS = ("ext_authz", "oauth_web", "example-server")


@pytest.fixture
async def own_token(gateway: RunningGateway) -> str:
    """A token of the test itself, with which it sees what the gateway answers."""
    async with OAuthClient(gateway.url) as http:
        registration = await http.register()
        tokens = await http.tokens(registration.client_id, resource=gateway.resource("whoami"))
    return str(tokens["access_token"])


async def _until_answered(gateway: RunningGateway, token: str, *statuses: int) -> None:
    """Wait until the gateway answers a request with one of `statuses`."""
    deadline = time.monotonic() + _PATIENCE
    async with httpx2.AsyncClient(timeout=60.0) as http:
        while (status := (await probe(http, gateway.resource("whoami"), token)).status_code) not in statuses:
            assert time.monotonic() < deadline, f"still {status}"
            await asyncio.sleep(0.05)


async def test_a_client_that_is_started_again_needs_no_person(
    gateway: RunningGateway, kind: Kind, person: Person, record: Record
) -> None:
    async with kind.connected(gateway.resource("whoami"), person) as client:
        before = await client.call("whoami")
    async with kind.connected(gateway.resource("whoami"), person) as client:
        assert await client.call("whoami") == before
    assert len(person.visits) == 1
    record.saw(kind, "started again")


async def test_a_client_keeps_its_credentials_while_redis_is_away(
    gateway: RunningGateway, kind: Kind, person: Person, own_token: str, record: Record
) -> None:
    async with kind.connected(gateway.resource("whoami"), person) as client:
        before = await client.call("whoami")
        with gateway.operator_redis() as redis, silent(redis):
            await _until_answered(gateway, own_token, 503)
            call = asyncio.create_task(client.call("whoami"))
            # Most give up at once; some try again for a while.
            await asyncio.wait([call], timeout=5.0)
        await _until_answered(gateway, own_token, 200)
        gave_up = await _settled(call)
        how = "yes"
        if gave_up:
            try:
                after = await client.call("whoami")
            except ClientFailedError:
                how = "yes, after it is started again"
                async with kind.connected(gateway.resource("whoami"), person) as again:
                    after = await again.call("whoami")
            assert after == before
    assert len(person.visits) == 1, "it kept its credentials"
    record.saw(kind, "Redis away", how)


async def _settled(call: asyncio.Task[dict[str, Any]]) -> bool:
    """Whether the call failed. It waits for its end."""
    try:
        await call
    except ClientFailedError:
        return True
    return False


async def test_a_client_continues_after_the_gateway_was_restarted(
    gateway: RunningGateway, kind: Kind, person: Person, own_token: str, record: Record
) -> None:
    async with kind.connected(gateway.resource("whoami"), person) as client:
        before = await client.call("whoami")
        for pid in _processes(gateway):
            os.kill(pid, signal.SIGKILL)
        await _until_answered(gateway, own_token, 200)
        how = "yes"
        try:
            after = await client.call("whoami")
        except ClientFailedError:
            how = "yes, after it is started again"
            async with kind.connected(gateway.resource("whoami"), person) as again:
                after = await again.call("whoami")
        assert after == before
    assert len(person.visits) == 1
    record.saw(kind, "restart", how)


def _processes(gateway: RunningGateway) -> Iterator[int]:
    """The two programs of the gateway and the services behind it."""
    for pid in descendants_of(gateway.process.pid):
        if any(program in command_line(pid) for program in _PROGRAMS):
            yield pid


async def test_four_processes_share_one_credential(
    gateway: RunningGateway, kind: Kind, person: Person, record: Record
) -> None:
    if "four at once" in kind.not_run:
        pytest.skip("it is not known yet whose fault it is when this step fails")
    url = gateway.resource("whoami")
    async with kind.connected(url, person) as client:
        before = await client.call("whoami")
    client_id = client_id_of(person)
    with gateway.operator_redis() as redis:
        end_token(redis, last_jti(gateway, client_id))

    async def start_and_call() -> dict[str, Any]:
        async with kind.connected(url, person) as client:
            return await client.call("whoami")

    told = await asyncio.gather(*(start_and_call() for _ in range(4)))
    assert {answer["user_name"] for answer in told} == {before["user_name"]} == {"octocat"}
    assert not events(gateway, client_id, "refresh.reused"), "no refresh token was taken for a stolen one"
    again = len(person.visits) > 1
    assert again or count(gateway, client_id, "token.refreshed") >= 1
    record.saw(kind, "four at once", "yes, by signing in again" if again else "yes, by refreshing")
