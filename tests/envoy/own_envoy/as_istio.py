"""The configuration that Istio generates from `envoy/istio/`: the filters of a CUSTOM policy in Istio 1.32.

The policy becomes shadow rules of an RBAC filter. They decide nothing, but record the name of the rule that
matched; ext_authz checks only requests that have such a name. No route can send it context.
"""

from __future__ import annotations

from tests.envoy.own_envoy.examples import ISTIO, Json, document, documents, virtual_hosts, with_cluster
from tests.support.envoy import MANAGER, ROUTER

_RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
_CHECK = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"


def manager(*, bodies: bool = False) -> Json:
    """The HTTP connection manager of the gateway."""
    (values,) = ISTIO.glob("istiod-values.yaml")
    provider = _read(values)["meshConfig"]["extensionProviders"][0]
    policy = document(ISTIO / "authorization-policy.yaml", "AuthorizationPolicy", "portcullis")["spec"]
    assert policy["provider"]["name"] == provider["name"]
    patch = document(ISTIO / "envoy-filter.yaml", "EnvoyFilter", "portcullis")["spec"]["configPatches"][0]["patch"]
    return {
        "@type": MANAGER,
        "stat_prefix": "in",
        "use_remote_address": True,
        # The effect of `DECODE_AND_MERGE_SLASHES`.
        "normalize_path": True,
        "merge_slashes": True,
        "route_config": {"virtual_hosts": virtual_hosts()},
        "http_filters": [
            _rules(policy),
            _check(provider["envoyExtAuthzGrpc"], bodies=bodies),
            *answer_filters(),
            ROUTER,
        ],
        **patch["value"]["typed_config"],
    }


def answer_filters(cluster: str = "authz") -> list[Json]:
    """The filters that `answers.yaml` inserts before the router, with this cluster."""
    patches = document(ISTIO / "answers.yaml", "EnvoyFilter", "portcullis-answers")["spec"]["configPatches"]
    assert {patch["patch"]["operation"] for patch in patches} == {"INSERT_BEFORE"}
    return [with_cluster(patch["patch"]["value"], cluster) for patch in patches]


def _read(path: object) -> Json:
    (values,) = documents(path)  # type: ignore[arg-type]
    return values


def _rules(policy: Json) -> Json:
    policies = {
        f"istio-ext-authz-portcullis-ns[gateway]-policy[portcullis]-rule[{number}]": {
            "permissions": [{"or_rules": {"rules": [_permission(to["operation"]) for to in rule["to"]]}}],
            "principals": [{"any": True}],
        }
        for number, rule in enumerate(policy["rules"])
    }
    config = {
        "@type": _RBAC,
        "shadow_rules": {"action": "DENY", "policies": policies},
        "shadow_rules_stat_prefix": "istio_ext_authz_",
    }
    return {"name": "envoy.filters.http.rbac", "typed_config": config}


def _permission(operation: Json) -> Json:
    assert set(operation) <= {"notPaths", "notHosts"}
    every = []
    if paths := operation.get("notPaths"):
        every.append(
            {"not_rule": {"or_rules": {"rules": [{"url_path": {"path": _text(path)}} for path in paths]}}}
        )
    if hosts := operation.get("notHosts"):
        named: list[Json] = [
            {"header": {"name": ":authority", "string_match": _text(host, fold=True)}} for host in hosts
        ]
        every.append({"not_rule": {"or_rules": {"rules": named}}})
    return {"and_rules": {"rules": every}}


def _text(pattern: str, *, fold: bool = False) -> Json:
    match = {"prefix": pattern[:-1]} if pattern.endswith("*") else {"exact": pattern}
    return {**match, "ignore_case": fold}


def _check(provider: Json, *, bodies: bool) -> Json:
    config = {
        "@type": _CHECK,
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "authz"}, "timeout": provider["timeout"]},
        "failure_mode_allow": provider["failOpen"],
        "status_on_error": {"code": int(provider["statusOnError"])},
        "filter_enabled_metadata": {
            "filter": "envoy.filters.http.rbac",
            "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
            "value": {"string_match": {"prefix": "istio-ext-authz-portcullis"}},
        },
    }
    if bodies:
        body = provider["includeRequestBodyInCheck"]
        config["with_request_body"] = {
            "max_request_bytes": body["maxRequestBytes"],
            "allow_partial_message": body["allowPartialMessage"],
            "pack_as_bytes": body["packAsBytes"],
        }
    return {"name": "envoy.filters.http.ext_authz", "typed_config": config}
