"""Tokens that are bound to a key, at the check (RFC 9449 section 7): without a proof they are refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from ext_authz.decision.fair_queue import FairQueue
from oauth_core.refusals import DenyReason
from tests.service.ext_authz.authorizers import Recorder, authorizer
from tests.support.assertions import key as key_called
from tests.support.assertions import proof, thumbprint
from tests.support.check_messages import Answer, check_request, read_answer
from tests.support.tokens import NOTES, TIME, mint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ext_authz.decision.check import Authorizer
    from oauth_core.jose.signing_keys import SigningKey

OWN = key_called(name="dpop")


async def shown(
    subject: Authorizer, headers: Mapping[str, str], path: str = "/time/mcp", method: str = "POST"
) -> Answer:
    return read_answer(await subject.check(check_request(headers=headers, path=path, method=method)))


def credentials(token: str, proof_: str | None = None, scheme: str = "DPoP") -> dict[str, str]:
    return {"authorization": f"{scheme} {token}", **({} if proof_ is None else {"dpop": proof_})}


@pytest.mark.requirement("rfc9449:resource")
async def test_a_bound_token_is_allowed_with_a_fresh_proof_for_each_request(key: SigningKey) -> None:
    sink = Recorder()
    subject, token = await authorizer(key, sink), mint(key, dpop_key=thumbprint(OWN))
    for path, method in (("/time/mcp", "POST"), ("/time/mcp/below?a=b", "GET"), ("/time/mcp", "POST")):
        url = TIME + path.removeprefix("/time/mcp").partition("?")[0]
        answer = await shown(subject, credentials(token, proof(method, url, token=token)), path, method)
        assert answer.status == 200
        assert "authorization" in answer.removed
    # The scheme is case-insensitive, like every scheme (RFC 9110 section 11.1).
    assert (await shown(subject, credentials(token, proof("POST", TIME, token=token), "dpop"))).status == 200


@pytest.mark.requirement("rfc9449:resource", "rfc9449:no-downgrade", "rfc9449:ath")
@pytest.mark.requirement("sep-1932:validate")
async def test_a_bound_token_is_refused_without_a_proof_of_its_key(key: SigningKey) -> None:
    sink = Recorder()
    subject, token = await authorizer(key, sink), mint(key, dpop_key=thumbprint(OWN))
    good = proof("POST", TIME, token=token)
    wrong = [
        credentials(token),
        credentials(token, good, "Bearer"),
        credentials(token, scheme="Bearer"),
        credentials(token, ""),
        credentials(token, "garbage"),
        credentials(token, f"{good},{good}"),
        credentials(token, proof("POST", TIME)),
        credentials(token, proof("POST", TIME, token=mint(key, jti="another"))),
        credentials(token, proof("GET", TIME, token=token)),
        credentials(token, proof("POST", NOTES, token=token)),
        credentials(token, proof("POST", TIME.replace("localhost", "evil.example"), token=token)),
        credentials(token, proof("POST", TIME, token=token, by=key_called(name="thief"))),
        credentials(token, proof("POST", TIME, token=token, iat=1)),
    ]
    for headers in wrong:
        answer = await shown(subject, headers)
        assert answer.status == 401, headers
        assert answer.error == "invalid_token"
        challenge = answer.headers["www-authenticate"]
        assert challenge.startswith('DPoP algs="ES256 ')
        assert 'error="invalid_token"' in challenge
        assert 'resource_metadata="' in challenge
    assert [event.reason for event in sink.events] == [DenyReason.WRONG_PROOF] * len(wrong)
    # None of them consumed the valid proof: the scheme is checked first.
    assert (await shown(subject, credentials(token, good))).status == 200


@pytest.mark.requirement("rfc9449:replay")
@pytest.mark.requirement("sep-1932:replay")
async def test_a_proof_cannot_be_used_twice(key: SigningKey) -> None:
    sink = Recorder()
    subject, token = await authorizer(key, sink), mint(key, dpop_key=thumbprint(OWN))
    headers = credentials(token, proof("POST", TIME, token=token))
    assert [(await shown(subject, headers)).status for _ in range(3)] == [200, 401, 401]


@pytest.mark.requirement("rfc9449:no-downgrade")
async def test_a_token_that_is_not_bound_is_refused_with_the_dpop_scheme(key: SigningKey) -> None:
    sink = Recorder()
    subject, token = await authorizer(key, sink), mint(key)
    assert (await shown(subject, credentials(token, proof("POST", TIME, token=token)))).status == 401
    assert (await shown(subject, credentials(token, proof("POST", TIME, token=token), "Bearer"))).status == 200
    # And the same once the token is cached as valid.
    assert (await shown(subject, credentials(token, proof("POST", TIME, token=token)))).status == 401


async def test_the_proof_beside_an_invalid_token_is_not_verified(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked(*_: object) -> None:
        raise AssertionError("a signature for garbage")

    monkeypatch.setattr("ext_authz.decision.dpop_replay.Proofs.key_of", looked)
    sink = Recorder()
    subject = await authorizer(key, sink)
    for token in ("garbage", mint(key, exp=1), mint(key_called(name="foreign")), mint(key)):
        await shown(subject, credentials(token, proof("POST", TIME, token=token)))
    assert DenyReason.INTERNAL_ERROR not in {event.reason for event in sink.events}


async def test_proofs_wait_in_the_fair_queue_and_bad_proofs_of_one_source_fill_only_its_places(
    key: SigningKey,
) -> None:
    """A caller with a bound token could send a bad proof with each request."""
    turns = FairQueue(4)
    subject, token = await authorizer(key, Recorder(), fair_queue=turns), mint(key, dpop_key=thumbprint(OWN))
    await shown(subject, credentials(token, proof("POST", TIME, token=token)))  # it is cached from now on
    bad = check_request(headers=credentials(token, proof("POST", NOTES, token=token)))
    assert not isinstance(subject.check_now(bad), bytes), "a proof is never verified outside the queue"
    answers = await asyncio.gather(*(subject.check(bad) for _ in range(6)))
    # One source may have a quarter of the places. Further requests of it get 503.
    assert [read_answer(answer).status for answer in answers] == [401] + 5 * [503]
    assert (await shown(subject, credentials(token, proof("POST", TIME, token=token)))).status == 200
