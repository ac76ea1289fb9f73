"""The check service records every call in segments of its own, and allows none that it cannot record."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc
import pytest

from oauth_core.process.audit_segments import RESERVE_BYTES
from oauth_core.process.log_stream import STALLED_SECONDS
from tests.support import forks
from tests.support.audit_record import boots_of, is_closed, recorded
from tests.support.authz_process import AuthzProcess, environ, remember, running_authz
from tests.support.check_messages import check_request, read_answer
from tests.support.programs import until
from tests.support.small_disk import fill, small_disk
from tests.support.tokens import NOTES, TIME, mint, new_key

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
    with running_authz(environ(redis, AUDIT_DIR=str(tmp_path), AUDIT_NODE="one", AUDIT_TEXT="true")) as authz:
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


def test_detection_finds_forged_stolen_and_revoked_tokens_in_what_was_recorded(
    redis: RedisServer, key: SigningKey, tmp_path: Path
) -> None:
    for jti in ("jti-many", "jti-elsewhere"):
        remember(redis, jti)
    forged, other = new_key(), "192.0.2.9"
    with running_authz(environ(redis, AUDIT_DIR=str(tmp_path))) as authz:
        authz.wait_for_health("SERVING")
        for number in range(10):
            message = check_request(token=mint(forged, jti=f"forged-{number}"), source=other)
            assert read_answer(authz.check(message)).status == 401
        for number in range(3):
            message = check_request(token=mint(key, jti="jti-many"), source=f"10.0.{number}.1")
            assert read_answer(authz.check(message)).status == 200
        for _ in range(5):
            message = check_request(token=mint(key, jti="jti-revoked"))
            assert read_answer(authz.check(message)).status == 401
        for service, audience in (("time", NOTES), ("notes", TIME)):
            message = check_request(path=f"/{service}/mcp", token=mint(key, jti="jti-elsewhere", aud=(audience,)))
            assert read_answer(authz.check(message)).status == 401
        assert authz.terminate() == 0

    done = forks.run(
        "portcullis", "audit", "detect", "--audit-dir", str(tmp_path), "--unsealed", "--json", environment={}
    )

    assert done.returncode == 3, done.stderr
    found = {finding["rule"]: finding for finding in map(json.loads, done.stdout.splitlines())}
    assert found.keys() == {
        "forged_tokens",
        "token_many_networks",
        "revoked_token_used",
        "token_at_other_services",
    }
    assert found["forged_tokens"]["values"]["source"]["shown"] == [other]
    assert found["forged_tokens"]["events"] == 10
    for rule, jti in (
        ("token_many_networks", "jti-many"),
        ("revoked_token_used", "jti-revoked"),
        ("token_at_other_services", "jti-elsewhere"),
    ):
        assert found[rule]["group"] == {"jti": jti}
        assert found[rule]["values"]["user"]["shown"] == ["octocat"]


def test_with_a_folder_the_segments_alone_have_the_calls(
    redis: RedisServer, key: SigningKey, tmp_path: Path
) -> None:
    remember(redis, "jti-silent")
    with running_authz(environ(redis, AUDIT_DIR=str(tmp_path))) as authz:
        authz.wait_for_health("SERVING")
        assert read_answer(authz.check(check_request(token=mint(key, jti="jti-silent")))).status == 200
        until(lambda: recorded(tmp_path), "the batch is on the disk")
        assert not any(event.get("audit") for event in authz.log())
        assert authz.terminate() == 0
    assert [event["jti"] for event in recorded(tmp_path)] == ["jti-silent"]


def test_a_killed_worker_loses_at_most_its_last_batch_and_its_chain_is_complete(
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
        # The worker ends because its parent has ended; its record may continue for a moment.
        assert len(recorded(tmp_path, "ext_authz.0")) == 50
    with running_authz(durable) as authz:
        authz.wait_for_health("SERVING")
        assert read_answer(authz.check(message)).status == 200
    assert len(recorded(tmp_path, "ext_authz.0")) == 51
    assert len(boots_of(tmp_path, "ext_authz.0")) == 2


def wait_for_status(authz: AuthzProcess, message: bytes, wanted: int) -> None:
    """Return once a call is answered with the status `wanted`. A worker may be replaced meanwhile."""

    def is_answered() -> bool:
        try:
            return read_answer(authz.check(message)).status == wanted
        except grpc.RpcError:
            return False

    until(is_answered, f"a call is answered with {wanted}")


def test_a_killed_worker_leaves_a_complete_chain_and_its_replacement_starts_a_new_boot(
    redis: RedisServer, key: SigningKey, tmp_path: Path
) -> None:
    remember(redis, "jti-worker")
    message = check_request(token=mint(key, jti="jti-worker"))
    with running_authz(environ(redis, AUDIT_DIR=str(tmp_path))) as authz:
        authz.wait_for_health("SERVING")
        (worker,) = [event["pid"] for event in authz.log() if event["event"] == "worker.ready"]
        for _ in range(20):
            assert read_answer(authz.check(message)).status == 200
        os.kill(worker, signal.SIGKILL)
        wait_for_status(authz, message, 200)
        until(lambda: len(boots_of(tmp_path, "ext_authz.0")) == 2, "the replacement has a boot")
        assert authz.terminate() == 0
    whole = {is_closed(boot) for boot in boots_of(tmp_path, "ext_authz.0")}
    assert whole == {True, False}
    # At most the last batch is missing.
    assert 1 <= len(recorded(tmp_path, "ext_authz.0")) <= 21


@pytest.mark.parametrize("durability", ["batch", "answer"])
def test_calls_are_refused_on_a_full_disk_and_allowed_again_when_there_is_room(
    redis: RedisServer, key: SigningKey, durability: str
) -> None:
    remember(redis, "jti-full-disk")
    message = check_request(token=mint(key, jti="jti-full-disk"))
    with small_disk(24) as disk:
        folder = disk / "audit"
        settings = environ(redis, AUDIT_DIR=str(folder), AUDIT_DURABILITY=durability)
        with running_authz(settings) as authz:
            authz.wait_for_health("SERVING")
            wait_for_status(authz, message, 200)
            until(
                lambda: sum(file.stat().st_size for file in folder.glob("reserve/*")) == 2 * RESERVE_BYTES,
                "the parent and the worker have their reserves",
            )
            filler = fill(disk)
            wait_for_status(authz, message, 503)
            refused = read_answer(authz.check(message))
            assert refused.metadata["reason"] == "audit_unavailable"
            assert refused.headers["retry-after"]
            # Refusals of another kind continue, and are recorded in the reserved room.
            assert read_answer(authz.check(check_request(headers={"x-request-id": "while-full"}))).status == 401
            until(
                lambda: "while-full" in {event.get("request_id") for event in recorded(folder)},
                "the refusal is on the disk",
            )
            filler.unlink()
            wait_for_status(authz, message, 200)
            assert authz.terminate() == 0
        assert any(event["event"] == "audit.interrupted" for event in recorded(folder, "ext_authz.0"))


def test_calls_are_refused_while_the_folder_is_missing(
    redis: RedisServer, key: SigningKey, tmp_path: Path
) -> None:
    remember(redis, "jti-gone")
    message = check_request(token=mint(key, jti="jti-gone"))
    folder, elsewhere = tmp_path / "audit", tmp_path / "elsewhere"
    with running_authz(environ(redis, AUDIT_DIR=str(folder))) as authz:
        authz.wait_for_health("SERVING")
        wait_for_status(authz, message, 200)
        folder.rename(elsewhere)
        wait_for_status(authz, message, 503)
        elsewhere.rename(folder)
        wait_for_status(authz, message, 200)
        assert authz.terminate() == 0
    assert {event["event"] for event in recorded(folder, "ext_authz.0")} == {
        "access.allowed",
        "audit.interrupted",
    }


def test_a_log_that_is_not_read_blocks_no_calls(redis: RedisServer, key: SigningKey, tmp_path: Path) -> None:
    remember(redis, "jti-stalled")
    message = check_request(token=mint(key, jti="jti-stalled"))
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writer, b"\n" * 4096)
        os.set_blocking(writer, True)
        with running_authz(environ(redis, AUDIT_DIR=str(tmp_path), AUDIT_TEXT="true"), stdout=writer) as authz:
            authz.wait_for_health("SERVING")
            # Longer than the log would have to be blocked until calls are refused.
            begun = time.monotonic()
            calls = 0
            while time.monotonic() - begun < 3 * STALLED_SECONDS:
                assert read_answer(authz.check(message)).status == 200
                calls += 1
            authz.process.kill()
            authz.process.wait()
    finally:
        os.close(reader)
        os.close(writer)
    assert len(recorded(tmp_path, "ext_authz.0")) <= calls


def test_a_folder_that_cannot_be_used_is_an_error_at_the_start(redis: RedisServer, tmp_path: Path) -> None:
    with running_authz(environ(redis, AUDIT_DIR=str(tmp_path / "no" / "parent"))) as authz:
        assert authz.process.wait(60) == 2
        assert "audit.dir" in authz.log_text()
