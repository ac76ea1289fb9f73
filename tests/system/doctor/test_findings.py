"""The doctor finds exactly the broken parts: a gateway with one fault fails exactly these checks."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import httpx2
import pytest

from portcullis.cli.operator_settings import operator_settings
from portcullis.doctor.browsers import LocalBrowser
from portcullis.doctor.checks import examine
from portcullis.doctor.findings import Finding, Outcome
from portcullis.doctor.forge import Forger
from portcullis.doctor.gateway import discover
from tests.system.doctor import faults
from tests.system.doctor.front_envoy import front_envoy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.gateway import RunningGateway
    from tests.system.doctor.front_envoy import Json

DESCRIBES = "the authorization server's metadata matches its address"
METADATA = "/whoami/mcp has metadata that names this authorization server"
STRANGERS = {
    f"/{name}/mcp answers a call without a token with 401 and its metadata URL" for name in ("time", "whoami")
}
SIGN_IN = "a real MCP client signs in and lists the tools"
FORGED_ALONE = "identity headers without a token are refused"
FORGED_BESIDE = "identity headers that the caller sent never reach a service"
AUDIENCE = "a token for another audience is refused at /whoami/mcp"
EXPIRED = "an expired token is refused"
RECORDS = "Redis keeps records through a restart, and evicts none"
ADDRESSES = "the authorization server counts callers by their own address"
DOCUMENTS = "documents of well-known clients can be fetched, or need not be"
TAMPERED = "a token with a changed payload is refused"
UNSIGNED = "a token without a signature is refused"
QUERY = "a token in the query string is refused"
FOREIGN_HOST = "a foreign host is refused, even with a valid token"
SPELLING = "without a token /TIME/MCP is refused"
REGISTRATION_TOKEN = "a registration token is refused at a service"
OTHER_REALM = "an access token is refused where a client manages its registration"
DELETES = "a client can delete its registration"
ENDS = "its token is refused within a second"


async def _examined(gateway: RunningGateway, *, forging: bool = True) -> list[Finding]:
    forger = Forger(operator_settings(None, gateway.state_dir, {})) if forging else None
    try:
        async with httpx2.AsyncClient(timeout=60.0) as http:
            patient = await discover(gateway.url, http)
            return [finding async for finding in examine(patient, LocalBrowser("octocat"), forger)]
    finally:
        if forger is not None:
            await forger.aclose()


async def _about_records(gateway: RunningGateway) -> Finding:
    """The one finding about records, which is made before any sign-in."""
    forger = Forger(operator_settings(None, gateway.state_dir, {}))
    async with (
        httpx2.AsyncClient(timeout=60.0) as http,
        aclosing(examine(await discover(gateway.url, http), LocalBrowser("octocat"), forger)) as findings,
    ):
        async for finding in findings:
            if finding.claim == RECORDS:
                break
    await forger.aclose()
    return finding


def _with(outcome: Outcome, findings: list[Finding]) -> set[str]:
    return {finding.claim for finding in findings if finding.outcome is outcome}


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        (faults.none, set()),
        # Without a check there is no identity either.
        (faults.any_token, {AUDIENCE, EXPIRED, TAMPERED, UNSIGNED, REGISTRATION_TOKEN, ENDS, FORGED_BESIDE}),
        (faults.token_in_query, {QUERY}),
        (faults.identity_is_enough, {FORGED_ALONE, FORGED_BESIDE}),
        (faults.identity_passes, {FORGED_BESIDE}),
        (faults.no_identity, {FORGED_BESIDE}),
        (faults.token_passes, {FORGED_BESIDE}),
        (faults.foreign_hosts, {FOREIGN_HOST}),
        (faults.loose_path, {SPELLING}),
        (faults.no_way_out, {DOCUMENTS}),
        (faults.no_address, {ADDRESSES}),
        (faults.callers_choose_their_address, {ADDRESSES}),
        (faults.no_challenge, STRANGERS),
        (faults.no_pkce, {DESCRIBES}),
        (faults.anybody_manages, {OTHER_REALM}),
        (faults.nothing_is_deleted, {ENDS}),
        (faults.no_deletion, {DELETES, ENDS}),
    ],
)
async def test_each_fault_fails_its_own_checks_and_no_other(
    gateway: RunningGateway, fault: Callable[[Json], None], broken: set[str]
) -> None:
    with front_envoy(gateway, fault):
        findings = await _examined(gateway)
    assert _with(Outcome.BROKEN, findings) == broken
    assert not _with(Outcome.UNTRIED, findings)
    assert len(findings) >= 28


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        (faults.no_check, {*STRANGERS, SIGN_IN}),
        (faults.other_issuer, {DESCRIBES, SIGN_IN}),
        (faults.other_authorization_server, {METADATA}),
        (faults.no_tokens, {SIGN_IN}),
    ],
)
async def test_a_gateway_where_clients_cannot_sign_in_fails(
    gateway: RunningGateway, fault: Callable[[Json], None], broken: set[str]
) -> None:
    """If the sign-in itself fails, the examination ends there."""
    with front_envoy(gateway, fault):
        findings = await _examined(gateway)
    assert broken <= _with(Outcome.BROKEN, findings)


async def test_without_the_gateways_keys_only_the_checks_that_need_them_are_untried(
    gateway: RunningGateway,
) -> None:
    with front_envoy(gateway, faults.none):
        findings = await _examined(gateway, forging=False)
    assert _with(Outcome.UNTRIED, findings) == {EXPIRED, RECORDS}
    assert not _with(Outcome.BROKEN, findings)


@pytest.mark.parametrize(
    ("setting", "bad", "good", "seen"),
    [
        ("appendonly", "no", "yes", "set appendonly yes, or a restart signs all people out"),
        ("maxmemory-policy", "allkeys-lru", "noeviction", "evicts records when memory runs out"),
    ],
)
async def test_a_redis_that_would_lose_records_is_reported(
    gateway: RunningGateway, setting: str, bad: str, good: str, seen: str
) -> None:
    with front_envoy(gateway, faults.none), gateway.operator_redis() as redis:
        redis.config_set(setting, bad)
        try:
            finding = await _about_records(gateway)
        finally:
            redis.config_set(setting, good)
        assert finding.outcome is Outcome.BROKEN
        assert seen in finding.seen
        assert (await _about_records(gateway)).outcome is Outcome.HOLDS


@pytest.mark.parametrize("fault", [faults.none, faults.no_tokens])
async def test_the_doctor_leaves_no_registration_behind(
    gateway: RunningGateway, fault: Callable[[Json], None]
) -> None:
    with gateway.operator_redis() as redis:
        before = set(redis.scan_iter("client:*"))
        with front_envoy(gateway, fault):
            await _examined(gateway)
        assert set(redis.scan_iter("client:*")) == before
