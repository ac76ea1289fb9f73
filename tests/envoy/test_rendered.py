"""The rendered configuration has no unchecked route, Envoy accepts it, and people can read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.settings import WEB_PATHS, EnvoySettings
from oauth_core.settings.envoy import SMALLEST_BODY_BUFFER
from oauth_core.settings.roles import PermissionSettings
from oauth_core.settings.services import ServiceSettings
from portcullis.envoy_config import bootstrap, render, to_yaml
from portcullis.envoy_config.checks import BODIES, CHECK, CHECKS, REFUSALS
from portcullis.envoy_config.locations import LOCATIONS
from tests.envoy.example_settings import EXAMPLE, LOCAL, PRODUCTION, rendered
from tests.support.envoy import envoy_path
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB_CLUSTERS = {"oauth_web", "github_standin"}

both = pytest.mark.parametrize("settings", [LOCAL, PRODUCTION], ids=["local", "production"])


def _manager(settings: EnvoySettings) -> dict[str, Any]:
    (listener,) = rendered(settings)["static_resources"]["listeners"]
    (chain,) = listener["filter_chains"]
    _counting, manager = chain["filters"]
    config: dict[str, Any] = manager["typed_config"]
    return config


def _routes(settings: EnvoySettings) -> Iterator[tuple[str, dict[str, Any]]]:
    for host in _manager(settings)["route_config"]["virtual_hosts"]:
        assert "typed_per_filter_config" not in host, "a whole host must not be able to disable a filter"
        for route in host["routes"]:
            yield host["name"], route


@both
def test_every_route_to_a_service_is_checked_and_names_its_service(settings: EnvoySettings) -> None:
    services = {service.name for service in settings.resolved_services}
    seen = set()
    for _, route in _routes(settings):
        cluster = route.get("route", {}).get("cluster", "")
        if cluster in WEB_CLUSTERS or "direct_response" in route:
            continue
        name = cluster.removeprefix("service_")
        assert name in services
        changed = set(route["typed_per_filter_config"]) - {LOCATIONS}
        assert changed == {CHECK, REFUSALS}, "such a route changes no other filter that decides"
        for filter_name, step in ((CHECK, "headers"), (REFUSALS, "refusal")):
            check = route["typed_per_filter_config"][filter_name]
            assert "disabled" not in check
            told = {"portcullis.service": name, "portcullis.step": step}
            assert check["check_settings"] == {"context_extensions": told}
        seen.add(name)
    assert seen == services


def test_the_check_receives_whole_bodies_as_bytes_only_where_tool_rules_need_them() -> None:
    first, *others = LOCAL.services
    rules = PermissionSettings.model_validate({"tools": {"*": "mcp.time.read"}})
    ruled = first.model_copy(update={"permissions": rules})
    settings = LOCAL.model_copy(update={"services": (ruled, *others), "max_checked_bytes": 4096})
    for _, route in _routes(settings):
        checks = route["typed_per_filter_config"]
        if "route" not in route or route["route"]["cluster"] in WEB_CLUSTERS:
            continue
        ruled_one = route["route"]["cluster"] == f"service_{first.name}"
        headers = checks[CHECK]["check_settings"]["context_extensions"]
        # A check answers "the body decides" only if the route names the step, so that a body follows.
        assert ("portcullis.body_bytes" in headers) is (BODIES in checks) is ruled_one
        if ruled_one:
            assert headers["portcullis.body_bytes"] == "4096"
            # Without a step, which makes it the last check.
            last = {"portcullis.service": first.name, "portcullis.body_bytes": "4096"}
            assert checks[BODIES]["check_settings"]["context_extensions"] == last
    filters = {each["name"]: each["typed_config"] for each in _manager(settings)["http_filters"]}
    assert "with_request_body" not in filters[CHECK], "no body is buffered before the headers are accepted"
    assert filters[BODIES]["with_request_body"] == {
        "max_request_bytes": SMALLEST_BODY_BUFFER,
        "pack_as_bytes": True,
    }
    assert filters[BODIES]["filter_enabled_metadata"]["invert"] is True, (
        "the second check runs unless the first one allowed"
    )
    assert filters[REFUSALS]["filter_enabled_metadata"]["invert"] is True
    assert BODIES not in {each["name"] for each in _manager(LOCAL)["http_filters"]}


def test_every_path_that_no_service_may_claim_goes_to_the_authorization_server() -> None:
    matches = [
        str(route["match"].get("path") or route["match"].get("path_separated_prefix"))
        for _, route in _routes(LOCAL)
        if route.get("route", {}).get("cluster") in WEB_CLUSTERS
    ]
    for path in WEB_PATHS:
        assert any(match == path or match.startswith(f"{path}/") for match in matches), path


@both
def test_the_check_is_off_only_where_no_service_is(settings: EnvoySettings) -> None:
    for _, route in _routes(settings):
        if any(route["typed_per_filter_config"].get(name, {}).get("disabled") for name in CHECKS):
            assert "direct_response" in route or route["route"]["cluster"] in WEB_CLUSTERS
    assert not set(CHECKS) & set(_manager(settings)["route_config"].get("typed_per_filter_config", {}))


@both
def test_a_failure_of_the_check_service_refuses_the_request(settings: EnvoySettings) -> None:
    checks = [each for each in _manager(settings)["http_filters"] if each["name"] in CHECKS]
    assert len(checks) > 1
    for check in checks:
        assert check["typed_config"]["failure_mode_allow"] is False
        assert check["typed_config"]["status_on_error"] == {"code": "ServiceUnavailable"}
        assert check["typed_config"]["validate_mutations"] is True
        assert not check.get("disabled")
        for name in ("filter_enabled", "failure_mode_allow_header_add", "clear_route_cache", "shadow_mode"):
            assert name not in check["typed_config"]


@both
def test_a_failure_of_the_filter_on_answers_refuses_the_answer(settings: EnvoySettings) -> None:
    filters = {each["name"]: each["typed_config"] for each in _manager(settings)["http_filters"]}
    config = filters["portcullis.sessions"]["extension_config"]["typed_config"]
    assert config["failure_mode_allow"] is False
    assert config["status_on_error"] == {"code": "ServiceUnavailable"}
    assert config["processing_mode"] == {"request_header_mode": "SKIP", "response_header_mode": "SEND"}


@both
def test_the_check_runs_before_every_filter_that_processes_a_request(settings: EnvoySettings) -> None:
    names = [http_filter["name"].rpartition(".")[2] for http_filter in _manager(settings)["http_filters"]]
    if settings.issuer.startswith("https://"):  # it is first in, so last out, and marks every answer
        assert names.pop(0) == "header_mutation"
    assert names == [
        "vary",
        "cors",
        "rbac",
        "addresses",
        "shares",
        "local_ratelimit",
        "ext_authz",
        "refusals",
        "sessions",
        "buffer",
        "lua",
        "router",
    ]


@both
def test_the_last_host_and_the_last_routes_of_every_host_reach_no_server(settings: EnvoySettings) -> None:
    hosts = _manager(settings)["route_config"]["virtual_hosts"]
    assert hosts[-1]["domains"] == ["*"]
    assert [route["direct_response"]["status"] for route in hosts[-1]["routes"]] == [421, 421]
    for host in hosts[:-1]:
        assert "*" not in "".join(host["domains"])
        anything, tunnels = host["routes"][-2:]
        assert (anything["match"], anything["direct_response"]["status"]) == ({"prefix": "/"}, 404)
        assert (tunnels["match"], tunnels["direct_response"]["status"]) == ({"connect_matcher": {}}, 405)


@both
def test_envoy_accepts_the_rendered_configuration_in_both_notations(
    settings: EnvoySettings, tmp_path: Path
) -> None:
    texts = {"envoy.yaml": to_yaml(render(settings)), "envoy.json": json.dumps(render(settings))}
    for name, text in texts.items():
        config = tmp_path / name
        config.write_text(text, encoding="utf-8")
        run = subprocess.run(
            [envoy_path(), "--mode", "validate", "-c", config], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        # Envoy 1.36 refuses the field that newer versions want in place of this one.
        warned = [line for line in run.stderr.splitlines() if "[warning]" in line]
        assert all("OpenTelemetryAccessLogConfig.common_config" in line for line in warned), run.stderr


@both
def test_yaml_and_json_are_equal(settings: EnvoySettings) -> None:
    assert yaml.safe_load(to_yaml(render(settings))) == json.loads(json.dumps(render(settings)))


_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "yes",
        "No",
        "null",
        "~",
        "1",
        "1.5",
        "0x1",
        "-",
        "- a",
        "a: b",
        "a #b",
        "a\nb",
        "",
        " a",
        "@type",
        "1e3",
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=12,
)


@given(_VALUES)
def test_every_value_survives_a_round_trip_through_yaml(value: object) -> None:
    assert yaml.safe_load(to_yaml(value)) == value


def test_the_typed_message_and_the_rendering_agree() -> None:
    typed = bootstrap(LOCAL)
    assert typed.static_resources is not None
    names = [cluster.name for cluster in typed.static_resources.clusters]
    ours = ["ext_authz", "ext_authz_answers", "oauth_web", "github_standin"]
    assert names == [*ours, "service_time", "service_deep", "service_far"]


@pytest.mark.parametrize("name", ["ext_authz", "ext_authz_answers", "oauth_web", "service_time", "service_far"])
def test_every_cluster_has_limits_and_short_timeouts(name: str) -> None:
    cluster = next(c for c in rendered(LOCAL)["static_resources"]["clusters"] if c["name"] == name)
    assert cluster["connect_timeout"] == "2s"
    (threshold,) = cluster["circuit_breakers"]["thresholds"]
    assert {"max_connections", "max_pending_requests", "max_requests"} <= set(threshold)


def _run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("portcullis"), "envoy", "render", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]} | environ,
    )


def test_the_command_prints_the_result_of_the_function() -> None:
    plain = _run("--config", str(EXAMPLE))
    assert (plain.returncode, plain.stderr) == (0, "")
    assert plain.stdout == to_yaml(render(PRODUCTION))
    assert json.loads(_run("--config", str(EXAMPLE), "--format", "json").stdout) == render(PRODUCTION)
    assert _run(PORTCULLIS_CONFIG=str(EXAMPLE)).stdout == plain.stdout


def test_the_command_accepts_the_folder_of_the_sockets(tmp_path: Path) -> None:
    config = tmp_path / "portcullis.toml"
    config.write_text(
        'issuer = "http://localhost:1"\n[[services]]\nname = "time"\ncommand = ["x"]\n', encoding="utf-8"
    )
    run = _run("--config", str(config), "--run-dir", "/run/elsewhere")
    assert "path: /run/elsewhere/service-time.sock" in run.stdout.replace('"', "")


def test_the_command_reports_faults_in_readable_lines(tmp_path: Path) -> None:
    run = _run("--config", str(EXAMPLE), ENVOY_ADMIN="0.0.0.0:9901", WEB_UPSTREAM="nowhere")
    assert run.returncode == 2
    assert run.stdout == ""
    first, second = run.stderr.splitlines()
    assert first.startswith("portcullis: envoy.admin: '0.0.0.0:9901' is open to others")
    assert second.startswith("portcullis: envoy.web_upstream: is neither")


def test_the_example_is_up_to_date() -> None:
    assert (ROOT / "envoy" / "envoy.yaml").read_text(encoding="utf-8") == to_yaml(render(PRODUCTION))


def test_the_folder_of_the_example_is_no_python_package() -> None:
    """The Envoy wheel installs a package of that name; ours would hide it."""
    assert not (ROOT / "envoy" / "__init__.py").exists()


def test_a_filter_on_answers_that_no_service_needs_is_left_out() -> None:
    def names(**fields: Any) -> list[str]:
        service = ServiceSettings(name="time", url="/time/mcp", upstream="http://127.0.0.1:1/mcp", **fields)
        filters = _manager(EnvoySettings(issuer="https://gate.example.com", services=(service,)))["http_filters"]
        return [each["name"] for each in filters if "extension_config" in each["typed_config"]]

    rules = PermissionSettings.model_validate({"tools": {"*": "mcp.time.all"}})
    assert names() == ["portcullis.sessions"]
    assert names(bind_sessions=False) == []
    assert names(permissions=rules) == ["portcullis.lists", "portcullis.sessions"]
    assert names(permissions=rules, filter_lists=False, bind_sessions=False) == ["portcullis.lists"]
