"""Ways to break a gateway, as changes of its Envoy's connection manager: one fault in each."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from portcullis.envoy_config.checks import CHECKS

if TYPE_CHECKING:
    from tests.system.doctor.front_envoy import Json

_NO_CHECK = {
    "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
    "disabled": True,
}
_UNCHECKED = dict.fromkeys(CHECKS, _NO_CHECK)
"""For a route: every filter of the check service is off."""


def none(manager: Json) -> None:
    """A healthy gateway."""


def no_check(manager: Json) -> None:
    """The external authorization is removed."""
    manager["http_filters"] = [f for f in manager["http_filters"] if f["name"] not in CHECKS]
    for route in [*_gateway(manager)["routes"], *_elsewhere(manager)["routes"]]:
        for name in CHECKS:
            route.get("typed_per_filter_config", {}).pop(name, None)


def any_token(manager: Json) -> None:
    """Every token is accepted."""
    _open_when(manager, {"headers": [{"name": "authorization", "present_match": True}]})


def token_in_query(manager: Json) -> None:
    """A token in the URL is accepted."""
    _open_when(manager, {"query_parameters": [{"name": "access_token", "present_match": True}]})


def identity_is_enough(manager: Json) -> None:
    """A request with identity headers needs no token."""
    _keep_identity(manager)
    _open_when(manager, {"headers": [{"name": "x-kept-x-user-name", "present_match": True}]})


def identity_passes(manager: Json) -> None:
    """The user name that the caller sent replaces the real one."""
    _keep_identity(manager)
    _send_on(manager, "x-user-name", "%REQ(x-kept-x-user-name)%")


def no_identity(manager: Json) -> None:
    """Services get no identity headers."""
    for route in _services(manager):
        route["request_headers_to_remove"] = [*route["request_headers_to_remove"], "x-user-name"]


def token_passes(manager: Json) -> None:
    """The caller's token is forwarded to the service, which could use it elsewhere."""
    _keep(manager, "authorization")
    _send_on(manager, "authorization", "%REQ(x-kept-authorization)%")


def foreign_hosts(manager: Json) -> None:
    """Every host name is accepted as the gateway's."""
    _elsewhere(manager)["routes"] = [_open(route) for route in _services(manager)]


def loose_path(manager: Json) -> None:
    """A path spelling that the check refuses still reaches the service."""
    route = _open(_service(manager, "time"))
    route["match"] = {"path": "/TIME/MCP"}
    _gateway(manager)["routes"].insert(0, route)


def no_challenge(manager: Json) -> None:
    """Unauthenticated callers are refused, but without a challenge."""
    bare = {
        "header": {"key": "www-authenticate", "value": "Bearer"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    unauthorized = {"op": "EQ", "value": {"default_value": 401, "runtime_key": "test.unauthorized"}}
    mapper = {"filter": {"status_code_filter": {"comparison": unauthorized}}, "headers_to_add": [bare]}
    manager["local_reply_config"]["mappers"].insert(0, mapper)


def no_address(manager: Json) -> None:
    """The authorization server does not get the address of a caller."""
    for route in _gateway(manager)["routes"]:
        route.pop("request_headers_to_add", None)


def callers_choose_their_address(manager: Json) -> None:
    """The caller's own claim about its address reaches the authorization server."""
    no_address(manager)
    early = manager["early_header_mutation_extensions"][0]["typed_config"]
    early["mutations"] = [each for each in early["mutations"] if "x-portcullis-" not in json.dumps(each)]


def no_way_out(manager: Json) -> None:
    """The authorization server could not fetch the document of a well-known client."""
    health = {"status": "ok", "counted_address": "127.0.0.1", "client_documents": "unreachable"}
    _say(manager, {"path": "/healthz"}, 200, health)


def other_issuer(manager: Json) -> None:
    """The authorization server reports another issuer than its address."""
    _edit_metadata(manager, issuer="https://evil.example")


def no_pkce(manager: Json) -> None:
    """The metadata advertises the plain PKCE method."""
    _edit_metadata(manager, code_challenge_methods_supported=["S256", "plain"])


def other_authorization_server(manager: Json) -> None:
    """The metadata of a service names another authorization server."""
    url = f"http://{_gateway(manager)['name']}"
    document = {"resource": f"{url}/whoami/mcp", "authorization_servers": ["https://evil.example"]}
    _say(manager, {"path": "/.well-known/oauth-protected-resource/whoami/mcp"}, 200, document)


def no_tokens(manager: Json) -> None:
    """The token endpoint issues no token."""
    _say(manager, {"path": "/token"}, 500, {"error": "server_error"})


def anybody_manages(manager: Json) -> None:
    """A registration is shown without its token."""
    get = {"name": ":method", "string_match": {"exact": "GET"}}
    _say(manager, {"prefix": "/register/", "headers": [get]}, 200, {})


def nothing_is_deleted(manager: Json) -> None:
    """A client's deletion is confirmed and not carried out."""
    delete = {"name": ":method", "string_match": {"exact": "DELETE"}}
    _say(manager, {"prefix": "/register/", "headers": [delete]}, 204, None)


def no_deletion(manager: Json) -> None:
    """A client's deletion is refused."""
    delete = {"name": ":method", "string_match": {"exact": "DELETE"}}
    _say(manager, {"prefix": "/register/", "headers": [delete]}, 405, {})


def _gateway(manager: Json) -> Json:
    host: Json = manager["route_config"]["virtual_hosts"][0]
    return host


def _elsewhere(manager: Json) -> Json:
    host: Json = manager["route_config"]["virtual_hosts"][-1]
    return host


def _services(manager: Json) -> list[Json]:
    return [r for r in _gateway(manager)["routes"] if r.get("route", {}).get("cluster", "").startswith("service_")]


def _service(manager: Json, name: str) -> Json:
    return next(route for route in _services(manager) if route["name"] == name)


def _open(route: Json) -> Json:
    """The same route without a check."""
    opened = copy.deepcopy(route)
    opened["typed_per_filter_config"] |= _UNCHECKED
    return opened


def _open_when(manager: Json, match: Json) -> None:
    """Requests to a service that also match this are not checked."""
    opened = [_open(route) for route in _services(manager)]
    for route in opened:
        route["match"] |= match
    _gateway(manager)["routes"][:0] = opened


def _keep(manager: Json, header: str) -> None:
    """Copy a header of the caller under another name before anything is removed."""
    mutations = manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    kept = {"header": {"key": f"x-kept-{header}", "value": f"%REQ({header})%"}}
    mutations.insert(0, {"append": {**kept, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}})


def _keep_identity(manager: Json) -> None:
    _keep(manager, "x-user-name")


def _send_on(manager: Json, header: str, value: str) -> None:
    """Send every service this header, last of all, if it has a value."""
    added = {"header": {"key": header, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    for route in _services(manager):
        route["request_headers_to_add"] = [added]


def _say(manager: Json, match: Json, status: int, document: Any) -> None:
    """Answer requests that match with this JSON, before any other route."""
    direct: Json = {"status": status}
    if document is not None:
        direct["body"] = {"inline_string": json.dumps(document)}
    route = {
        "match": match,
        "direct_response": direct,
        "typed_per_filter_config": _UNCHECKED,
        "response_headers_to_add": [{"header": {"key": "content-type", "value": "application/json"}}],
    }
    _gateway(manager)["routes"].insert(0, route)


def _edit_metadata(manager: Json, **changes: Any) -> None:
    """Serve the authorization server's metadata with these members changed."""
    url = f"http://{_gateway(manager)['name']}"
    names = {route["name"] for route in _services(manager)}
    document = {
        "issuer": url,
        "authorization_endpoint": f"{url}/authorize",
        "token_endpoint": f"{url}/token",
        "registration_endpoint": f"{url}/register",
        "protected_resources": [f"{url}/{name}/mcp" for name in sorted(names)],
        "scopes_supported": [f"mcp.{name}" for name in sorted(names)],
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        **changes,
    }
    _say(manager, {"path": "/.well-known/oauth-authorization-server"}, 200, document)
