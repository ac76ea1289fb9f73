"""Row R38 for every listener of Envoy, the plain one beside TLS included: all routes to a service are checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.settings import EnvoySettings
from oauth_core.settings.services import ServiceSettings
from portcullis.envoy_config.checks import CHECK
from tests.envoy.example_settings import LOCAL, PRODUCTION, rendered

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST, FILES = "gate.example.com", "files.example.com"
SERVICES = (
    ServiceSettings(name="time", url="/time/mcp", upstream="http://time:8000/mcp"),
    ServiceSettings(name="files", url=f"https://{FILES}/mcp", upstream="https://files.internal.example/"),
)
WITH_TLS = EnvoySettings(
    issuer=f"https://{HOST}",
    services=SERVICES,
    envoy_listen=("0.0.0.0:8443", "[::]:8443"),
    http_redirect_listen=("0.0.0.0:8080", "[::]:8080"),
    tls_cert=Path("/run/chain.pem"),
    tls_key=Path("/run/key.pem"),
)
WITH_ACME = EnvoySettings(
    issuer=f"https://{HOST}",
    services=SERVICES,
    envoy_listen=("0.0.0.0:8443",),
    http_redirect_listen=("0.0.0.0:8080",),
    acme_email="ops@example.com",
    acme_dir=Path("/run/acme"),
)
every = pytest.mark.parametrize(
    "settings", [LOCAL, PRODUCTION, WITH_TLS, WITH_ACME], ids=["local", "production", "tls", "acme"]
)
OURS = {"oauth_web", "github_standin", "acme", "ext_authz"}
"""Clusters without a service."""


def _managers(settings: EnvoySettings) -> Iterator[dict[str, Any]]:
    for listener in rendered(settings)["static_resources"]["listeners"]:
        for chain in listener["filter_chains"]:
            counting, manager = (network_filter["typed_config"] for network_filter in chain["filters"])
            # Another filter, for example a TCP proxy, would forward bytes without a check.
            assert counting["@type"].endswith(".wasm.v3.Wasm")
            assert counting["config"]["name"] == "portcullis.connections"
            assert manager["@type"].endswith(".HttpConnectionManager")
            yield manager


def _said(part: object, key: str) -> Iterator[object]:
    """All values of `key`, at any depth."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == key:
                yield value
            yield from _said(value, key)
    elif isinstance(part, list):
        for each in part:
            yield from _said(each, key)


def _leads(route: dict[str, Any]) -> str | None:
    """The cluster of a route, if the route names one in the only form that we use."""
    (action,) = {"route", "direct_response", "redirect"} & route.keys()
    return str(route["route"]["cluster"]) if action == "route" else None


@every
def test_every_route_to_a_service_on_every_listener_is_checked_for_that_service(settings: EnvoySettings) -> None:
    ways: dict[str, int] = {}
    for manager in _managers(settings):
        assert not manager.get("rds"), "routes that another program could change"
        checks = [each for each in manager["http_filters"] if each["name"] == CHECK]
        for host in manager["route_config"]["virtual_hosts"]:
            for route in host["routes"]:
                cluster = _leads(route)
                if cluster is None or cluster in OURS:
                    continue
                (check,) = checks
                assert check["typed_config"]["failure_mode_allow"] is False
                own = route["typed_per_filter_config"][CHECK]
                assert "disabled" not in own
                told = own["check_settings"]["context_extensions"]["portcullis.service"]
                assert cluster == f"service_{told}"
                ways[told] = ways.get(told, 0) + 1
    assert ways.keys() == {service.name for service in settings.resolved_services}
    assert set(ways.values()) <= {1, 2, 3, 4}, (
        "the path, the path with a slash, and the paths below it; another address is another listener"
    )


@every
def test_a_route_sends_requests_only_to_its_cluster(settings: EnvoySettings) -> None:
    """No mirror, no weights, no cluster from a header, no script that could send a request elsewhere."""
    for manager in _managers(settings):
        routes = [route for host in manager["route_config"]["virtual_hosts"] for route in host["routes"]]
        assert sorted(map(str, _said(manager["route_config"], "cluster"))) == sorted(
            cluster for route in routes if (cluster := _leads(route)) is not None
        )
        for key in ("weighted_clusters", "cluster_header", "request_mirror_policies", "cluster_specifier_plugin"):
            assert list(_said(manager["route_config"], key)) == [], key
        assert manager.get("upgrade_configs") is None
        assert manager.get("internal_redirect_policy") is None
        # A filter before the check must not be able to let a request bypass it.
        names = {each["name"].rpartition(".")[2] for each in manager["http_filters"]}
        before = {"header_mutation", "vary", "cors", "rbac", "local_ratelimit", "ext_authz", "refusals", "bodies"}
        # The filters on answers see no request.
        assert names <= before | {"shares", "buffer", "addresses", "lua", "lists", "sessions", "router"}


@pytest.mark.parametrize("settings", [WITH_TLS, WITH_ACME], ids=["tls", "acme"])
def test_the_plain_listener_only_redirects_and_answers_acme_challenges(settings: EnvoySettings) -> None:
    plain = [manager for manager in _managers(settings) if manager["route_config"]["name"] == "redirect"]
    assert len(plain) == 1
    routes = [route for host in plain[0]["route_config"]["virtual_hosts"] for route in host["routes"]]
    assert {_leads(route) for route in routes} == ({None, "acme"} if settings.uses_acme else {None})
    for route in routes:
        if _leads(route) == "acme":
            assert route["match"] == {"prefix": "/.well-known/acme-challenge/"}
        if "redirect" in route:
            assert route["redirect"]["https_redirect"] is True
            assert route["redirect"]["host_redirect"] in {HOST, FILES}
