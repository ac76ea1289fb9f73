"""The access log has one line of JSON for each request and contains no secret."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from envoy_data_plane.google.protobuf import Struct

from tests.envoy.check_service import GOOD, allow

if TYPE_CHECKING:
    from envoy_data_plane.envoy.service.auth.v3 import CheckResponse

    from tests.envoy.check_service import Check
    from tests.envoy.world import World


def _line_of(world: World, path: str) -> tuple[dict[str, Any], str]:
    deadline = time.monotonic() + 60  # Envoy writes its log in batches
    while time.monotonic() < deadline:
        text = world.gate.log.read_text(encoding="utf-8")
        for line in text.splitlines():
            if line.startswith("{") and (entry := json.loads(line))["path"] == path:
                return entry, text
        time.sleep(0.05)
    raise AssertionError(f"no line for {path}")


def test_a_line_has_the_user_the_request_and_its_outcome(world: World) -> None:
    world.gate.ask("/time/mcp/logged?code=SECRET-CODE", headers=GOOD | {"Cookie": "SECRET-COOKIE"})
    entry, text = _line_of(world, "/time/mcp/logged")
    assert (entry["method"], entry["status"], entry["route"]) == ("GET", 200, "time")
    assert entry["host"] == world.gate.host
    assert (entry["decision"], entry["service"]) == ("allowed", "time")
    assert (entry["user"], entry["user_id"], entry["oauth_client"]) == ("ada", "1", "c")
    for secret in ("SECRET-CODE", "SECRET-COOKIE", "Bearer", "good"):
        assert secret not in text.replace(str(world.gate.log), "")


def test_a_forged_identity_is_not_logged(world: World) -> None:
    world.gate.ask("/time/mcp/forged", headers={"X-User-Id": "FORGED"})
    entry, text = _line_of(world, "/time/mcp/forged")
    assert (entry["status"], entry["user"], entry["user_id"]) == (401, None, None)
    assert (entry["decision"], entry["reason"], entry["service"]) == ("denied", "missing_token", "time")
    assert "FORGED" not in text


def test_a_line_has_what_the_request_calls_as_one_value_whatever_is_in_it(world: World) -> None:
    name = 'drop "all"\n{"user":"FORGED"}\x1b[31m\u00fc' + "x" * 300
    called = {"portcullis.mcp_method": "tools/call", "portcullis.mcp_name": name, "portcullis.mcp_claimed": True}

    def allowing(check: Check) -> CheckResponse:
        answer = allow()
        assert answer.dynamic_metadata is not None
        answer.dynamic_metadata = Struct.from_dict(answer.dynamic_metadata.to_dict() | called)
        return answer

    world.checks.decide = allowing
    world.gate.ask("/time/mcp/called", headers=GOOD)
    entry, _ = _line_of(world, "/time/mcp/called")
    assert (entry["mcp_method"], entry["mcp_name"], entry["mcp_claimed"]) == ("tools/call", name, True)
    assert entry["user"] == "ada"
    world.checks.decide = world.checks.usual
    world.gate.ask("/time/mcp/plain", headers=GOOD)
    entry, _ = _line_of(world, "/time/mcp/plain")
    assert (entry["mcp_method"], entry["mcp_name"], entry["mcp_claimed"]) == (None, None, None)
