"""Every check goes through the one decision, also when the token and the verdict on it are cached."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from ext_authz.decision import check, envoy_messages, verified_token_cache
from ext_authz.decision.fair_queue import FairQueue
from oauth_core.model import AccessClaims, Service
from oauth_core.policy import decision, mcp_request
from oauth_core.policy.decision import Allow, DecisionContext, Deny, StaticInput, Verdict
from oauth_core.policy.permissions import Permissions
from oauth_core.policy.rbac import RbacPolicy, Role
from oauth_core.policy.resources import ServiceIndex
from oauth_core.refusals import DenyReason
from oauth_core.tokens import access_tokens
from oauth_core.tokens.access_tokens import Verified
from tests.service.ext_authz.authorizers import SERVICE, CachedStatus, Recorder, authorizer
from tests.service.ext_authz.ruled_services import READ, RULED, policy_of
from tests.service.ext_authz.ruled_services import subject as ruled
from tests.support.check_messages import check_request, read_answer
from tests.support.tokens import mint

if TYPE_CHECKING:
    from ext_authz.decision.check import Authorizer
    from oauth_core.jose.signing_keys import SigningKey, VerifyingKeys


async def remembering(key: SigningKey, message: bytes) -> Authorizer:
    """A check service that has allowed `message`, and allows it again without waiting."""
    subject = await authorizer(key, Recorder(), CachedStatus())
    assert read_answer(await subject.check(message)).status == 200
    assert at_once(subject, message) == 200
    return subject


def at_once(subject: Authorizer, message: bytes) -> int:
    answer = subject.check_now(message)
    assert isinstance(answer, bytes), "a cached token is answered without waiting"
    return read_answer(answer).status


async def test_a_rule_in_the_dynamic_half_applies_to_a_cached_token_at_once(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = check_request(token=mint(key))
    subject = await remembering(key, message)
    is_night = False

    def decide(context: DecisionContext) -> Allow | Deny:
        return Deny(DenyReason.FORBIDDEN_BY_POLICY, context.claims) if is_night else decision.decide(context)

    monkeypatch.setattr(check, "decide", decide)
    assert at_once(subject, message) == 200
    is_night = True
    assert at_once(subject, message) == 403
    is_night = False
    assert at_once(subject, message) == 200


async def test_the_static_half_is_evaluated_once_for_each_policy(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[StaticInput] = []

    def evaluate(one: StaticInput) -> Verdict:
        given.append(one)
        return decision.evaluate_token(one)

    monkeypatch.setattr(verified_token_cache, "evaluate_token", evaluate)
    message = check_request(token=mint(key))
    subject = await remembering(key, message)
    assert at_once(subject, message) == 200
    assert len(given) == 1, "the verdict is cached"

    nothing = RbacPolicy.from_roles(
        (Role("r", Permissions(frozenset({"mcp.time"})), users=frozenset({"hubot"})),), (SERVICE,)
    )
    subject.use(ServiceIndex([SERVICE]), nothing)
    assert at_once(subject, message) == 403
    assert at_once(subject, message) == 403
    assert len(given) == 2
    assert [one.policy for one in given][1] is nothing


async def test_a_reloaded_service_is_evaluated_again(key: SigningKey) -> None:
    message = check_request(token=mint(key))
    subject = await remembering(key, message)
    other = dataclasses.replace(SERVICE, resource=f"{SERVICE.resource}/other")
    subject.use(ServiceIndex([other]), RbacPolicy.from_roles((), [other]))
    assert at_once(subject, message) != 200


def test_the_input_of_the_static_half_has_no_value_that_changes_between_requests() -> None:
    assert StaticInput._fields == ("claims", "service", "policy")
    for kind in (AccessClaims, Service, RbacPolicy):
        assert dataclasses.is_dataclass(kind)
        assert vars(kind)["__dataclass_params__"].frozen, (
            f"{kind.__name__} can change while a verdict on it is cached"
        )


@dataclass(frozen=True, slots=True)
class Extended(AccessClaims):
    """Claims with one more, as a later version may have."""

    department: str | None = None


async def test_a_new_optional_claim_reaches_both_halves(key: SigningKey, monkeypatch: pytest.MonkeyPatch) -> None:
    verify = access_tokens.verify
    seen: list[AccessClaims | None] = []

    def extended(token: str, keys: VerifyingKeys, *, issuer: str, now: int) -> Verified:
        found = verify(token, keys, issuer=issuer, now=now)
        assert isinstance(found, Verified)
        names = [field.name for field in dataclasses.fields(AccessClaims)]
        return Verified(Extended(**{name: getattr(found.claims, name) for name in names}, department="physics"))

    def evaluate(one: StaticInput) -> Verdict:
        seen.append(one.claims)
        return decision.evaluate_token(one)

    def decide(context: DecisionContext) -> Allow | Deny:
        seen.append(context.claims)
        return decision.decide(context)

    monkeypatch.setattr(access_tokens, "verify", extended)
    monkeypatch.setattr(verified_token_cache, "evaluate_token", evaluate)
    monkeypatch.setattr(check, "decide", decide)
    message = check_request(token=mint(key))
    subject = await remembering(key, message)
    assert at_once(subject, message) == 200
    assert len(seen) >= 3
    assert {getattr(claims, "department", None) for claims in seen} == {"physics"}


async def test_a_message_is_decoded_once_even_if_the_check_has_to_wait(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, decoded = envoy_messages.decode, []

    def counted(message: bytes, *rest: envoy_messages.Names) -> object:
        decoded.append(message)
        return decode(message, *rest)

    monkeypatch.setattr(envoy_messages, "decode", counted)
    subject = await authorizer(key, Recorder())
    message = check_request(token=mint(key))
    pending = subject.check_now(message)
    assert not isinstance(pending, bytes)
    assert read_answer(await subject.finish(pending)).status == 200
    assert decoded == [message]


async def test_a_bound_token_without_a_proof_is_refused_even_if_the_rules_are_removed_meanwhile(
    key: SigningKey,
) -> None:
    status = CachedStatus()
    status.held = asyncio.Event()
    authorizer, _ = await ruled(key, RULED, policy_of(READ), status)
    bound = mint(key, dpop_key="k" * 43, iat=1_799_999_990, exp=1_800_000_100)
    extensions = {"portcullis.step": "headers", "portcullis.body_bytes": "1000"}
    headers = {"authorization": f"DPoP {bound}", "content-length": "5"}
    waiting = asyncio.create_task(authorizer.check(check_request(headers=headers, extensions=extensions)))
    await asyncio.sleep(0)
    authorizer.use(ServiceIndex([SERVICE]), RbacPolicy.from_roles((), [SERVICE]))
    status.held.set()
    assert read_answer(await waiting).status == 401


async def test_an_expired_cached_token_is_refused_without_reading_the_body_or_asking_redis(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, message = int(time.time()), check_request(token=mint(key))
    subject = await authorizer(key, Recorder(), CachedStatus(), clock=lambda: now)
    assert read_answer(await subject.check(message)).status == 200

    def asked(*_: object) -> None:
        raise AssertionError("it is refused before anything is looked up for it")

    now += 10_000
    monkeypatch.setattr(CachedStatus, "cached_status", asked)
    monkeypatch.setattr(mcp_request, "parse_request", asked)
    assert at_once(subject, message) == 401


async def test_a_token_that_expires_while_its_check_waits_is_recorded_with_its_person(key: SigningKey) -> None:
    status, now = CachedStatus(), int(time.time())
    sink, message = Recorder(), check_request(token=mint(key))
    subject = await authorizer(key, sink, status, clock=lambda: now)
    assert read_answer(await subject.check(message)).status == 200
    sink.events.clear()
    status.held = asyncio.Event()
    waiting = asyncio.create_task(subject.check(message))
    await asyncio.sleep(0)  # the token is cached, so its status is asked for at once
    now += 10_000
    status.held.set()
    assert read_answer(await waiting).status == 401
    assert [event.user for event in sink.events] == ["octocat"]


async def test_rights_are_computed_only_for_services_in_the_audience(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rights(*_: object) -> None:
        raise AssertionError("nothing depends on them")

    monkeypatch.setattr(decision, "rights_of", rights)
    subject = await authorizer(key, Recorder(), CachedStatus())
    message = check_request(token=mint(key, aud=("https://mcp.example/other",)))
    assert read_answer(await subject.check(message)).status == 401
    assert at_once(subject, message) == 401


async def test_refused_tokens_cause_no_back_off_for_other_signatures(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    monkeypatch.setattr(FairQueue, "back_off", lambda _self, seconds: rests.append(seconds))
    subject = await authorizer(key, Recorder(), CachedStatus())
    elsewhere = check_request(token=mint(key, aud=("https://mcp.example/other",)))
    await subject.check(elsewhere)
    rests.clear()
    for number in range(5):
        assert at_once(subject, elsewhere) == 401
        assert read_answer(await subject.check(check_request(token=mint(key, jti=f"new-{number}")))).status == 200
    assert rests == []


@pytest.mark.parametrize("credentials", ["good", "garbage", None])
async def test_an_immediate_answer_looks_up_its_service_once(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch, credentials: str | None
) -> None:
    good = mint(key)
    subject = await remembering(key, check_request(token=good))
    look_up, looked_up = ServiceIndex.by_request, []

    def counted(index: ServiceIndex, host: str, path: str) -> Service | None:
        looked_up.append(path)
        return look_up(index, host, path)

    monkeypatch.setattr(ServiceIndex, "by_request", counted)
    at_once(subject, check_request(token=good if credentials == "good" else credentials))
    assert len(looked_up) == 1
