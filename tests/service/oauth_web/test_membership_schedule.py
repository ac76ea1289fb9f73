"""The membership schedule, without any refresh: people who left lose their access, and people who changed teams
get other tokens (row R10).
"""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from oauth_core.store.records.leases import LeaseBackOff, LeaseStore
from oauth_web.login import membership_schedule
from tests.support.oauth_client import OAuthClient, Pkce
from tests.support.ports import free_port
from tests.support.web_process import WebServer, another_web, running_web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.asyncio import Redis

OFTEN = {"MEMBERSHIP_CHECK_INTERVAL": "1"}


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """Allows members of acme, and octocat. It checks at refreshes only; other processes run the schedule."""
    settings = {"ALLOWED_GITHUB_USERS": "octocat", "ALLOWED_GITHUB_ORGS": "acme", "MEMBERSHIP_CHECK_INTERVAL": "0"}
    with running_web({**settings, "ALLOWED_GITHUB_TEAMS": "acme/platform"}) as server:
        yield server


@pytest.fixture(autouse=True)
def _everybody_where_they_were(web: WebServer) -> Iterator[None]:
    yield
    web.now_at_github({})
    with web.redis.client() as redis:
        redis.delete("lease-rest:membership-check", "lease:membership-check")


async def signed_in(web: WebServer, login: str) -> tuple[str, dict[str, Any]]:
    async with OAuthClient(web.issuer) as client:
        registration, pkce = await client.register(), Pkce.fresh()
        came_back = await client.authorize(client.authorize_url(registration.client_id, pkce.challenge), login)
        answer = await client.redeem(registration.client_id, came_back["code"], pkce.verifier)
        return registration.client_id, answer.json()


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def lives(redis: Redis, tokens: dict[str, Any]) -> bool:
    return bool(await redis.exists(f"token:{claims_of(tokens['access_token'])['jti']}"))


async def dies(redis: Redis, tokens: dict[str, Any]) -> None:
    async with asyncio.timeout(60):
        while await lives(redis, tokens):
            pass


async def checked(redis: Redis) -> None:
    """A check has ended since the call."""
    await redis.delete("lease-rest:membership-check")
    async with asyncio.timeout(60):
        while not await redis.exists("lease-rest:membership-check"):
            pass


async def refreshed(web: WebServer, client_id: str, tokens: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    async with OAuthClient(web.issuer) as client:
        answer = await client.refresh(client_id, tokens["refresh_token"])
        return answer.status_code, answer.json()


@contextmanager
def events(web: WebServer) -> Iterator[list[dict[str, Any]]]:
    """A list that has, after the block, the events that other processes recorded meanwhile."""
    before = set(web.log.parent.glob("another-*.log"))
    found: list[dict[str, Any]] = []
    yield found
    for log in set(web.log.parent.glob("another-*.log")) - before:
        found += [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


async def test_a_person_who_leaves_the_organisation_loses_all_access_without_a_refresh(
    web: WebServer, redis: Redis
) -> None:
    client_id, leaver = await signed_in(web, "marek")
    _, other = await signed_in(web, "octavia")
    _, named = await signed_in(web, "octocat")
    with events(web) as recorded, another_web(web, OFTEN):
        await checked(redis)
        assert await lives(redis, leaver)
        web.now_at_github({"marek": {}})
        await dies(redis, leaver)
        await checked(redis)
        assert await lives(redis, other)
        assert await lives(redis, named)
    assert (await refreshed(web, client_id, leaver))[0] == 400
    ended = [event for event in recorded if event["event"] == "grant.revoked"]
    assert {(event["user"], event["client_id"]) for event in ended} == {("marek", client_id)}


async def test_a_person_who_changes_teams_stays_signed_in_and_gets_tokens_with_the_new_teams(
    web: WebServer, redis: Redis
) -> None:
    client_id, tokens = await signed_in(web, "marek")
    assert claims_of(tokens["access_token"])["groups"] == ["acme", "acme/platform"]
    with another_web(web, OFTEN):
        web.now_at_github({"marek": {"acme": ["on-call"]}})
        await dies(redis, tokens)
    status, fresh = await refreshed(web, client_id, tokens)
    assert status == 200
    assert claims_of(fresh["access_token"])["groups"] == ["acme"]


async def test_a_person_who_revoked_the_app_at_github_loses_the_access_it_gave(
    web: WebServer, redis: Redis
) -> None:
    _, tokens = await signed_in(web, "marek")
    with another_web(web, OFTEN):
        web.now_at_github({"marek": None})
        await dies(redis, tokens)


async def test_an_outage_of_github_ends_nothing(web: WebServer, redis: Redis) -> None:
    held = [(await signed_in(web, login))[1] for login in ("marek", "octavia", "octocat")]
    with another_web(web, {**OFTEN, "GITHUB_API_URL": f"http://127.0.0.1:{free_port()}"}):
        await checked(redis)
        await checked(redis)
    assert all([await lives(redis, tokens) for tokens in held])


async def test_a_process_with_other_rules_checks_at_the_start_and_one_with_the_same_rules_waits(
    web: WebServer, redis: Redis
) -> None:
    daily = {"MEMBERSHIP_CHECK_INTERVAL": "86400"}
    _, tokens = await signed_in(web, "octocat")
    with another_web(web, daily):
        await checked(redis)
    # The check is not due for a day, and this holds for a process with the same rules.
    await redis.set("lease:membership-check", "somebody", px=60_000)
    with another_web(web, daily):
        pass
    assert await lives(redis, tokens)
    await redis.delete("lease:membership-check")
    with another_web(web, {**daily, "ALLOWED_GITHUB_USERS": "somebody-else"}):
        await dies(redis, tokens)


async def test_one_process_at_a_time_checks_and_another_continues_after_its_end(redis: Redis) -> None:
    one, other = LeaseStore(redis, holder="one"), LeaseStore(redis, holder="other")
    work = membership_schedule.WORK
    assert await one.acquire(work, seconds=60)
    assert not await other.acquire(work, seconds=60)
    assert not await other.extend(work, seconds=60)
    await other.release(work)
    assert not await other.acquire(work, seconds=60), "a process cannot release another's lease"
    assert await one.extend(work, seconds=0.05)
    async with asyncio.timeout(60):
        while not await other.acquire(work, seconds=60):
            pass
    assert not await one.extend(work, seconds=60)
    await other.back_off(work, LeaseBackOff("rules", 60))
    resting = await one.back_off_of(work)
    assert resting is not None
    assert resting.under == "rules"
