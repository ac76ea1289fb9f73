"""A session at the check: only the subject that began it may use it, and the service gets its own id back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.policy.session_binding import LONGEST_SESSION_ID, SessionSealer
from oauth_core.refusals import DenyReason
from tests.service.ext_authz.authorizers import SEALER, SERVICE, Recorder, authorizer
from tests.service.ext_authz.ruled_services import JSON, READ, RULED, policy_of, subject, token
from tests.support.check_messages import Answer, check_request, read_answer
from tests.support.tokens import mint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oauth_core.jose.signing_keys import SigningKey

SERVICE_ID = "7c1f2a~of-the-service"
OWNER = "person:583231"
CALL = b'{"jsonrpc":"2.0","id":"call-7","method":"tools/call","params":{"name":"get_time"}}'


def sealed(session_id: str = SERVICE_ID, subject: str = OWNER, service: str = "time") -> str:
    found = SEALER.seal(service, subject, session_id)
    assert found is not None
    return found


async def ask(
    key: SigningKey,
    session: str | None,
    *,
    method: str = "POST",
    events: Recorder | None = None,
    binds: bool = True,
    raw: Sequence[tuple[str, bytes]] = (),
    body: bytes = b"",
    **claims: Any,
) -> Answer:
    checks = await authorizer(key, events or Recorder(), service=replace(SERVICE, bind_sessions=binds))
    headers = {} if session is None else {"mcp-session-id": session}
    return read_answer(
        await checks.check(
            check_request(token=mint(key, **claims), method=method, headers=headers, raw_headers=raw, body=body)
        )
    )


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_the_service_gets_its_own_id_and_the_client_keeps_the_sealed_one(
    key: SigningKey, method: str
) -> None:
    answer = await ask(key, sealed(), method=method)
    assert answer.status == 200
    assert answer.headers["mcp-session-id"] == SERVICE_ID
    assert answer.replaced == {"mcp-session-id": sealed()}


@pytest.mark.parametrize("session_id", ["!", "~" * LONGEST_SESSION_ID, "a.b.c,d", sealed()])
async def test_any_legal_id_comes_back_to_the_service(key: SigningKey, session_id: str) -> None:
    assert (await ask(key, sealed(session_id))).headers["mcp-session-id"] == session_id


async def test_a_request_without_a_session_stays_as_it_is(key: SigningKey) -> None:
    answer = await ask(key, None)
    assert (answer.status, answer.replaced) == (200, {})
    assert "mcp-session-id" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize(
    "session",
    [
        SERVICE_ID,
        "",
        sealed(subject="person:1"),
        sealed(subject="client:583231"),
        sealed(service="notes"),
        sealed()[:-1],
        f"{sealed()}x",
        f"{sealed()},{sealed()}",
        SessionSealer(bytes(32)).seal("time", OWNER, SERVICE_ID),
    ],
    ids=[
        "not sealed",
        "empty",
        "of a person",
        "of a machine",
        "of a service",
        "shorter",
        "longer",
        "two",
        "of a key",
    ],
)
async def test_a_session_that_the_caller_did_not_begin_is_unknown(
    key: SigningKey, session: str, method: str
) -> None:
    events = Recorder()
    answer = await ask(key, session, method=method, events=events)
    assert answer.status == 404
    assert answer.json["error"]["data"]["error"] == "not_found"
    (event,) = events.events
    assert event.reason == DenyReason.UNKNOWN_SESSION
    assert event.user == "octocat"


async def test_another_session_in_the_raw_headers_counts_too(key: SigningKey) -> None:
    other = ("mcp-session-id", SERVICE_ID.encode())
    assert (await ask(key, None, raw=[other])).status == 404
    assert (await ask(key, sealed(), raw=[other])).status == 404
    assert (await ask(key, None, raw=[("mcp-session-id", sealed().encode()), other])).status == 404
    assert (await ask(key, None, raw=[("mcp-session-id", sealed().encode())])).status == 200


@pytest.mark.parametrize("name", ["mcp_session_id", "Mcp_Session-Id", "mcp.session.id"])
async def test_a_name_that_a_service_could_read_as_the_session_is_removed(key: SigningKey, name: str) -> None:
    checks = await authorizer(key, Recorder())
    headers = {"mcp-session-id": sealed(), name: SERVICE_ID}
    answer = read_answer(await checks.check(check_request(token=mint(key), headers=headers)))
    assert answer.headers["mcp-session-id"] == SERVICE_ID
    assert name in answer.removed
    assert "mcp-session-id" not in answer.removed


async def test_a_new_token_another_client_and_another_name_of_the_person_keep_the_session(key: SigningKey) -> None:
    answer = await ask(key, sealed(), jti="another", client_id="client-2", github_user="renamed")
    assert answer.headers["mcp-session-id"] == SERVICE_ID


async def test_a_machine_client_has_sessions_of_its_own(key: SigningKey) -> None:
    machine: dict[str, Any] = {"sub": "583231", "client_id": "583231", "github_user": None, "github_id": None}
    assert (await ask(key, sealed(subject="client:583231"), **machine)).status == 200
    assert (await ask(key, sealed(), **machine)).status == 404


@pytest.mark.requirement("mcp-sessions:no-authentication")
async def test_the_token_is_refused_before_the_session(key: SigningKey) -> None:
    assert (await ask(key, sealed(subject="person:1"), exp=1)).status == 401
    assert (await ask(key, sealed(subject="person:1"), scope="mcp.notes")).status == 403


async def test_a_service_that_does_not_bind_its_sessions_gets_the_header_unchanged(key: SigningKey) -> None:
    answer = await ask(key, SERVICE_ID, binds=False)
    assert (answer.status, answer.replaced) == (200, {})
    assert "mcp-session-id" not in answer.headers


async def test_at_a_service_with_rules_the_check_with_the_body_opens_the_session(key: SigningKey) -> None:
    checks, events = await subject(key, RULED, policy_of(READ))
    step = {"portcullis.service": "time", "portcullis.step": "headers", "portcullis.body_bytes": "1000"}

    async def check(session: str, extensions: dict[str, str], body: bytes) -> Answer:
        headers = {**JSON, "mcp-session-id": session, "content-length": str(len(CALL))}
        message = check_request(token=token(key), headers=headers, extensions=extensions, body=body)
        return read_answer(await checks.check(message))

    for session in (sealed(), SERVICE_ID):
        undecided = await check(session, step, b"")
        assert (undecided.headers, undecided.replaced) == ({}, {})
    assert (await check(sealed(), {}, CALL)).headers["mcp-session-id"] == SERVICE_ID
    refused = await check(SERVICE_ID, {}, CALL)
    assert (refused.status, refused.json["id"]) == (404, "call-7")
    assert events.events[-1].call == "tools/call get_time"


async def test_without_rules_the_next_check_answers_with_the_id_of_the_request(key: SigningKey) -> None:
    checks = await authorizer(key, Recorder())
    headers = {"mcp-session-id": SERVICE_ID}

    async def check(step: str, body: bytes) -> Answer:
        extensions = {"portcullis.service": "time", "portcullis.step": step}
        message = check_request(token=mint(key), headers=headers, extensions=extensions, body=body)
        return read_answer(await checks.check(message))

    assert (await check("headers", b"")).metadata["decision"] == "refused"
    refused = await check("refusal", CALL)
    assert (refused.status, refused.json["id"]) == (404, "call-7")
