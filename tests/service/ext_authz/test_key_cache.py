"""Reading the public keys: reads are shared and limited in rate, and a read for an unknown key is never older than
the request.
"""

from __future__ import annotations

import asyncio

from ext_authz.decision.key_cache import KeyCache
from oauth_core.errors import StoreUnavailableError
from oauth_core.jose.jwk_set_signature import KeySetSigner
from oauth_core.jose.signing_keys import public_jwks
from tests.support.master_key import SIGNER, published
from tests.support.tokens import new_key


class CountedSource:
    """A published JWK set, or an outage, that counts how often it was read."""

    def __init__(self, document: str | None) -> None:
        self.document = document
        self.is_down = False
        self.reads = 0
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def read(self) -> str | bytes | None:
        self.reads += 1
        self.began.set()
        document = self.document
        await self.may_end.wait()
        if self.is_down:
            raise StoreUnavailableError("down")
        return document


async def test_keys_of_the_last_read_are_kept_through_an_outage_but_are_not_fresh() -> None:
    source = CountedSource(published(new_key()))
    keys = KeyCache(source, SIGNER.verifier)
    await keys.read()
    assert keys.is_fresh
    source.is_down = True
    await keys.read()
    assert keys.current is not None
    assert not keys.is_fresh


async def test_keys_that_were_removed_are_not_kept() -> None:
    source = CountedSource(published(new_key()))
    keys = KeyCache(source, SIGNER.verifier)
    await keys.read()
    source.document = None
    await keys.read()
    assert keys.current is None
    assert not keys.is_fresh


async def test_the_same_broken_keys_are_rejected_at_the_second_read_too() -> None:
    keys = KeyCache(CountedSource(SIGNER.sign('{"keys":[{}]}', version=1)), SIGNER.verifier)
    await keys.read()
    await keys.read()
    assert keys.current is None


async def test_the_former_keys_are_read_again_after_broken_ones() -> None:
    good = published(new_key())
    source = CountedSource(good)
    keys = KeyCache(source, SIGNER.verifier)
    await keys.read()
    source.document = "broken"
    await keys.read()
    assert keys.current is None
    source.document = good
    await keys.read()
    assert keys.is_fresh


async def test_many_callers_share_one_read() -> None:
    source = CountedSource(published(new_key()))
    keys = KeyCache(source, SIGNER.verifier)
    await asyncio.gather(*(keys.read_for_unknown_key() for _ in range(100)))
    assert source.reads == 1


async def test_a_key_that_is_published_just_after_a_read_is_found_by_the_next_caller() -> None:
    source = CountedSource(published(new_key()))
    keys = KeyCache(source, SIGNER.verifier)
    await keys.read()
    newer = new_key()
    source.document = published(newer)
    await keys.read_for_unknown_key()
    assert keys.current is not None
    assert keys.current.get(newer.kid) is not None


async def test_a_caller_during_a_read_gets_the_next_read() -> None:
    source = CountedSource(published(new_key()))
    keys = KeyCache(source, SIGNER.verifier)
    source.may_end.clear()
    first = asyncio.create_task(keys.read_for_unknown_key())
    await source.began.wait()
    newer = new_key()
    source.document = published(newer)
    second = asyncio.create_task(keys.read_for_unknown_key())
    await asyncio.sleep(0)
    source.may_end.set()
    await asyncio.gather(first, second)
    assert source.reads == 2
    assert keys.current is not None
    assert keys.current.get(newer.kid) is not None


async def test_a_cancelled_caller_does_not_cancel_the_read_of_the_others() -> None:
    source = CountedSource(published(new_key()))
    keys = KeyCache(source, SIGNER.verifier)
    quitter = asyncio.create_task(keys.read_for_unknown_key())
    other = asyncio.create_task(keys.read_for_unknown_key())
    await asyncio.sleep(0)
    quitter.cancel()
    await other
    assert source.reads == 1


async def test_a_key_set_that_the_authorization_server_did_not_sign_is_not_trusted() -> None:
    attacker = new_key()
    signed_by_another_key = published(attacker, signer=KeySetSigner(bytes(32)))
    header, payload, signature = published(new_key()).split(".")
    with_another_payload = ".".join([header, signed_by_another_key.split(".")[1], signature])
    unsigned = ".".join(["eyJhbGciOiJub25lIn0", payload, ""])
    for document in (public_jwks([attacker]), signed_by_another_key, with_another_payload, unsigned):
        source = CountedSource(published(new_key()))
        keys = KeyCache(source, SIGNER.verifier)
        await keys.read()
        source.document = document
        await keys.read()
        assert keys.current is None
        assert not keys.is_fresh


async def test_an_older_key_set_with_a_valid_signature_is_not_accepted_again() -> None:
    retired, kept = new_key(), new_key()
    older, newer = published(retired, kept), published(kept)
    source = CountedSource(newer)
    keys = KeyCache(source, SIGNER.verifier)
    await keys.read()
    source.document = older
    await keys.read()
    assert not keys.is_fresh
    source.document = newer
    await keys.read()
    current = keys.current
    assert current is not None
    assert current.get(retired.kid) is None
