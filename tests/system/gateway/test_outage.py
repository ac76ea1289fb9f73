"""Redis does not answer: every request is checked, a valid token is not reported as invalid, and
the outage ends.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.mcp_clients import probe
from tests.support.outages import silent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2
    from redis import Redis

    from tests.support.gateway import RunningGateway
    from tests.support.oauth_client import OAuthClient

_PATIENCE = 60.0
_IN_A_ROW = 20


async def _answers_until_ok(http: httpx2.AsyncClient, resource: str, token: str) -> AsyncIterator[httpx2.Response]:
    """The answers to repeated requests, up to the first success."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        answer = await probe(http, resource, token)
        yield answer
        if answer.is_success:
            return
        assert time.monotonic() < deadline, answer.text
        await asyncio.sleep(0.05)


async def _refusals(http: httpx2.AsyncClient, resource: str, token: str) -> list[httpx2.Response]:
    """Send requests until many refusals follow one another, and return these.

    One alone proves little: on a slow machine a check can take too long while the token is still cached, and
    one worker detects the silence before another.
    """
    deadline = time.monotonic() + _PATIENCE
    refusals: list[httpx2.Response] = []
    while len(refusals) < _IN_A_ROW:
        answer = await probe(http, resource, token)
        refusals = [] if answer.is_success else [*refusals, answer]
        assert refusals or time.monotonic() < deadline, "the silence was not detected"
        await asyncio.sleep(0.05)
    return refusals


@pytest.fixture
async def token(gateway: RunningGateway, oauth: OAuthClient) -> str:
    """A valid token for `/whoami/mcp`."""
    registration = await oauth.register()
    return str((await oauth.tokens(registration.client_id, resource=gateway.resource("whoami")))["access_token"])


@pytest.mark.requirement("complaints:glycemicgpt-720")
async def test_while_redis_is_silent_tokens_get_503_with_retry_after_and_never_401(
    gateway: RunningGateway, redis: Redis, http: httpx2.AsyncClient, token: str
) -> None:
    resource = gateway.resource("whoami")
    assert (await probe(http, resource, token)).status_code == 200

    with silent(redis):
        # A cached status is used until the silence has lasted for the bound, and not longer.
        outage = await _refusals(http, resource, token)
    answers = [answer async for answer in _answers_until_ok(http, resource, token)]

    outage += answers[:-1]
    recovered = answers[-1]
    assert {answer.status_code for answer in outage} == {503}
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in outage)
    assert all("WWW-Authenticate" not in answer.headers for answer in outage)
    assert recovered.status_code == 200


async def test_while_redis_is_silent_a_request_without_a_token_still_gets_401(
    gateway: RunningGateway, redis: Redis, http: httpx2.AsyncClient, token: str
) -> None:
    resource = gateway.resource("whoami")
    with silent(redis):
        assert (await probe(http, resource)).status_code == 401
    assert [answer.status_code async for answer in _answers_until_ok(http, resource, token)][-1] == 200
