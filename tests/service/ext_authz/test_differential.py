"""The fast path against the plain one: a cache must not allow a request that a new evaluation refuses.

The plain path caches nothing: it verifies each token each time and asks the store each time, with the same pure
rules. Both get the same requests, tokens, keys, times and revocations, in the same order.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from ext_authz.decision import answer_metadata, envoy_messages
from ext_authz.decision.call_permits import CallPermits
from ext_authz.decision.check import Authorizer, Unrecorded
from ext_authz.decision.dpop_replay import certificate_of
from ext_authz.decision.key_cache import KeyCache
from ext_authz.decision.resolver import ContextResolver, bearer_token
from ext_authz.decision.verified_token_cache import VerifiedTokenCache
from oauth_core.jose import certificate_thumbprints
from oauth_core.jose.signing_keys import SigningKey, VerifyingKeys, public_jwks
from oauth_core.limits.allowances import SECOND, CallQuota, CallRate, Moment
from oauth_core.limits.call_limits import CallLimits, ServiceLimits, ToolLimit
from oauth_core.model import ArgumentCondition, NameRule, Service, ToolRules, Way
from oauth_core.policy.decision import (
    Allow,
    DecisionContext,
    Deny,
    Disabled,
    ServiceStatus,
    StaticInput,
    TokenStatus,
    Unverified,
    Verdict,
    decide,
    evaluate_token,
    limited,
)
from oauth_core.policy.deny_response import deny_response
from oauth_core.policy.jsonrpc_errors import id_of, id_text
from oauth_core.policy.mcp_request import parse_request
from oauth_core.policy.permissions import Permissions
from oauth_core.policy.rbac import RbacPolicy, Role
from oauth_core.policy.resources import ServiceIndex
from oauth_core.refusals import DenyReason
from oauth_core.tokens import access_tokens
from oauth_core.tokens.access_tokens import Verified
from tests.service.ext_authz.ruled_services import JSON
from tests.support.check_messages import check_request
from tests.support.master_key import SIGNER, published
from tests.support.tokens import ISSUER, NOTES, TIME, claims, new_key

if TYPE_CHECKING:
    from oauth_core.audit import AuditEvent
    from oauth_core.limits.call_limits import Charge

READ, WRITE = "mcp.notes.read", "mcp.notes.write"
BOUNDED = ToolRules(
    tools=(
        NameRule(
            "read",
            (),
            (
                Way((READ,), (ArgumentCondition("path", ("path",), paths=(("", "p", "**"),)),)),
                Way(
                    (WRITE,), (ArgumentCondition("n", ("n",), at_most=Decimal(5)),), explanation="Small ones only."
                ),
            ),
        ),
        NameRule("*", (READ,)),
    ),
)
SERVICES = ServiceIndex(
    [
        Service("time", "Time", TIME, "http://127.0.0.1:1/mcp", "mcp.time"),
        Service("notes", "Notes", NOTES, "http://127.0.0.1:2/mcp", "mcp.notes", (READ, WRITE), BOUNDED),
    ]
)
ROLE = Role("r", Permissions(frozenset({"mcp.time", READ})), everyone=True)
WRITER = Role("w", Permissions(frozenset({"mcp.notes"})), users=frozenset({"octocat"}))
POLICY = RbacPolicy.from_roles((ROLE, WRITER), SERVICES.services)
LIMITED = RbacPolicy.from_roles(
    (ROLE, WRITER),
    SERVICES.services,
    {
        "time": ServiceLimits(CallLimits(rate=CallRate(5, 60))),
        "notes": ServiceLimits(
            CallLimits(quota=CallQuota(6)), (ToolLimit("*", CallLimits(rate=CallRate(4, 60))),)
        ),
    },
)
BODIES = [
    b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%s","arguments":%s}}'
    % (number, name, given)
    for number, name in enumerate((b"read", b"read", b"list"))
    for given in (
        b"{}",
        b'{"path":"/p/a"}',
        b'{"path":"/q"}',
        b'{"path":"/p/../q"}',
        b'{"path":"/p/a","Path":"/q"}',
        b'{"n":5}',
        b'{"n":6}',
        b'{"n":5.0,"path":"/p/a"}',
        b'{"n":1e0}',
        b"[]",
        b'{"n":1,"n":9}',
    )
] + [b"", b"{", b'{"jsonrpc":"2.0","id":"x","method":"ping"}']
START = claims().iat
CERTIFICATES = [
    quote(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n", safe="")
    for body in ("AAAA", "BBBB")
]
"""Certificates as Envoy writes them; no code in this test parses one."""


class EnabledServices:
    """Which services are enabled. All are, until a step changes that."""

    def __init__(self) -> None:
        self.said: dict[str, ServiceStatus | Disabled] = {}

    def service_status(self, service: str) -> ServiceStatus | Disabled:
        return self.said.get(service, ServiceStatus.OPEN)


class World:
    """All inputs of the two paths, under the control of the test."""

    def __init__(self, rng: random.Random, policy: RbacPolicy = POLICY) -> None:
        self.rng = rng
        self.policy = policy
        self.steady = 20_000 * 86_400
        self.states: dict[str, int] = {}
        self.bodies = random.Random(1)  # noqa: S311 - it must be the same again
        self.now = START
        self.all_keys = [new_key() for _ in range(3)]
        self.ring: list[SigningKey] = self.all_keys[:1]
        self.alive: set[str] = set()
        self.is_down = False
        self.is_forgetful = False
        self.doors = EnabledServices()
        self.tokens: list[str] = []

    # -- for the fast path: a cache that is always up to date, and sometimes has to be asked

    def cached_status(self, jti: str) -> TokenStatus | None:
        return None if self.is_down or self.is_forgetful else self._truth(jti)

    async def token_status(self, jti: str) -> TokenStatus:
        await asyncio.sleep(0)
        return self._truth(jti)

    async def read(self) -> str:
        return published(*self.ring)

    def record(self, event: AuditEvent) -> None:
        """Ignore the event."""

    # -- for both

    def clock(self) -> int:
        return self.now

    def _truth(self, jti: str) -> TokenStatus:
        if self.is_down:
            return TokenStatus.UNKNOWN
        return TokenStatus.ACTIVE if jti in self.alive else TokenStatus.REVOKED

    # -- the plain path

    def plain_answer(self, message: bytes) -> bytes:
        request = envoy_messages.decode(message)
        if request is None:
            metadata = envoy_messages.encode_metadata(DenyReason.MALFORMED_REQUEST, None, None)
            return envoy_messages.encode_refused(deny_response(DenyReason.MALFORMED_REQUEST, None)) + metadata
        service = SERVICES.by_request(request.host, request.path)
        token: Any = Unverified.MISSING if service is None else bearer_token(request)
        if isinstance(token, str):
            ring = VerifyingKeys.from_jwks(public_jwks(self.ring))
            token = access_tokens.verify(token, ring, issuer=ISSUER, now=self.now)
        status = self._truth(token.claims.jti) if isinstance(token, Verified) else TokenStatus.UNKNOWN
        service_status = ServiceStatus.UNKNOWN if service is None else self.doors.service_status(service.name)
        shown = certificate_of(request)
        if isinstance(token, Verified) and service is not None:
            token = evaluate_token(StaticInput(token.claims, service, self.policy))
        parsed = None
        if service is not None and service.rules is not None and isinstance(token, Verdict):
            parsed = parse_request(envoy_messages.message_of(request), with_arguments=True)
        request_id = id_of(request.http.raw_body) if request.http is not None else None
        named = envoy_messages.encode_called(request, parsed)
        context = DecisionContext(
            service, token, status, service_status, self.now, request.routed_as, parsed, certificate=shown
        )
        match decide(context):
            case Allow(allowed, charges):
                assert service is not None
                if (no_permit := self.plain_limit(charges)) is not None:
                    deny = limited(no_permit[0], allowed, no_permit[1])
                    metadata = envoy_messages.encode_metadata(deny.reason, allowed, service.name)
                    response = deny_response(deny.reason, service, retry_after=deny.retry_after)
                    return envoy_messages.encode_refused(response.answering(request_id)) + metadata + named
                life = min(300 if request.method == "GET" else 900, allowed.exp - self.now)
                answer = envoy_messages.encode_allowed(allowed, service.name, request.lookalikes).lasting(life)
                assert isinstance(token, Verdict)
                answer += answer_metadata.for_answer(service, token, request, parsed) + named
                if service.rules is None or request_id is None:
                    return answer
                return answer + envoy_messages.encode_request_id(id_text(request_id))
            case Deny(reason, whose, detail, scopes):
                metadata = envoy_messages.encode_metadata(reason, whose, service.name if service else None)
                refused = deny_response(reason, service, detail, scopes).answering(request_id)
                return envoy_messages.encode_refused(refused) + metadata + named

    def plain_limit(self, charges: tuple[Charge, ...]) -> tuple[Charge, int] | None:
        """Count a call of the one person, by the arithmetic alone."""
        moment = Moment(self.steady * SECOND, self.steady * SECOND)
        states = self.states
        waits = [(one.limit.allowance.wait(states.get(one.limit.name, 0), moment), one) for one in charges]
        wait, charge = max(waits, key=lambda one: one[0], default=(0, None))
        if charge is not None and wait:
            return charge, wait
        for _, charge in waits:
            state = self.states.get(charge.limit.name, 0)
            self.states[charge.limit.name] = charge.limit.allowance.after(state, moment, 1)
        return None

    # -- events between requests

    def mint(self) -> None:
        jti = f"jti-{len(self.tokens)}"
        made = claims(
            jti=jti if self.rng.random() < 0.9 else "jti-0",
            aud=self.rng.choice([(TIME,)] * 3 + [(TIME, NOTES)] * 6 + [(NOTES,), (f"{TIME}/",)]),
            scope=self.rng.choice(["mcp.time"] * 3 + ["mcp.time mcp.notes"] * 6 + ["mcp.notes", "", "mcp.timex"]),
            iat=self.now + self.rng.choice([0] * 12 + [5, 6, 20]),
            exp=self.now + self.rng.choice([1, 30] + [600] * 8),
            iss=self.rng.choice([ISSUER] * 19 + ["https://evil.example"]),
            github_user=self.rng.choice(["octocat", "Zoë", "a b", ""]),
            certificate=self.rng.choice([None, None, *map(certificate_thumbprints.of_escaped_pem, CERTIFICATES)]),
            dpop_key=self.rng.choice([None] * 9 + ["k" * 43]),
        )
        if self.rng.random() < 0.03:
            made = dataclasses.replace(made, jti=7)  # type: ignore[arg-type]
        self.tokens.append(access_tokens.mint(made, self.rng.choice(self.ring * 9 + self.all_keys)))
        if self.rng.random() < 0.8:
            self.alive.add(jti)

    def happen(self) -> bool:
        """Let one event happen. Return whether the keys changed."""
        match self.rng.randrange(40):
            case 0 | 1 | 2:
                self.mint()
            case 3 | 4 if self.alive:
                self.alive.discard(self.rng.choice(sorted(self.alive)))
            case 5 if self.tokens:
                self.alive.add(f"jti-{self.rng.randrange(len(self.tokens))}")
            case 6:
                self.now += (passed := self.rng.choice([1, 3, 20]))
                self.steady += passed
            case 7 if self.rng.random() < 0.2:
                self.now -= self.rng.choice([1, 60])  # the clock is set
            case 8:
                self.is_down = self.rng.random() < 0.2
            case 9:
                self.is_forgetful = self.rng.random() < 0.3
            case 10 if self.rng.random() < 0.3:
                self.ring = self.rng.sample(self.all_keys, self.rng.randrange(1, 4))
                return True
            case 11:
                choices: list[ServiceStatus | Disabled] = [ServiceStatus.OPEN] * 5
                said = self.rng.choice([*choices, ServiceStatus.UNKNOWN, Disabled("a", 1), Disabled("b", 2)])
                self.doors.said[self.rng.choice(["time", "notes"])] = said
        return False

    def message(self) -> bytes:
        """A request, usually with a valid token and well-formed."""
        rng = self.rng
        token = rng.choice(self.tokens[-8:])
        certificate = rng.choice(["", *CERTIFICATES * 4, "no certificate"])
        if rng.random() < 0.5:
            path = rng.choice(["/time/mcp", "/notes/mcp"])
            return check_request(
                path=path, token=token, certificate=certificate, headers=JSON, body=self.bodies.choice(BODIES)
            )
        match rng.randrange(30):
            case 0:
                token = mangled(rng, token)
            case 1:
                token = rng.choice(["", "abc", "a.b.c", "." * 2, "é.é.é", token + " ", f"{token},{token}"])
        headers: dict[str, str] = {"accept": "*/*", **JSON}
        raw: list[tuple[str, bytes]] = []
        credentials = f"{rng.choice(['Bearer '] * 20 + ['bearer ', 'BEARER  ', 'Basic ', 'Bearer'])}{token}"
        match rng.randrange(16):
            case 0:
                raw = [("authorization", credentials.encode())]
            case 1:
                raw = [("authorization", credentials.encode())] * 2
            case 2:
                headers["authorization"] = credentials
                raw = [("authorization", credentials.encode())]
            case 3:
                headers["authorization"] = credentials
                headers[rng.choice(["X_User_Id", "x_user_id", "X-USER-ID", "Authorization", "x.user.name"])] = "me"
            case 4:
                pass
            case _:
                headers["authorization"] = credentials
        extensions = rng.choice([{}] * 6 + [{"portcullis.service": "time"}, {"portcullis.service": "notes"}])
        path = rng.choice(
            ["/time/mcp"] * 16
            + ["/notes/mcp"] * 8
            + ["/time/mcp/x", "/time/mcp?a=b", f"/time/mcp?access_token={token}", "/time/mcp?Access%5fToken=x"]
            + ["/time", "//time/mcp", "/time/mcp/../x", "/other", "time"]
        )
        host = rng.choice(["localhost:8080"] * 24 + ["LOCALHOST:8080", "evil.example", ""])
        message = check_request(
            path=path,
            host=host,
            headers=headers,
            raw_headers=raw,
            extensions=extensions,
            certificate=certificate,
            body=self.bodies.choice(BODIES),
        )
        return message[: rng.randrange(len(message))] if rng.random() < 0.02 else message


def mangled(rng: random.Random, token: str) -> str:
    """`token` with one character changed, one more, or one less."""
    place = rng.randrange(len(token))
    return token[:place] + rng.choice(["", "A", "AA", "_", "="]) + token[place + 1 :]


async def fast_path(world: World, *, remembered: int) -> tuple[Authorizer, KeyCache]:
    keys = KeyCache(world, SIGNER.verifier)
    await keys.read()
    tokens = VerifiedTokenCache(issuer=ISSUER, size=remembered)
    resolver = ContextResolver(
        services=SERVICES,
        policy=world.policy,
        keys=keys,
        tokens=tokens,
        token_status=world,
        service_status=world.doors,
        clock=world.clock,
    )
    permits = CallPermits(None, steady=lambda: world.steady, wall=lambda: world.steady)
    return Authorizer(resolver, world, Unrecorded(), permits=permits), keys


@pytest.mark.parametrize("remembered", [1, 3, 1000])
@pytest.mark.parametrize("seed", range(2))
async def test_the_fast_path_answers_with_the_same_bytes_as_the_plain_path(
    seed: int, remembered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An unknown key makes the fast path wait before it reads the key ring again. Here it does not wait.
    monkeypatch.setattr("ext_authz.decision.key_cache.READ_AT_MOST_EVERY", 0.0)
    world = World(random.Random(seed))  # noqa: S311 - it must be the same again
    world.mint()
    fast, keys = await fast_path(world, remembered=remembered)
    seen: Counter[str] = Counter()
    for _ in range(3000):
        if world.happen():
            await keys.read()
        message = world.message()
        expected = world.plain_answer(message)
        now = fast.check_now(message)
        seen["at once" if isinstance(now, bytes) else "later"] += 1
        answer = now if isinstance(now, bytes) else await fast.finish(now)
        seen["allowed" if b"x-user-id" in expected else "refused"] += 1
        assert answer == expected
        assert await fast.check(message) == expected, "and a second time"
        seen["other certificate"] += b"wrong_certificate" in expected
        seen["other arguments"] += b"arguments_not_allowed" in expected or b"ambiguous_arguments" in expected
    assert min(seen[what] for what in ("at once", "later", "allowed", "refused", "other certificate")) > 100, seen
    assert seen["other arguments"] > 20, seen


@pytest.mark.parametrize("remembered", [1, 1000])
async def test_with_limits_the_fast_path_answers_with_the_same_bytes_as_the_plain_path(
    remembered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ext_authz.decision.key_cache.READ_AT_MOST_EVERY", 0.0)
    world = World(random.Random(7), LIMITED)  # noqa: S311 - it must be the same again
    world.mint()
    fast, keys = await fast_path(world, remembered=remembered)
    seen: Counter[str] = Counter()
    for _ in range(3000):
        if world.happen():
            await keys.read()
        message = world.message()
        expected = world.plain_answer(message)
        assert await fast.check(message) == expected, "a new token, a cached one and a denied one count the same"
        seen["allowed"] += b"x-user-id" in expected
        for reason in ("rate_limited", "quota_used_up", "revoked"):
            seen[reason] += reason.encode() in expected
    assert min(seen[what] for what in ("allowed", "rate_limited", "quota_used_up", "revoked")) > 3, seen
    fast.close()
