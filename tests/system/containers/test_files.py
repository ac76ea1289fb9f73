"""Tests of the container files without an engine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from oauth_core.settings import AlertSettings, EnvoySettings, SealSettings, SinkSettings, load
from oauth_core.store.client_cache.token_status import CHECK_ACL
from portcullis.cli.alert_options import WRITER
from portcullis.sinks.cursors import Cursors
from portcullis.supervisor.redis_config import RULES, WEB
from tests.support.project import ROOT


def _compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return document


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_file_of_the_services_contains_all_their_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {_plain(re.match(r"[\w.-]+", line)[0]) for line in project["dependencies"]}  # type: ignore[index]
    locked = (ROOT / "requirements" / "services.txt").read_text(encoding="utf-8")
    assert needed <= {_plain(name) for name in re.findall(r"^([\w.-]+)==", locked, re.MULTILINE)}


def test_only_envoy_publishes_a_port() -> None:
    assert [name for name, service in _compose()["services"].items() if "ports" in service] == ["envoy"]


def test_the_inner_networks_have_no_way_out() -> None:
    networks = _compose()["networks"]
    assert {name for name, options in networks.items() if not options.get("internal")} == {
        "edge",
        "alerts",
        "sinks",
    }
    services = _compose()["services"]
    for name in ("alerts", "sinks"):
        assert [other for other, options in services.items() if name in options.get("networks", ())] == [name]
        assert services[name]["profiles"] == [name], "it needs settings"


def test_each_service_shares_its_network_only_with_envoy() -> None:
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
def test_no_compose_file_allows_all_people(file: Path) -> None:
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    for options in document["services"].values():
        environment = options.get("environment", {})
        assert environment.get("ALLOWED_GITHUB_USERS", "") in {"", "${ALLOWED_GITHUB_USERS:-}"}


def test_redis_grants_the_check_service_the_rights_that_it_declares() -> None:
    (script,) = _compose()["services"]["redis"]["command"]
    assert f'"{" ".join(CHECK_ACL)}"' in script


def test_the_authorization_server_has_the_same_redis_rights_as_under_up() -> None:
    (script,) = _compose()["services"]["redis"]["command"]
    assert f'"{RULES[WEB]}"' in script
    assert f"ACL SETUSER {WEB} on >PASSWORD {RULES[WEB]}\n" in (ROOT / "docs" / "kubernetes.md").read_text()


AUDIT = "/var/lib/portcullis/audit"


def _mounts(service: str) -> dict[str, str]:
    """The volumes of a service by their paths."""
    parts = [volume.split(":") for volume in _compose()["services"][service].get("volumes", ())]
    return {path: ":".join((volume, *mode)) for volume, path, *mode in parts if volume.startswith("audit")}


def test_programs_that_record_share_one_record_in_volumes() -> None:
    services = _compose()["services"]
    for name in ("oauth_web", "ext_authz", "sealer", "audit", "alerts", "sinks"):
        environment = services[name]["environment"]
        assert environment["AUDIT_DIR"] == AUDIT, name
        assert environment["AUDIT_NODE"] == "${AUDIT_NODE:-portcullis}", "the host name is new in each container"
    assert set(_mounts("oauth_web").values()) <= _compose()["volumes"].keys()
    segments = {path: name for path, name in _mounts("audit").items() if path.startswith(f"{AUDIT}/segments")}
    assert len(segments) == 4
    for name in ("sealer", "alerts", "sinks"):
        mounts = _mounts(name)
        expected = {path: f"{of}:ro" for path, of in segments.items()}
        if name == "alerts":
            expected[f"{AUDIT}/segments/{WRITER}"] = "audit-segments-alerts"
        assert {path: mounts[path] for path in segments} == expected


def test_no_program_can_change_the_events_of_another_one() -> None:
    writers = {name: set(_mounts(name).values()) for name in ("oauth_web", "ext_authz")}
    assert not writers["oauth_web"] & writers["ext_authz"]
    segments = {path: name for path, name in _mounts("audit").items() if path.startswith(f"{AUDIT}/segments")}
    assert not set(_mounts("alerts").values()) & (writers["oauth_web"] | writers["ext_authz"])
    recorded = {**_mounts("alerts"), **_mounts("oauth_web"), **_mounts("ext_authz")}
    assert {path: recorded[path] for path in segments} == segments


def test_the_alerts_program_changes_its_outbox_and_its_own_events_only_and_has_no_private_key() -> None:
    mounts = _mounts("alerts")
    assert {name for name in mounts.values() if not name.endswith(":ro")} == {"audit-segments-alerts"}
    assert "alerts:/var/lib/portcullis/alerts" in _compose()["services"]["alerts"]["volumes"]
    assert "secrets" not in _compose()["services"]["alerts"]
    environment = _compose()["services"]["alerts"]["environment"]
    environment |= {"ISSUER": "http://localhost:8080", "AUDIT_NODE": "portcullis"}
    settings = load(AlertSettings, ROOT / "compose.toml", environment)
    assert str(settings.alerts_outbox) == "/var/lib/portcullis/alerts/alerts.sqlite3"
    assert str(settings.audit_dir) == AUDIT


def test_the_program_for_sinks_changes_the_places_of_sinks_only_and_has_no_private_key() -> None:
    mounts = _mounts("sinks")
    assert [path for path, name in mounts.items() if not name.endswith(":ro")] == [f"{AUDIT}/sinks"]
    assert "secrets" not in _compose()["services"]["sinks"]
    # `audit prune` keeps what a sink lacks.
    assert _mounts("audit")[f"{AUDIT}/sinks"] == mounts[f"{AUDIT}/sinks"] == "audit-sinks"
    assert str(Cursors(Path(AUDIT)).folder) == f"{AUDIT}/sinks"
    environment = {**_compose()["services"]["sinks"]["environment"], "ISSUER": "http://localhost:8080"}
    environment["AUDIT_NODE"] = "portcullis"
    assert load(SinkSettings, ROOT / "compose.toml", environment).audit_dir == Path(AUDIT)


def test_only_the_sealer_has_the_key_and_it_cannot_change_events() -> None:
    assert _mounts("sealer")[f"{AUDIT}/segments"] == "audit-segments:ro"
    holders = {name for name in _compose()["services"] if "audit-key" in _mounts(name).values()}
    assert holders == {"sealer", "audit"}
    assert _compose()["services"]["audit"]["profiles"] == ["audit"], "it runs only if an operator starts it"
    for name in ("oauth_web", "ext_authz"):
        assert not {"audit-key", "audit-sealed"} & set(_mounts(name).values())


def test_the_sealer_accepts_its_settings() -> None:
    environment = _compose()["services"]["sealer"]["environment"]
    environment |= {"ISSUER": "http://localhost:8080", "AUDIT_NODE": "portcullis"}
    settings = load(SealSettings, ROOT / "compose.toml", environment)
    assert str(settings.audit_dir) == AUDIT
    assert settings.audit_seal_key is not None
    assert str(settings.audit_seal_key.parent) in _mounts("sealer")


def test_images_contain_the_folders_of_the_record_with_access_for_their_owner_only() -> None:
    """A new volume inherits the owner and the mode of the folder in the image."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    made = [line for line in text.splitlines() if f"{AUDIT}/segments" in line]
    assert len(made) == 2
    for line in made:
        (folders,) = re.findall(r"install -d -o 10001 -g 10001 -m 700 (.*)", line)
        segments = {f"{AUDIT}/segments/oauth_web", f"{AUDIT}/segments/command"}
        assert {AUDIT, f"{AUDIT}/segments", f"{AUDIT}-key", *segments} <= set(folders.split())


def test_the_settings_of_the_stack_are_valid_and_name_its_services() -> None:
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
    assert first == "*", "everything that is not listed is left out"
    assert all(re.fullmatch(r"![\w.]+", line) for line in allowed)
    assert "!secrets" not in allowed
