"""The configuration that Envoy Gateway 1.9 generates from `envoy/envoy-gateway/`: one filter for each policy.

A filter is off until a route enables it.
"""

from __future__ import annotations

from tests.envoy.own_envoy.examples import (
    ENVOY_GATEWAY,
    ROUTES,
    Json,
    document,
    documents,
    virtual_hosts,
    with_cluster,
)
from tests.support.envoy import MANAGER, ROUTER

_FILTER = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
_ON_A_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
_EARLY = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
_ESCAPED = {"RejectRequest": "REJECT_REQUEST"}


def manager(*, bodies: bool = False, as_bytes: bool = True) -> Json:
    """The HTTP connection manager of the gateway. `as_bytes` is the effect of the patch in `tool-rules.yaml`."""
    policies = [d for d in documents(ENVOY_GATEWAY / "security-policies.yaml") if d["kind"] == "SecurityPolicy"]
    checking = [policy for policy in policies if "extAuth" in policy["spec"]]
    traffic = document(ENVOY_GATEWAY / "client-traffic-policy.yaml", "ClientTrafficPolicy", "portcullis")["spec"]
    assert traffic["headers"]["withUnderscoresAction"] == "RejectRequest"
    return {
        "@type": MANAGER,
        "stat_prefix": "in",
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": not traffic["path"]["disableMergeSlashes"],
        "path_with_escaped_slashes_action": _ESCAPED[traffic["path"]["escapedSlashesAction"]],
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "early_header_mutation_extensions": [_early(traffic["headers"]["earlyRequestHeaders"])],
        "route_config": {"virtual_hosts": virtual_hosts({n: _on(policies, n) for n in _route_names()})},
        "http_filters": [
            *answer_filters(),
            *(_check(policy, bodies=bodies, as_bytes=as_bytes) for policy in checking),
            ROUTER,
        ],
    }


def answer_filters(cluster: str = "authz") -> list[Json]:
    """The filters that `answers.yaml` adds before all others, with this cluster."""
    patches = document(ENVOY_GATEWAY / "answers.yaml", "EnvoyPatchPolicy", "answers")["spec"]["jsonPatches"]
    added = [each["operation"] for each in patches if each["name"] == "gateway/portcullis/services"]
    assert {(each["op"], each["jsonPath"], each["path"]) for each in added} == {("add", "..http_filters", "0")}
    return [with_cluster(each["value"], cluster) for each in reversed(added)]


def _route_names() -> list[str]:
    return [d["metadata"]["name"] for d in documents(ROUTES)]


def _name(policy: Json) -> str:
    return f"envoy.filters.http.ext_authz/{policy['metadata']['namespace']}/{policy['metadata']['name']}"


def _on(policies: list[Json], route: str) -> Json:
    """The configuration of a route. A policy for the route replaces that of the gateway."""
    by_target = {(ref["kind"], ref["name"]): p for p in policies for ref in p["spec"]["targetRefs"]}
    policy = by_target.get(("HTTPRoute", route), by_target["Gateway", "portcullis"])
    if "extAuth" not in policy["spec"]:
        return {}
    extensions = {each["name"]: each["value"] for each in policy["spec"]["extAuth"].get("contextExtensions", ())}
    return {_name(policy): {"@type": _ON_A_ROUTE, "check_settings": {"context_extensions": extensions}}}


def _check(policy: Json, *, bodies: bool, as_bytes: bool) -> Json:
    said = policy["spec"]["extAuth"]
    config = {
        "@type": _FILTER,
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "authz"}, "timeout": said["timeout"]},
        "failure_mode_allow": said["failOpen"],
        "status_on_error": {"code": said["statusOnError"]},
    }
    if bodies:
        config["with_request_body"] = {
            "max_request_bytes": 131072,
            **({"pack_as_bytes": True} if as_bytes else {}),
        }
    return {"name": _name(policy), "disabled": True, "typed_config": config}


def _early(headers: Json) -> Json:
    def matcher(match: Json) -> Json:
        assert match["type"] == "RegularExpression"
        return {"safe_regex": {"regex": match["value"]}}

    mutations = [{"remove_on_match": {"key_matcher": matcher(match)}} for match in headers["removeOnMatch"]]
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {"@type": _EARLY, "mutations": mutations},
    }
