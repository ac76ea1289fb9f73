"""What can be said of the container files without an engine."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from oauth_core.settings import EnvoySettings, load
from oauth_core.store.client_cache.token_status import CHECK_ACL
from portcullis.supervisor.redis_config import RULES, WEB
from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def _compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return document


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_file_of_the_services_holds_every_package_they_depend_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {_plain(re.match(r"[\w.-]+", line)[0]) for line in project["dependencies"]}  # type: ignore[index]
    locked = (ROOT / "requirements" / "services.txt").read_text(encoding="utf-8")
    assert needed <= {_plain(name) for name in re.findall(r"^([\w.-]+)==", locked, re.MULTILINE)}


def test_only_envoy_publishes_a_port() -> None:
    assert [name for name, service in _compose()["services"].items() if "ports" in service] == ["envoy"]


def test_the_inner_networks_have_no_way_out() -> None:
    networks = _compose()["networks"]
    assert {name for name, options in networks.items() if not options.get("internal")} == {"edge"}


def test_each_service_shares_its_network_with_envoy_alone() -> None:
    services = _compose()["services"]
    on: dict[str, set[str]] = {}
    for name, options in services.items():
        for network in options.get("networks", ()):
            on.setdefault(network, set()).add(name)
    ours = {service.name for service in load(EnvoySettings, ROOT / "compose.toml", {}).resolved_services}
    for name in ours:
        (network,) = services[name]["networks"]
        assert on[network] == {name, "envoy"}


@pytest.mark.parametrize("file", sorted(ROOT.glob("compose*.yaml")), ids=lambda file: file.name)
def test_no_file_lets_everybody_in(file: Path) -> None:
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    for options in document["services"].values():
        environment = options.get("environment", {})
        assert environment.get("ALLOWED_GITHUB_USERS", "") in {"", "${ALLOWED_GITHUB_USERS:-}"}


def test_redis_lets_the_check_service_do_what_the_check_service_says_it_needs() -> None:
    (script,) = _compose()["services"]["redis"]["command"]
    assert f'"{" ".join(CHECK_ACL)}"' in script


def test_the_authorization_server_has_the_same_redis_rights_as_under_up() -> None:
    (script,) = _compose()["services"]["redis"]["command"]
    assert f'"{RULES[WEB]}"' in script
    assert f"ACL SETUSER {WEB} on >PASSWORD {RULES[WEB]}\n" in (ROOT / "docs" / "kubernetes.md").read_text()


def test_the_settings_of_the_stack_are_sound_and_name_its_services() -> None:
    settings = load(EnvoySettings, ROOT / "compose.toml", {})
    services = _compose()["services"]
    for service in settings.resolved_services:
        assert service.upstream == f"http://{service.name}:8000/mcp"
        assert service.name in services


def test_no_secret_reaches_the_engine_in_a_build() -> None:
    first, *allowed = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith(("#", "**/"))
    ]
    assert first == "*", "everything is left out that is not named"
    assert all(re.fullmatch(r"![\w.]+", line) for line in allowed)
    assert "!secrets" not in allowed
