"""The verified-token cache: a token is verified once, and is never valid longer than a new verification would
allow.
"""

from __future__ import annotations

import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from ext_authz.decision.allow_response import AllowResponses
from ext_authz.decision.verified_token_cache import VerifiedTokenCache
from oauth_core.jose.signing_keys import SigningKey, VerifyingKeys, generate_key, public_jwks
from oauth_core.model import Service
from oauth_core.policy.rbac import RbacPolicy
from oauth_core.tokens import access_tokens
from oauth_core.tokens.access_tokens import Rejected, TokenFault
from tests.support.tokens import ISSUER, TIME, claims, new_key
from tests.support.tokens import mint as mint_now

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = claims().iat


def mint(key: SigningKey, **changes: Any) -> str:
    return mint_now(key, **{"iat": NOW, "exp": NOW + 600, **changes})


def ring(*keys: SigningKey) -> VerifyingKeys:
    return VerifyingKeys.from_jwks(public_jwks(keys))


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often a signature was verified."""
    count = 0
    verify = access_tokens.verify

    def counted(token: str, keys: VerifyingKeys, *, issuer: str, now: int) -> object:
        nonlocal count
        count += 1
        return verify(token, keys, issuer=issuer, now=now)

    monkeypatch.setattr(access_tokens, "verify", counted)
    return lambda: count


def test_a_valid_token_is_verified_once(key: SigningKey, verifications: Callable[[], int]) -> None:
    cache, keys, token = VerifiedTokenCache(issuer=ISSUER, size=10), ring(key), mint(key)
    first = cache.verify(token, keys, NOW)
    assert not isinstance(first, Rejected)
    assert all(cache.verify(token, keys, NOW) is first for _ in range(100))
    assert cache.lookup(token, keys) is first
    assert verifications() == 1


def test_a_repeated_forged_token_is_verified_once(key: SigningKey, verifications: Callable[[], int]) -> None:
    cache, keys = VerifiedTokenCache(issuer=ISSUER, size=10), ring(key)
    impostor = SigningKey(key.kid, key.algorithm, generate_key("ES256", now=0).private_key, 0)
    forged = mint(impostor)
    assert {cache.verify(forged, keys, NOW) for _ in range(100)} == {Rejected(TokenFault.BAD_SIGNATURE)}
    assert verifications() == 1
    assert cache.lookup(forged, keys) is None


def test_a_change_of_the_keys_clears_the_cache(key: SigningKey) -> None:
    cache, token, newer = VerifiedTokenCache(issuer=ISSUER, size=10), mint(key), new_key()
    old_ring, new_ring = ring(key), ring(newer)
    assert not isinstance(cache.verify(token, old_ring, NOW), Rejected)
    assert cache.lookup(token, new_ring) is None
    assert cache.verify(token, new_ring, NOW) == Rejected(TokenFault.UNKNOWN_KEY)
    assert cache.verify(mint(newer, iss="https://evil"), new_ring, NOW) == Rejected(TokenFault.WRONG_ISSUER)


def test_a_token_of_a_key_that_is_published_later_is_accepted_then(key: SigningKey) -> None:
    cache, newer = VerifiedTokenCache(issuer=ISSUER, size=10), new_key()
    token = mint(newer)
    assert cache.verify(token, ring(key), NOW) == Rejected(TokenFault.UNKNOWN_KEY)
    assert not isinstance(cache.verify(token, ring(key, newer), NOW), Rejected)


def test_a_cached_token_expires_and_one_from_the_future_becomes_valid(key: SigningKey) -> None:
    cache, keys = VerifiedTokenCache(issuer=ISSUER, size=10), ring(key)
    token = mint(key, exp=NOW + 10)
    assert not isinstance(cache.verify(token, keys, NOW), Rejected)
    assert cache.verify(token, keys, NOW + 10) == Rejected(TokenFault.EXPIRED)
    assert cache.verify(token, keys, NOW - 100) == Rejected(TokenFault.NOT_YET_VALID)
    early = mint(key, iat=NOW + 60)
    assert cache.verify(early, keys, NOW) == Rejected(TokenFault.NOT_YET_VALID)
    assert not isinstance(cache.verify(early, keys, NOW + 60), Rejected)


def test_the_cache_has_a_size_limit(key: SigningKey) -> None:
    cache, keys = VerifiedTokenCache(issuer=ISSUER, size=10), ring(key)
    tokens = [mint(key, jti=str(number)) for number in range(50)]
    for token in tokens:
        cache.verify(token, keys, NOW)
    assert len(cache) <= 20
    assert all(cache.lookup(token, keys) is not None for token in tokens[-10:])


def test_a_cached_token_takes_less_than_2_kilobytes(key: SigningKey) -> None:
    cache, keys = VerifiedTokenCache(issuer=ISSUER, size=1000), ring(key)
    # Made first, and decoded anew below as every request's token is, so that each text counts for itself.
    sent = [mint(key, jti=f"{number:032x}", sub=str(number)).encode() for number in range(600)]
    service = Service("time", "Time", TIME, "http://127.0.0.1:1/mcp", "mcp.time")
    responses, policy = AllowResponses(), RbacPolicy.from_roles((), [service])
    cache.verify(sent[0].decode(), keys, NOW)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for each in sent:
            remembered = cache.verify(each.decode(), keys, NOW)
            assert not isinstance(remembered, Rejected)
            cached = remembered.at(service, policy)
            cached.response, cached.until = responses.build_response(remembered.claims, service, (), NOW)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The token cache's entry beside it: a float and a place in a dictionary, under a text that exists already.
    status_entry = sys.getsizeof(0.0) + 120
    assert (after - before) / len(sent) + status_entry < 2048
