"""Examples for other Envoys route the same paths to the authorization server as ours, and leave no
more unchecked.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from oauth_core.settings import EnvoySettings, load
from oauth_core.settings.identity_headers import IdentityHeaders
from portcullis.envoy_config import render
from portcullis.envoy_config.connection_manager import SAID_BY_PROXIES, removed_names
from tests.envoy.own_envoy.examples import ENVOY_GATEWAY, ISTIO, ROUTES, SETTINGS, document, documents

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "auth.example.com"


@cache
def _rendered() -> dict[str, set[tuple[str, str]]]:
    """The routes of our own Envoy to the authorization server: kind of match and path, by host."""
    config: Any = render(load(EnvoySettings, SETTINGS, {}))
    (listener,) = config["static_resources"]["listeners"]
    hosts = listener["filter_chains"][0]["filters"][-1]["typed_config"]["route_config"]["virtual_hosts"]
    return {
        host["name"]: {
            ("Exact", match["path"]) if "path" in match else ("PathPrefix", match["path_separated_prefix"])
            for route in host["routes"]
            if route.get("route", {}).get("cluster") == "oauth_web"
            for match in [route["match"]]
        }
        for host in hosts
    }


def _example(name: str) -> set[tuple[str, str]]:
    rules = document(ROUTES, "HTTPRoute", name)["spec"]["rules"]
    return {(match["path"]["type"], match["path"]["value"]) for rule in rules for match in rule["matches"]}


def _not_checked(paths: set[tuple[str, str]]) -> Iterator[str]:
    for kind, path in paths:
        yield path
        if kind == "PathPrefix":
            yield f"{path}/*"


def test_the_routes_of_the_examples_equal_the_rendered_ones() -> None:
    """A new endpoint also needs a route in `gateway-api/routes.yaml` and `istio/authorization-policy.yaml`."""
    assert _example("oauth-web") == _rendered()[HOST]
    assert _example("resource-metadata") == _rendered()["time.example.com"]
    for service in load(EnvoySettings, SETTINGS, {}).resolved_services:
        url = urlsplit(service.resource)
        assert _example(service.name) == {("PathPrefix", url.path)}
        assert document(ROUTES, "HTTPRoute", service.name)["spec"]["hostnames"] == [url.hostname]


def test_every_route_to_the_authorization_server_sets_the_callers_address() -> None:
    """As in the configuration that we render.

    A header of this name from the caller is removed before any filter.
    """
    wanted = {"name": "X-Portcullis-Address", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}
    rules = [
        rule
        for path in (ROUTES, *ISTIO.glob("*.yaml"), *ENVOY_GATEWAY.glob("*.yaml"))
        for route in documents(path)
        if route.get("kind") == "HTTPRoute"
        for rule in route["spec"]["rules"]
        if any(backend["name"] == "oauth-web" for backend in rule.get("backendRefs", ()))
    ]
    assert rules
    for rule in rules:
        (change,) = rule["filters"]
        assert change["requestHeaderModifier"]["set"] == [wanted]


def test_the_examples_remove_the_headers_that_the_rendered_configuration_removes() -> None:
    """As behind a proxy that Envoy trusts: Envoy reads `x-forwarded-for` and `-proto` there."""
    wanted = set(removed_names(SAID_BY_PROXIES))
    policy = document(ENVOY_GATEWAY / "client-traffic-policy.yaml", "ClientTrafficPolicy", "portcullis")
    of_envoy_gateway = [
        each["value"] for each in policy["spec"]["headers"]["earlyRequestHeaders"]["removeOnMatch"]
    ]
    (patch,) = document(ISTIO / "envoy-filter.yaml", "EnvoyFilter", "portcullis")["spec"]["configPatches"]
    (extension,) = patch["patch"]["value"]["typed_config"]["early_header_mutation_extensions"]
    of_istio = [
        mutation["remove_on_match"]["key_matcher"]["safe_regex"]["regex"]
        for mutation in extension["typed_config"]["mutations"]
    ]
    for patterns in (of_envoy_gateway, of_istio):
        (identity,) = set(patterns) - wanted
        assert "user" in identity, "the one of the identity headers"
        assert wanted <= set(patterns)
        assert len(patterns) <= MOST_PATTERNS


MOST_PATTERNS = 64
"""The limit in the definition of a ClientTrafficPolicy."""


def test_istio_leaves_only_the_routes_to_the_authorization_server_unchecked() -> None:
    policy = document(ISTIO / "authorization-policy.yaml", "AuthorizationPolicy", "portcullis")["spec"]
    everywhere, elsewhere = (rule["to"][0]["operation"] for rule in policy["rules"])
    assert set(everywhere["notPaths"]) == set(_not_checked(_example("oauth-web")))
    assert elsewhere["notHosts"] == [HOST, f"{HOST}:*"]
    assert set(elsewhere["notPaths"]) == set(_not_checked(_example("resource-metadata")))


def test_envoy_gateway_leaves_only_the_routes_to_the_authorization_server_unchecked() -> None:
    opened = {
        target["name"]
        for policy in documents(ENVOY_GATEWAY / "security-policies.yaml")
        if policy["kind"] == "SecurityPolicy" and "extAuth" not in policy["spec"]
        for target in policy["spec"]["targetRefs"]
    }
    assert opened == {"oauth-web", "resource-metadata"}
    backends = {
        route["metadata"]["name"]: {
            backend["name"] for rule in route["spec"]["rules"] for backend in rule["backendRefs"]
        }
        for route in documents(ROUTES)
        if route["metadata"]["name"] in opened
    }
    assert all(names == {"oauth-web"} for names in backends.values())


def test_the_examples_remove_every_identity_header() -> None:
    for path in (ISTIO / "envoy-filter.yaml", ENVOY_GATEWAY / "client-traffic-policy.yaml"):
        text = path.read_text(encoding="utf-8")
        for name in IdentityHeaders().guarded:
            words = name.split("-")
            assert name.startswith("x-portcullis-") or all(word in text for word in words), (path, name)
