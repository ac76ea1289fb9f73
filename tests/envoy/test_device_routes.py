"""The two paths of the device flow behind a real Envoy. Similar paths are not found."""

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
def test_a_similar_path_is_not_found(world: World, path: str) -> None:
    assert world.gate.ask(path).status == 404
