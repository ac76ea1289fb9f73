"""Limits on calls in one check service that counts alone: whom they refuse, with which answer, and what uses
none.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ext_authz.decision import limit_refusals
from ext_authz.decision.call_permits import CallPermits
from oauth_core.audit import EventKind, NotRecordedError
from oauth_core.limits.allowances import DAY, SECOND, read_quota, read_rate
from oauth_core.limits.call_limits import CallLimits, ServiceLimits, ToolLimit
from oauth_core.model import NameRule, ToolRules
from oauth_core.policy.decision import Disabled
from oauth_core.policy.permissions import Permissions
from oauth_core.policy.rbac import RbacPolicy, Role
from oauth_core.policy.resources import ServiceIndex
from oauth_core.refusals import DenyReason
from tests.service.ext_authz.authorizers import SERVICE, AllEnabled, CachedStatus, Recorder, authorizer
from tests.service.ext_authz.ruled_services import JSON
from tests.support.check_messages import check_request, read_answer
from tests.support.tokens import mint

if TYPE_CHECKING:
    from ext_authz.decision.check import Authorizer
    from oauth_core.jose.signing_keys import SigningKey
    from oauth_core.model import Service
    from tests.support.check_messages import Answer

EVERYTHING = Permissions(frozenset({"*"}))
WALL = 20_000 * DAY // SECOND + 100.0


class Clock:
    """Both clocks of `CallPermits`, set by the test."""

    def __init__(self) -> None:
        self.now = 0.0

    def steady(self) -> float:
        return self.now

    def wall(self) -> float:
        return WALL + self.now


class Gateway:
    """An authorizer with limits, and calls of people."""

    def __init__(self, key: SigningKey, subject: Authorizer, sink: Recorder, clock: Clock) -> None:
        self.key = key
        self.subject = subject
        self.sink = sink
        self.clock = clock
        self._tokens: dict[str, str] = {}

    async def call(
        self, *, person: int = 1, client: str = "client-1", tool: str | None = None, **more: Any
    ) -> Answer:
        claims = {
            "sub": str(person),
            "github_id": person,
            "github_user": f"user-{person}",
            "client_id": client,
            "jti": f"{person}-{client}",
            **more.pop("claims", {}),
        }
        token = self._tokens.get(str(claims)) or mint(self.key, **claims)
        self._tokens[str(claims)] = token
        if tool is not None:
            body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool}}
            more = {"body": json.dumps(body).encode(), "headers": JSON, **more}
        return read_answer(await self.subject.check(check_request(token=token, **more)))

    async def passed(self, calls: int, **call: Any) -> int:
        """How many of so many calls pass. Every other one must be refused by a limit."""
        statuses = [(await self.call(**call)).status for _ in range(calls)]
        assert set(statuses) <= {200, 429}
        return statuses.count(200)


async def gateway(
    key: SigningKey,
    limits: ServiceLimits | None = None,
    *,
    roles: tuple[Role, ...] = (),
    service: Service = SERVICE,
    size: int = 1000,
    enabled: AllEnabled | None = None,
) -> Gateway:
    sink, clock = Recorder(), Clock()
    policy = RbacPolicy.from_roles(roles, [service], {service.name: limits} if limits else {})
    permits = CallPermits(None, steady=clock.steady, wall=clock.wall, size=size)
    subject = await authorizer(
        key, sink, CachedStatus(), service_status=enabled, service=service, policy=policy, permits=permits
    )
    return Gateway(key, subject, sink, clock)


def limits(*, tools: dict[str, CallLimits] | None = None, **texts: str) -> ServiceLimits:
    """The limits of a service, from their texts."""
    tool_limits = tuple(ToolLimit(pattern, each) for pattern, each in (tools or {}).items())
    return ServiceLimits(call_limits(**texts), tool_limits)


def call_limits(rate: str | None = None, client_rate: str | None = None, quota: str | None = None) -> CallLimits:
    return CallLimits(
        None if rate is None else read_rate(rate),
        None if client_rate is None else read_rate(client_rate),
        None if quota is None else read_quota(quota),
    )


TOOLS = replace(SERVICE, rules=ToolRules(tools=(NameRule("*", ("mcp.time",)),), otherwise=("mcp.time",)))


async def test_a_person_gets_the_rate_at_once_and_then_what_time_gives_back(key: SigningKey) -> None:
    gate = await gateway(key, limits(rate="60/minute"))
    assert await gate.passed(100) == 60
    gate.clock.now += 2.5
    assert await gate.passed(10) == 2
    gate.clock.now += 3600
    assert await gate.passed(100) == 60, "no more than the whole rate is saved up"


async def test_each_person_has_a_rate_of_their_own_with_all_clients_together(key: SigningKey) -> None:
    gate = await gateway(key, limits(rate="5/minute"))
    assert [await gate.passed(3, client=f"client-{n}") for n in range(4)] == [3, 2, 0, 0]
    assert await gate.passed(9, person=2) == 5


async def test_each_client_of_a_person_can_have_a_rate(key: SigningKey) -> None:
    gate = await gateway(key, limits(rate="10/minute", client_rate="4/minute"))
    assert [await gate.passed(6, client=f"client-{n}") for n in range(4)] == [4, 4, 2, 0]
    assert await gate.passed(6, person=2) == 4, "another person's use of the same client counts for that person"


async def test_a_quota_is_for_a_day_of_utc(key: SigningKey) -> None:
    gate = await gateway(key, limits(quota="3/day"))
    assert await gate.passed(5) == 3
    refused = await gate.call()
    assert (refused.status, refused.error) == (429, "too_many_requests")
    assert int(refused.headers["retry-after"]) == 86_400 - 60, "the seconds until midnight, in whole minutes"
    gate.clock.now += 86_400 - 101
    assert await gate.passed(1) == 0
    gate.clock.now += 1
    assert await gate.passed(5) == 3


async def test_a_refused_call_says_when_to_come_back_and_uses_nothing(key: SigningKey) -> None:
    gate = await gateway(key, limits(rate="1/minute", quota="2/day"))
    assert await gate.passed(1) == 1
    refused = await gate.call()
    assert refused.status == 429
    assert refused.headers["retry-after"] == "60"
    assert refused.headers["content-type"] == "application/json"
    assert refused.json["jsonrpc"] == "2.0"
    assert refused.json["error"]["code"] == 429
    assert refused.metadata["reason"] == "rate_limited"
    assert await gate.passed(20) == 0
    gate.clock.now += 60
    assert await gate.passed(1) == 1, "the refused calls used none of the quota"


async def test_a_role_limits_all_services_together_and_the_most_generous_role_counts(key: SigningKey) -> None:
    everyone = Role("all", EVERYTHING, everyone=True, limits=call_limits(rate="2/minute", quota="4/day"))
    expert = Role("experts", EVERYTHING, users=frozenset({"user-2"}), limits=call_limits(rate="6/minute"))
    gate = await gateway(key, roles=(everyone, expert))
    assert await gate.passed(9, person=1) == 2
    assert await gate.passed(9, person=2) == 4, "the quota of the other role still counts"


async def test_a_machine_client_has_the_limits_of_the_service(key: SigningKey) -> None:
    everyone = Role("all", EVERYTHING, everyone=True, limits=call_limits(rate="1/minute"))
    gate = await gateway(key, limits(rate="3/minute"), roles=(everyone,))
    machine = {"github_user": None, "github_id": None, "sub": "machine-1", "client_id": "machine-1"}
    statuses = [
        read_answer(await gate.subject.check(check_request(token=mint(key, **machine)))).status for _ in range(5)
    ]
    assert statuses == [200, 200, 200, 429, 429]


async def test_the_tools_of_a_glob_count_together_and_a_more_exact_name_replaces_it(key: SigningKey) -> None:
    tools = {"get_*": call_limits(rate="3/minute"), "get_time": call_limits(rate="1/minute")}
    gate = await gateway(key, limits(tools=tools), service=TOOLS)
    assert await gate.passed(2, tool="get_a") == 2
    assert await gate.passed(5, tool="get_b") == 1
    assert await gate.passed(5, tool="get_time") == 1
    assert await gate.passed(5, tool="other") == 5
    assert await gate.passed(5, person=2, tool="get_a") == 3


async def test_a_quota_for_one_tool_does_not_lift_the_rate_of_all_tools(key: SigningKey) -> None:
    tools = {"*": call_limits(rate="3/minute"), "send": call_limits(quota="5/day")}
    gate = await gateway(key, limits(tools=tools), service=TOOLS)
    assert await gate.passed(10, tool="send") == 3
    gate.clock.now += 60
    assert await gate.passed(10, tool="send") == 2
    assert await gate.passed(10, tool="other") == 1


async def test_the_answer_has_the_id_of_the_request_where_the_body_is_read(key: SigningKey) -> None:
    gate = await gateway(key, limits(tools={"*": call_limits(rate="1/hour")}), service=TOOLS)
    assert await gate.passed(1, tool="a") == 1
    assert (await gate.call(tool="a")).json["id"] == 7


async def test_a_denied_call_uses_no_permit(key: SigningKey) -> None:
    enabled = AllEnabled()
    rules = ToolRules(tools=(NameRule("read", ("mcp.time",)), NameRule("write", ("mcp.time.write",))))
    ruled = replace(SERVICE, rules=rules, named_permissions=("mcp.time", "mcp.time.write"))
    role = Role("r", Permissions(frozenset({"mcp.time"}), frozenset({"mcp.time.write"})), everyone=True)
    gate = await gateway(
        key,
        limits(rate="2/hour", tools={"*": call_limits(quota="2/day")}),
        roles=(role,),
        service=ruled,
        enabled=enabled,
    )
    for _ in range(5):
        assert (await gate.call(tool="write")).status == 403
        assert (await gate.call(tool="read", claims={"scope": "other"})).status == 403
        assert (await gate.call(tool="read", claims={"aud": ("https://other.example/mcp",)})).status == 401
        assert (await gate.call(tool="read", body=b"{")).status == 400
        assert (await gate.call(tool="read", claims={"iat": 1, "exp": 2})).status == 401
    enabled.said = Disabled("for a test", 1)
    assert (await gate.call(tool="read")).status == 503
    enabled.said = AllEnabled.said
    assert await gate.passed(5, tool="read") == 2


async def test_a_call_that_cannot_be_recorded_uses_no_permit(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = await gateway(key, limits(rate="2/hour"))

    def fail(*_: object) -> None:
        raise NotRecordedError("full")

    with monkeypatch.context() as broken:
        broken.setattr(gate.subject, "_record_allowed", fail)
        for _ in range(5):
            assert (await gate.call()).status == 503
    assert await gate.passed(5) == 2


@pytest.mark.parametrize("step", ["headers", "refusal"])
async def test_a_check_before_the_last_one_uses_no_permit(key: SigningKey, step: str) -> None:
    gate = await gateway(key, limits(rate="1/hour"), service=TOOLS)
    extensions = {"portcullis.step": step, "portcullis.body_bytes": "1000"}
    headers = {"content-length": "60", **JSON}
    for _ in range(5):
        assert (await gate.call(extensions=extensions, headers=headers)).status == 200
    assert await gate.passed(3, tool="a") == 1


async def test_the_first_refusal_waits_for_the_id_and_further_ones_cost_one_check(key: SigningKey) -> None:
    gate = await gateway(key, limits(rate="1/hour"))
    headers: dict[str, Any] = {"extensions": {"portcullis.step": "headers"}, "headers": {"content-length": "60"}}
    assert await gate.passed(1, **headers) == 1
    first = await gate.call(**headers)
    assert (first.status, first.metadata["decision"]) == (200, "refused"), "the next step refuses it, with its id"
    body = b'{"jsonrpc":"2.0","id":"a","method":"ping"}'
    refused = await gate.call(extensions={"portcullis.step": "refusal"}, body=body)
    assert (refused.status, refused.json["id"]) == (429, "a")
    again = await gate.call(**headers)
    assert (again.status, again.json["id"]) == (429, None)


async def test_a_flood_of_refusals_is_one_event_and_a_count(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit_refusals, "_SECOND", 60.0)
    gate = await gateway(key, limits(rate="1/hour"))
    assert await gate.passed(1) == 1
    gate.sink.events.clear()
    assert await gate.passed(500) == 0
    gate.subject.close()
    first, rest = gate.sink.events
    assert (first.kind, first.reason) == (EventKind.RATE_LIMITED, "rate_limited: rate of service time, 1/hour")
    assert (first.user, first.client_id, first.service, first.path) == ("user-1", "client-1", "time", "/time/mcp")
    assert (rest.kind, rest.reason, rest.user, rest.count) == (first.kind, first.reason, "user-1", 499)


async def test_refusals_of_a_thousand_people_are_few_events(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit_refusals, "_SECOND", 60.0)
    gate = await gateway(key, limits(rate="1/hour"))
    for person in range(1, 201):
        assert await gate.passed(2, person=person) == 1
    gate.subject.close()
    events = [event for event in gate.sink.events if event.kind is EventKind.RATE_LIMITED]
    assert len(events) == limit_refusals.MOST_A_SECOND + 1
    assert sum(event.count or 1 for event in events) == 200


async def test_the_counts_of_a_second_are_recorded_without_another_call(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It ends in the next run of the event loop. Calls with a cached token are answered without one.
    monkeypatch.setattr(limit_refusals, "_SECOND", 0.0)
    gate = await gateway(key, limits(rate="1/hour"))
    assert await gate.passed(1) == 1
    recorded = asyncio.Event()
    record = gate.sink.record

    def recording(event: Any) -> None:
        record(event)
        if event.count:
            recorded.set()

    monkeypatch.setattr(gate.sink, "record", recording)
    assert await gate.passed(50) == 0
    await recorded.wait()
    assert [event.count for event in gate.sink.events if event.count] == [49]


async def test_memory_is_bounded_whatever_people_call(key: SigningKey) -> None:
    gate = await gateway(key, limits(rate="2/hour", quota="5/day"), size=50)
    for person in range(1, 400):
        await gate.call(person=person)
    assert len(gate.subject._permits) <= 100
    assert len(gate.subject._refusals) <= 1


async def test_a_new_policy_keeps_what_was_counted(key: SigningKey) -> None:
    gate = await gateway(key, limits(quota="5/day"))
    assert await gate.passed(3) == 3
    tighter = RbacPolicy.from_roles((), [SERVICE], {SERVICE.name: limits(quota="4/day")})
    gate.subject.use(ServiceIndex([SERVICE]), tighter)
    assert await gate.passed(5) == 1
    gate.subject.use(ServiceIndex([SERVICE]), RbacPolicy.from_roles((), [SERVICE]))
    assert await gate.passed(5) == 5, "without limits nothing is counted"


async def test_limits_cost_a_service_without_any_no_look_at_the_clock(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*_: object) -> None:
        raise AssertionError("there is nothing to take")

    monkeypatch.setattr(CallPermits, "take", taken)
    gate = await gateway(key)
    assert (await gate.call()).status == 200


def test_the_reasons_of_limits_are_two_whatever_the_settings_are() -> None:
    assert {reason for reason in DenyReason if reason.row.status == 429} == {
        DenyReason.RATE_LIMITED,
        DenyReason.QUOTA_USED_UP,
    }
