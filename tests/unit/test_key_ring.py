"""Rotation and retirement of keys, as values."""

from __future__ import annotations

import pytest

from oauth_core.jose.key_ring import FOLLOWED_WITHIN, JWKS_MAX_AGE, PUBLISHED_FIRST, KeyRing, RetireError
from oauth_core.jose.signing_keys import SigningKey, generate_key

LIFETIME = 1800


def ring(*ages: int, now: int) -> tuple[KeyRing, list[SigningKey]]:
    """A ring of keys of these ages in seconds, youngest first, and the keys."""
    keys = [generate_key("ES256", now=now - age) for age in ages]
    return KeyRing(tuple(keys)), keys


def test_a_new_key_is_published_before_it_signs() -> None:
    keys, (new, old) = ring(0, 1000, now=5000)
    assert new.kid in keys.jwks
    assert keys.signing_key(5000) is old
    assert keys.signing_key(5000 + PUBLISHED_FIRST) is new


def test_a_cached_copy_of_the_key_set_contains_every_signing_key() -> None:
    assert FOLLOWED_WITHIN + JWKS_MAX_AGE < PUBLISHED_FIRST


def test_the_first_key_signs_at_once() -> None:
    keys, (only,) = ring(0, now=5000)
    assert keys.signing_key(5000) is only


def test_every_key_in_the_ring_can_verify() -> None:
    keys, both = ring(0, 1000, now=5000)
    assert all(keys.verifying.get(key.kid) is not None for key in both)


def test_a_key_can_be_retired_when_its_last_token_has_expired() -> None:
    keys, (new, old) = ring(0, 9000, now=10_000)
    done = 10_000 + PUBLISHED_FIRST + LIFETIME
    with pytest.raises(RetireError, match="1 more seconds"):
        keys.without(old.kid, now=done - 1, token_lifetime=LIFETIME)
    assert keys.without(old.kid, now=done, token_lifetime=LIFETIME).keys == (new,)


@pytest.mark.parametrize("force", [False, True])
def test_the_last_key_and_an_unknown_key_cannot_be_retired(force: bool) -> None:
    keys, (only,) = ring(100_000, now=200_000)
    for kid in (only.kid, "unknown"):
        with pytest.raises(RetireError):
            keys.without(kid, now=200_000, token_lifetime=LIFETIME, force=force)


def test_the_signing_key_can_be_retired_only_with_force() -> None:
    keys, (new, old) = ring(1000, 90_000, now=100_000)
    with pytest.raises(RetireError, match="signs new tokens"):
        keys.without(new.kid, now=100_000, token_lifetime=LIFETIME)
    assert keys.without(new.kid, now=100_000, token_lifetime=LIFETIME, force=True).keys == (old,)
