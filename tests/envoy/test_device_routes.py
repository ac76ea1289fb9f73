"""The device flow's two addresses, behind a real Envoy; what is only spelled alike leads nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.envoy.world import World


@pytest.mark.parametrize("path", ["/device", "/device?user_code=BCDF-GHJK", "/device_authorization"])
def test_the_device_flow_reaches_the_authorization_server_without_a_token(world: World, path: str) -> None:
    assert world.gate.ask(path).json["upstream"] == "oauth_web"
    assert world.only_received().target == path
    assert world.checks.asked == []


@pytest.mark.parametrize("path", ["/devices", "/device/x", "/device_authorization/x"])
def test_what_is_only_spelled_alike_leads_nowhere(world: World, path: str) -> None:
    assert world.gate.ask(path).status == 404
