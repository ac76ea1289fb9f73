"""One check, without a transport: every fault inside refuses the request and is recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ext_authz.decision.fair_queue import FairQueue
from oauth_core.audit import LONGEST_LOGGED
from oauth_core.policy.decision import Disabled, ServiceStatus
from oauth_core.refusals import DenyReason
from tests.service.ext_authz.authorizers import (
    ALLOWED,
    AllEnabled,
    BrokenRecorder,
    CachedStatus,
    FixedStatus,
    Recorder,
    authorizer,
)
from tests.support.check_messages import check_request, read_answer
from tests.support.tokens import claims, mint

if TYPE_CHECKING:
    from oauth_core.jose.signing_keys import SigningKey


async def test_a_valid_token_is_allowed_and_recorded_with_its_claims(key: SigningKey) -> None:
    sink = Recorder()
    subject = await authorizer(key, sink)
    assert read_answer(await subject.check(check_request(token=mint(key)))).status == 200
    assert sink.events == [replace(ALLOWED, user_agent="test")]


class RecordedBackOffs(FairQueue):
    """Notes the back-offs that it was asked for."""

    def __init__(self) -> None:
        super().__init__(100)
        self.asked: list[float] = []

    def back_off(self, seconds: float) -> None:
        self.asked.append(seconds)


async def test_verification_backs_off_after_a_forged_signature_and_while_known_callers_ask(
    key: SigningKey,
) -> None:
    turns = RecordedBackOffs()
    subject = await authorizer(key, Recorder(), CachedStatus(), fair_queue=turns)
    first, second, third = (mint(key, jti=f"jti-{number}") for number in range(3))
    await subject.check(check_request(token=first))
    assert turns.asked == [], "no caller waits"
    head, payload, _ = second.split(".")
    forged = ".".join((head, payload, third.split(".")[2]))
    assert read_answer(await subject.check(check_request(token=forged))).status == 401
    (after_forged,) = turns.asked
    assert after_forged > 0
    await subject.check(check_request(token=forged))
    assert len(turns.asked) == 1, "the token is cached as forged by now"
    assert subject.check_now(check_request(token=first)) is not None
    assert read_answer(await subject.check(check_request(token=third))).status == 200
    assert len(turns.asked) == 2


@pytest.mark.parametrize("fault", [RuntimeError("bug"), KeyError("x"), RecursionError(), MemoryError()])
async def test_an_internal_error_is_503_and_recorded(key: SigningKey, fault: Exception) -> None:
    sink = Recorder()
    subject = await authorizer(key, sink, FixedStatus(fault))
    answer = read_answer(await subject.check(check_request(token=mint(key))))
    assert answer.status == 503
    assert "www-authenticate" not in answer.headers
    assert [event.reason for event in sink.events] == [DenyReason.INTERNAL_ERROR]


async def test_a_request_is_refused_when_the_sink_fails(key: SigningKey) -> None:
    subject = await authorizer(key, BrokenRecorder())
    assert read_answer(await subject.check(check_request(token=mint(key)))).status == 503


async def test_a_token_that_expires_while_its_status_is_looked_up_is_refused(key: SigningKey) -> None:
    sink = Recorder()
    expiry = claims().exp
    redis = FixedStatus()
    subject = await authorizer(key, sink, redis, clock=lambda: expiry if redis.asked else expiry - 1)
    assert read_answer(await subject.check(check_request(token=mint(key, exp=expiry)))).status == 401
    assert [event.reason for event in sink.events] == [DenyReason.EXPIRED]


@pytest.mark.parametrize("token", [None, "garbage", "a.b.c"])
async def test_a_malformed_token_is_refused_without_a_lookup_of_its_status(
    key: SigningKey, token: str | None
) -> None:
    token_status = FixedStatus()
    subject = await authorizer(key, Recorder(), token_status)
    assert read_answer(await subject.check(check_request(token=token))).status == 401
    assert token_status.asked == []


async def test_long_texts_of_the_caller_are_truncated_in_the_record(key: SigningKey) -> None:
    sink = Recorder()
    subject = await authorizer(key, sink)
    await subject.check(check_request(path="/time/mcp/" + "a" * 10_000, method="M" * 10_000))
    (event,) = sink.events
    assert event.path is not None
    assert event.method is not None
    assert len(event.path) == len(event.method) == LONGEST_LOGGED


async def test_a_disabled_service_is_refused_with_its_reason_and_allowed_once_enabled(key: SigningKey) -> None:
    sink, doors, token = Recorder(), AllEnabled(), mint(key)
    subject = await authorizer(key, sink, service_status=doors)
    assert read_answer(await subject.check(check_request(token=token))).status == 200
    for reason in ("Being repaired.", "Still being repaired."):
        doors.said = Disabled(reason, since=1)
        for presented in (token, "garbage", None):
            answer = read_answer(await subject.check(check_request(token=presented)))
            assert answer.status == 503
            assert reason in answer.body
    assert [event.reason for event in sink.events[1:]] == [DenyReason.SERVICE_DISABLED] * 6
    doors.said = ServiceStatus.OPEN
    assert read_answer(await subject.check(check_request(token=token))).status == 200


async def test_a_service_of_unknown_status_is_refused(key: SigningKey) -> None:
    sink, doors = Recorder(), AllEnabled()
    subject = await authorizer(key, sink, service_status=doors)
    await subject.check(check_request(token=mint(key)))
    doors.said = ServiceStatus.UNKNOWN
    assert read_answer(await subject.check(check_request(token=mint(key)))).status == 503
    assert sink.events[-1].reason == DenyReason.SERVICE_STATE_UNKNOWN
    assert read_answer(await subject.check(check_request())).status == 401
