"""The check service records every call in segments of its own, and allows none that it cannot record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.audit_record import boots_of, is_closed, recorded
from tests.support.authz_process import environ, remember, running_authz
from tests.support.check_messages import check_request, read_answer
from tests.support.programs import until
from tests.support.tokens import mint

if TYPE_CHECKING:
    from pathlib import Path

    from oauth_core.jose.signing_keys import SigningKey
    from tests.support.redis_server import RedisServer


def test_calls_are_in_the_segments_of_the_worker_that_answered_them(
    redis: RedisServer, key: SigningKey, tmp_path: Path
) -> None:
    remember(redis, "jti-recorded")
    token = mint(key, jti="jti-recorded")
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {
        "user-agent": "agent/1",
        "x-request-id": "id-of-envoy",
        "traceparent": f"00-{trace}-b7ad6b7169203331-01",
        "mcp-method": "tools/call",
        "mcp-name": "=?base64?w7xiZXI=?=",
    }
    with running_authz(environ(redis, AUDIT_DIR=str(tmp_path), AUDIT_NODE="one")) as authz:
        authz.wait_for_health("SERVING")
        assert read_answer(authz.check(check_request(token=token, headers=headers))).status == 200
        assert read_answer(authz.check(check_request(headers=headers))).status == 401
        assert authz.terminate() == 0
        text = [event for event in authz.log() if event.get("audit")]
    allowed, denied = recorded(tmp_path, "ext_authz.0")
    assert (allowed["event"], allowed["outcome"]) == ("access.allowed", "allowed")
    assert (denied["event"], denied["outcome"], denied["reason"]) == ("access.denied", "denied", "missing_token")
    for event in (allowed, denied):
        assert event["v"] == 1
        assert (event["mcp_method"], event["mcp_name"], event["mcp_claimed"]) == ("tools/call", "über", True)
        assert (event["source"], event["user_agent"]) == ("203.0.113.7", "agent/1")
        assert (event["request_id"], event["trace_id"]) == ("id-of-envoy", trace)
    assert (allowed["jti"], allowed["service"], allowed["provider"]) == ("jti-recorded", "time", "github")
    assert allowed["policy_version"] == denied["policy_version"]
    # The text in the log has the same fields.
    of_text, of_record = (
        {name: value for name, value in event.items() if name not in {"v", "time", "outcome"}}
        for event in (text[0], allowed)
    )
    for name in ("timestamp", "audit", "program", "level"):
        del of_text[name]
    assert of_text == of_record
    assert all(is_closed(boot) for name in ("ext_authz", "ext_authz.0") for boot in boots_of(tmp_path, name))
    assert token not in "".join(map(str, recorded(tmp_path)))


def test_without_text_the_segments_alone_have_the_calls(
    redis: RedisServer, key: SigningKey, tmp_path: Path
) -> None:
    remember(redis, "jti-silent")
    with running_authz(environ(redis, AUDIT_DIR=str(tmp_path), AUDIT_TEXT="false")) as authz:
        authz.wait_for_health("SERVING")
        assert read_answer(authz.check(check_request(token=mint(key, jti="jti-silent")))).status == 200
        until(lambda: recorded(tmp_path), "the batch is on the disk")
        assert not any(event.get("audit") for event in authz.log())
        assert authz.terminate() == 0
    assert [event["jti"] for event in recorded(tmp_path)] == ["jti-silent"]


def test_a_killed_worker_loses_its_last_batch_at_most_and_its_chain_is_whole(
    redis: RedisServer, key: SigningKey, tmp_path: Path
) -> None:
    remember(redis, "jti-killed")
    message = check_request(token=mint(key, jti="jti-killed"))
    durable = environ(redis, AUDIT_DIR=str(tmp_path), AUDIT_DURABILITY="answer")
    with running_authz(durable) as authz:
        authz.wait_for_health("SERVING")
        for _ in range(50):
            assert read_answer(authz.check(message)).status == 200
        authz.process.kill()
        authz.process.wait()
        # The worker ends because its parent is gone; here its record may go on for a moment.
        assert len(recorded(tmp_path, "ext_authz.0")) == 50
    with running_authz(durable) as authz:
        authz.wait_for_health("SERVING")
        assert read_answer(authz.check(message)).status == 200
    assert len(recorded(tmp_path, "ext_authz.0")) == 51
    assert len(boots_of(tmp_path, "ext_authz.0")) == 2
