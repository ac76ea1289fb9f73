"""Two replicas of everything, Redis behind Sentinels: what callers see when one is killed, and when all are
replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.programs import until
from tests.support.redis_groups import running_sentinels
from tests.system.availability.load import CALLERS, Load, assert_bounded, loading
from tests.system.availability.site import PASSWORD, USERS, Site, running_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_groups import SentinelGroup
    from tests.system.availability.table import Record

_ASKING_TO_SIGN_IN = 2
"""Callers that refresh or discover, and so the largest number of simultaneous requests at the authorization
server.
"""


@pytest.fixture(scope="module")
def group() -> Iterator[SentinelGroup]:
    """Two servers and three Sentinels."""
    with running_sentinels(password=PASSWORD, users=USERS) as servers:
        yield servers


@pytest.fixture(scope="module")
def site(group: SentinelGroup) -> Iterator[Site]:
    """Two replicas of each program and two Envoys. Tests leave it unchanged."""
    with running_site(group) as site:
        yield site


@pytest.fixture(scope="module")
def load(site: Site) -> Iterator[Load]:
    """Callers that run through all of these tests."""
    with loading(site, events=6) as load:
        yield load


def test_a_killed_check_service_costs_only_the_calls_in_progress(site: Site, load: Load, record: Record) -> None:
    port, replica = next(iter(site.checks.items()))
    account = load.during(replica.kill)
    site.begin_again(port)
    assert_bounded(account)
    assert account.failed("call").total() <= CALLERS
    assert not account.failed("refresh", "discovery")
    record.saw("ext_authz", account)


def test_a_silent_check_service_is_bypassed(site: Site, load: Load, record: Record) -> None:
    port, replica = next(iter(site.checks.items()))

    def freeze() -> None:
        replica.freeze()
        until(lambda: not any(envoy.believes_in(port) for envoy in site.envoys), "the Envoys to pass it over")

    account = load.during(freeze)
    replica.thaw()
    until(lambda: all(envoy.believes_in(port) for envoy in site.envoys), "the Envoys to come back to it")
    assert_bounded(account)
    assert not account.failed("refresh", "discovery")
    record.saw("frozen", account)


def test_a_killed_authorization_server_costs_only_the_requests_in_progress(
    site: Site, load: Load, record: Record
) -> None:
    port, replica = next(iter(site.webs.items()))
    account = load.during(replica.kill)
    site.begin_again(port)
    assert_bounded(account)
    assert not account.failed("call")
    assert account.failed("refresh", "discovery").total() <= _ASKING_TO_SIGN_IN
    record.saw("oauth_web", account)


def test_a_killed_envoy_costs_only_the_requests_in_progress(site: Site, load: Load, record: Record) -> None:
    envoy = site.envoys[0]
    account = load.during(envoy.replica.kill)
    envoy.replica.start()
    envoy.replica.wait_until_ready()
    assert_bounded(account)
    assert account.failed("call", "refresh", "discovery").total() <= CALLERS + _ASKING_TO_SIGN_IN
    record.saw("envoy", account)


def test_all_programs_can_be_replaced_one_after_the_other_without_a_failed_request(
    site: Site, load: Load, record: Record
) -> None:
    def replace() -> None:
        for port, replica in (site.checks | site.webs).items():
            assert replica.stop() == 0
            site.begin_again(port)
        for envoy in site.envoys:
            envoy.takes_callers = False
            until(envoy.is_idle, "an Envoy to be idle")
            envoy.replica.stop()
            envoy.replica.start()
            envoy.replica.wait_until_ready()
            envoy.takes_callers = True

    account = load.during(replace)
    assert_bounded(account)
    assert not account.failed("call", "refresh", "discovery")
    record.saw("rolling", account)


def test_callers_wait_for_a_new_primary_and_then_continue(
    group: SentinelGroup, load: Load, record: Record
) -> None:
    def kill() -> None:
        with group.client() as client:
            client.set("written", "all")
            assert client.wait(1, 60_000) == 1  # so that earlier revocations are on the replica too
        old = group.primary()
        old.kill()
        group.wait_for_failover(old)

    account = load.during(kill)
    assert_bounded(account, lost_writes=1)
    record.saw("sentinel", account)
