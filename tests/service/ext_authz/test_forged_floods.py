"""Floods of forged tokens: the source addresses of the flood bear the cost, and no other source's first call is
refused.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.support.authz_process import environ, running_authz
from tests.support.check_messages import check_request, read_answer
from tests.support.tokens import mint, new_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oauth_core.jose.signing_keys import SigningKey
    from tests.support.authz_process import AuthzProcess, Issue
    from tests.support.redis_server import RedisServer

FLOOD = 1400
HONEST = 40
_numbers = count()


@pytest.fixture(scope="module")
def besieged(redis: RedisServer) -> Iterator[AuthzProcess]:
    """One process, so that it receives the whole flood."""
    with running_authz(environ(redis)) as service:
        service.wait_for_health("SERVING")
        yield service


@pytest.fixture
def forged(key: SigningKey) -> list[str]:
    """Tokens that name the real key and are signed with another: each costs one verification."""
    forger = replace(new_key(), kid=key.kid)
    return [mint(forger, jti=f"forged-{next(_numbers)}") for _ in range(FLOOD)]


def _ipv4(addresses: int) -> Callable[[int], str]:
    return lambda number: f"203.0.113.{number % addresses}"


@pytest.mark.parametrize(
    "attacker",
    [_ipv4(4), _ipv4(8), lambda number: f"2001:db8:0:{number % 8}::{number:x}"],
    ids=["four addresses", "eight addresses", "all addresses of eight IPv6 networks"],
)
def test_first_uses_from_other_addresses_are_answered_during_a_flood(
    besieged: AuthzProcess, issue: Issue, forged: list[str], attacker: Callable[[int], str]
) -> None:
    tokens = [issue() for _ in range(HONEST)]
    flood = [
        besieged.start_check(check_request(token=token, source=attacker(number)))
        for number, token in enumerate(forged)
    ]
    honest = [
        besieged.start_check(check_request(token=token, source=f"198.51.100.{number}"))
        for number, token in enumerate(tokens)
    ]
    assert [read_answer(call.result()).status for call in honest] == [200] * HONEST
    for call in flood:
        call.cancel()
