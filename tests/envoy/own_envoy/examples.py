"""The example files, read as their control planes read them: as routes of an Envoy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import yaml

from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]

ISTIO = ROOT / "envoy" / "istio"
ENVOY_GATEWAY = ROOT / "envoy" / "envoy-gateway"
ROUTES = ROOT / "envoy" / "gateway-api" / "routes.yaml"
SETTINGS = ROOT / "kubernetes" / "base" / "portcullis.toml"
AUTH = "auth.example.com"
TIME = "time.example.com"
TOOL_RULES = """
[services.permissions]
tools = { "get_*" = "mcp.memory.read", "*" = "mcp.memory.write" }
"""

Issue = Callable[..., tuple[str, str]]
"""Creates a header with a valid token for the services of the examples, with these claims changed."""


def documents(path: Path) -> list[Json]:
    """The contents of a file of Kubernetes documents."""
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def document(path: Path, kind: str, name: str) -> Json:
    """The one document of this kind and name."""
    (found,) = (d for d in documents(path) if (d["kind"], d["metadata"]["name"]) == (kind, name))
    return found


def virtual_hosts(per_route: dict[str, Json] | None = None) -> list[Json]:
    """The HTTPRoutes of the listeners with TLS, as virtual hosts; `per_route` maps a route's name to its filters.

    The header `x-route` of every answer names the route.
    """
    hosts: dict[str, list[tuple[int, Json]]] = {}
    for route in documents(ROUTES):
        name, spec = route["metadata"]["name"], route["spec"]
        if route["kind"] != "HTTPRoute" or spec["parentRefs"][0]["sectionName"] == "plain":
            continue
        for host in spec["hostnames"]:
            for rule in spec["rules"]:
                for match in rule["matches"]:
                    path, exact = match["path"]["value"], match["path"]["type"] == "Exact"
                    made = {
                        "match": {"path": path} if exact else {"path_separated_prefix": path},
                        "route": {"cluster": "echo", **_rewritten(rule)},
                        "request_headers_to_add": _set_headers(rule),
                        "response_headers_to_add": [{"header": {"key": "x-route", "value": name}}],
                        "typed_per_filter_config": (per_route or {}).get(name, {}),
                    }
                    # An exact match comes first, then the longest prefix, as the Gateway API says.
                    hosts.setdefault(host, []).append((len(path) + (1000 if exact else 0), made))
    return [
        {
            "name": host,
            "domains": [host, f"{host}:*"],
            "routes": [made for _, made in sorted(routes, key=lambda pair: -pair[0])],
        }
        for host, routes in hosts.items()
    ]


def _set_headers(rule: Json) -> list[Json]:
    """The translation of `RequestHeaderModifier` by both: the value unchanged, with Envoy's command operators."""
    return [
        {
            "header": {"key": each["name"], "value": each["value"]},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }
        for change in rule.get("filters", ())
        if change["type"] == "RequestHeaderModifier"
        for each in change["requestHeaderModifier"]["set"]
    ]


def _rewritten(rule: Json) -> Json:
    for change in rule.get("filters", ()):
        if change["type"] == "URLRewrite":
            return {"prefix_rewrite": change["urlRewrite"]["path"]["replacePrefixMatch"]}
    return {}


def with_cluster(http_filter: Json, cluster: str) -> Json:
    """A filter on answers that asks this cluster."""
    changed: Json = copy.deepcopy(http_filter)
    processor = changed["typed_config"]["extension_config"]["typed_config"]
    processor["grpc_service"]["envoy_grpc"]["cluster_name"] = cluster
    return changed
