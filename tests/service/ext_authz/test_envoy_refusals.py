"""The check service records the refusals that Envoy reports to it, over each of its transports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from ext_authz.generated import envoy_refusals_pb2 as pb
from oauth_core.process.audit_repeats import MOST_A_SECOND, MOST_COUNTS_A_SECOND
from tests.support.audit_record import recorded
from tests.support.authz_process import environ, running_authz
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.support.redis_server import RedisServer

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
_SOURCES = 300
_EACH = 4


def report(records: Iterable[dict[str, str]]) -> bytes:
    """A message of Envoy about these refusals."""
    made = pb.ExportLogsServiceRequest()
    scope = made.resource_logs.add().scope_logs.add()
    for values in records:
        record = scope.log_records.add()
        for key, value in values.items():
            record.attributes.add(key=key).value.string_value = value.encode(errors="surrogateescape")
    return made.SerializeToString()


def refusal(source: str, **more: str) -> dict[str, str]:
    return {"status": "429", "details": "local_rate_limited", "source": source, "peer": source, **more}


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
def test_a_flood_from_many_addresses_is_counted_and_does_not_fill_the_record(
    redis: RedisServer, tmp_path: Path, transport: str
) -> None:
    flood = [refusal(f"2001:db8::{number:x}") for number in range(_SOURCES)] * _EACH
    with running_authz(environ(redis, AUDIT_DIR=str(tmp_path), AUTHZ_TRANSPORT=transport)) as authz:
        authz.wait_for_health("SERVING")
        assert authz.check(report(flood), method=EXPORT) == b""
        with pytest.raises(grpc.RpcError) as caught:
            authz.check(b"no message", method=EXPORT)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        until(
            lambda: sum(event.get("count", 1) for event in recorded(tmp_path)) == len(flood),
            "each refusal is in a count",
        )
        assert authz.terminate() == 0
    events = recorded(tmp_path)
    assert {(event["event"], event["outcome"]) for event in events} == {("rate.limited", "denied")}
    # The message is read at once, so it has refusals of two seconds at most.
    assert len(events) <= 2 * (MOST_A_SECOND + MOST_COUNTS_A_SECOND + 1)


def test_long_texts_of_callers_are_cut_and_fields_without_a_value_are_left_out(
    redis: RedisServer, tmp_path: Path
) -> None:
    long = "x" * 5000
    known = refusal("203.0.113.7", method="POST", path="/token", user_agent=long, request_id=long, more=long)
    unknown = {
        "status": "431",
        "details": "http1.headers_too_large",
        "source": "203.0.113.9",
        "peer": "203.0.113.1",
        "method": "-",
        "path": "-",
        "user_agent": "-",
    }
    with running_authz(environ(redis, AUDIT_DIR=str(tmp_path))) as authz:
        authz.wait_for_health("SERVING")
        authz.check(report([known, unknown, {}]), method=EXPORT)
        assert authz.terminate() == 0
    first, second, third = recorded(tmp_path)
    assert (first["event"], first["method"], first["path"]) == ("rate.limited", "POST", "/token")
    assert first["user_agent"] == first["request_id"] == long[:256]
    assert "peer" not in first
    assert (second["event"], second["reason"]) == (
        "request.refused",
        "Envoy answered 431: http1.headers_too_large",
    )
    assert (second["source"], second["peer"]) == ("203.0.113.9", "203.0.113.1")
    assert not {"method", "path", "user_agent", "request_id"} & second.keys()
    assert third["event"] == "request.refused"
