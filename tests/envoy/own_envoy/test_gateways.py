"""Envoys that we did not configure: which requests they allow, and which headers the services receive.

Neither names the service of a route to the check service, except for the one route of the example that does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.settings import EnvoySettings
from oauth_core.settings.identity_headers import IdentityHeaders
from oauth_core.settings.roles import PermissionSettings
from oauth_core.settings.services import ServiceSettings
from portcullis.envoy_config.bootstrap import render
from tests.envoy.own_envoy import as_envoy_gateway, as_istio
from tests.envoy.own_envoy.examples import AUTH, ROUTES, SETTINGS, TIME, documents, with_cluster
from tests.envoy.own_envoy.managers import MANAGERS, socket_of
from tests.support.authz_process import environ, running_authz
from tests.support.envoy import running_envoy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.envoy.own_envoy.examples import Issue
    from tests.support.authz_process import AuthzProcess
    from tests.support.envoy import AuthzEnvoy, Reply
    from tests.support.redis_server import RedisServer

SERVICES = ("time", "memory")
OPEN = sorted(
    {
        (host, match["path"]["value"])
        for route in documents(ROUTES)
        if route["metadata"]["name"] in {"oauth-web", "resource-metadata"}
        for host in route["spec"]["hostnames"]
        for rule in route["spec"]["rules"]
        for match in rule["matches"]
    }
)
IDENTITY = {
    "x-user-id": ["583231"],
    "x-user-name": ["octocat"],
    "x-client-id": ["client-1"],
    "x-token-scope": ["mcp.time mcp.memory"],
    "x-user-groups": [],
}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
JSON = ("Content-Type", "application/json")


@pytest.mark.parametrize(("host", "path"), [(TIME, "/mcp"), (TIME, "/mcp/x"), (AUTH, "/memory/mcp")])
def test_a_service_requires_a_token_and_receives_the_identity_of_a_valid_one(
    envoy: AuthzEnvoy, bearer: Issue, host: str, path: str
) -> None:
    refused = envoy.post(path, host=host)
    assert refused.status == 401
    assert "/.well-known/oauth-protected-resource" in refused.headers["www-authenticate"]
    forged = [(name, "forged") for name in IdentityHeaders().guarded]
    reply = envoy.post(path, [*forged, bearer(), *forged], host=host)
    assert {name: reply.values(name) for name in IDENTITY} == IDENTITY
    assert reply.values("authorization") == []
    assert reply.headers["x-route"] in SERVICES
    assert "forged" not in reply.body


def test_the_authorization_server_needs_no_token_and_receives_no_forged_identity(envoy: AuthzEnvoy) -> None:
    forged = [(name, "forged") for name in (*IdentityHeaders().guarded, "x.user.id", "X-Original-Url")]
    for host, path in OPEN:
        reply = envoy.post(path, forged, host=host)
        assert reply.headers["x-route"] not in SERVICES, (host, path)
        assert "forged" not in reply.body, (host, path)


def test_the_authorization_server_receives_the_true_address_instead_of_a_claimed_one(
    envoy: AuthzEnvoy,
) -> None:
    claims = [("X-Portcullis-Address", "192.0.2.1"), ("x-portcullis-address", "192.0.2.2")]
    for host, path in OPEN:
        for headers in ([], claims):
            assert envoy.post(path, headers, host=host).values("x-portcullis-address") == ["127.0.0.1"], (
                host,
                path,
            )


@pytest.mark.parametrize("name", ["x_user_id", "X_User-Name", "x-client_id"])
def test_a_header_with_an_underscore_is_refused(envoy: AuthzEnvoy, bearer: Issue, name: str) -> None:
    assert envoy.post("/mcp", [(name, "forged"), bearer()], host=TIME).status == 400


@pytest.mark.parametrize("name", ["x.user.id", "X~User~Name", "x!token+scope", "X-Portcullis-Assertion"])
def test_a_forged_identity_header_with_other_punctuation_never_arrives(
    envoy: AuthzEnvoy, bearer: Issue, name: str
) -> None:
    assert "forged" not in envoy.post("/mcp", [(name, "forged"), bearer()], host=TIME).body


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Proxy",
            "Proxy-Authorization",
            "X-Host",
            "XScheme",
            "X-Forwarded-Host",
            "X-Forwarded-Prefix",
            "Forwarded",
        ),
        *(
            "X-Original-Url",
            "X-Rewrite-Url",
            "X-HTTP-Method",
            "XHttpMethodOverride",
            "True-Client-Ip",
            "X-Real-Ip",
            "X.Forwarded-For",
            "X-Forwarded-Client-Cert",
            "X-Portcullis.Assertion",
        ),
        *("HTTP-Method", "XMethod", "X-Method", "X-Override-Method", "Override.Url", "X-User-Override"),
        *("X-Proto-Override", "X-IP-Override", "X-HTTP-Host-Override", "Method-Override", "X-Tunneled-Method"),
    ],
)
def test_a_header_that_only_a_proxy_may_set_never_arrives(envoy: AuthzEnvoy, bearer: Issue, name: str) -> None:
    assert "forged" not in envoy.post("/mcp", [(name, "forged"), bearer()], host=TIME).body


HOSTS = (TIME, AUTH, TIME.upper(), f"{TIME}:443", f"{AUTH}:443", "evil.example")
SPELLINGS = (
    "/mcp",
    "/MCP",
    "//mcp",
    "/./mcp",
    "/%6dcp",
    "/mcp%2f",
    "/token/../mcp",
    "/token/..%2fmcp",
    "/register/../memory/mcp",
    "/register/%2e%2e/memory/mcp",
    "/register/..%2f..%2fmemory/mcp",
    "/register/..\\memory\\mcp",
    "/register//../memory/mcp",
    "/authorize/..;/memory/mcp",
    "/.well-known/oauth-protected-resource/../../mcp",
    "/memory//mcp",
    "/memory/mcp/../mcp",
    "/memory/%6dcp",
    "/memory/mcp#/token",
    "/memory/mcp?/token",
    "/mcp?/.well-known/oauth-protected-resource",
)


def test_no_variant_of_a_path_reaches_a_service_without_a_token(envoy: AuthzEnvoy) -> None:
    for host in HOSTS:
        for path in SPELLINGS:
            reply = envoy.post(path, host=host)
            assert reply.status != 200 or reply.headers["x-route"] not in SERVICES, (host, path)


@pytest.mark.parametrize("path", ["/token", "/register", "/", "/authorize", "/.well-known/jwks.json"])
def test_a_path_that_is_open_at_the_issuer_is_not_open_at_a_service(envoy: AuthzEnvoy, path: str) -> None:
    assert envoy.post(path, host=TIME).status in {401, 404}


def test_a_token_for_one_service_is_refused_at_another(envoy: AuthzEnvoy, bearer: Issue) -> None:
    only_time = bearer(aud=(f"https://{TIME}/mcp",))
    assert envoy.post("/mcp", [only_time], host=TIME).status == 200
    assert envoy.post("/memory/mcp", [only_time], host=AUTH).status == 401


def test_a_revoked_token_and_a_token_in_the_query_are_refused(envoy: AuthzEnvoy, bearer: Issue) -> None:
    assert envoy.post("/mcp", [bearer(jti="never-lived")], host=TIME).status == 401
    assert envoy.post("/mcp?access_token=x", [bearer()], host=TIME).status == 400


def test_a_caller_cannot_set_the_timeout_of_a_request(envoy: AuthzEnvoy, bearer: Issue) -> None:
    """Envoy acts on this header. If it had accepted it from outside, the service would have received it."""
    reply = envoy.post("/mcp", [("x-envoy-upstream-rq-timeout-ms", "99999999"), bearer()], host=TIME)
    assert reply.status == 200
    assert "99999999" not in reply.body


@pytest.mark.parametrize("kind", MANAGERS)
def test_without_a_check_service_every_call_is_503_and_clients_can_still_get_tokens(
    redis: RedisServer, bearer: Issue, tmp_path: Path, kind: str
) -> None:
    with running_authz(environ(redis), config=SETTINGS.read_text(encoding="utf-8")) as own:
        own.wait_for_health("SERVING")
        with running_envoy(tmp_path, socket_of(own), manager=MANAGERS[kind]()) as envoy:
            assert envoy.post("/mcp", [bearer()], host=TIME).status == 200
            own.process.kill()
            own.process.wait()
            assert envoy.post("/mcp", [bearer()], host=TIME).status == 503
            assert envoy.post("/token", host=AUTH).status == 200


def call(tool: str, **more: str) -> bytes:
    return json.dumps(CALL | {"params": {"name": tool, **more}}).encode()


def test_tool_rules_are_decided_from_the_body(envoy_with_rules: AuthzEnvoy, bearer: Issue) -> None:
    reader = [bearer(scope="mcp.time mcp.memory.read"), JSON]
    assert envoy_with_rules.post("/memory/mcp", reader, host=AUTH, body=call("get_note")).status == 200
    assert envoy_with_rules.post("/memory/mcp", reader, host=AUTH, body=call("delete_note")).status == 403
    assert envoy_with_rules.post("/memory/mcp", reader, host=AUTH).status == 400
    assert envoy_with_rules.post("/memory/mcp", reader, host=AUTH, body=call("get_note") + b"\xff").status == 400
    assert envoy_with_rules.post("/memory/mcp", reader, host=AUTH, body=b" " * 140_000).status == 413
    assert envoy_with_rules.post("/mcp", reader, host=TIME, body=call("anything")).status == 200


def test_a_caller_sees_in_a_list_what_it_may_call(envoy_with_rules: AuthzEnvoy, bearer: Issue) -> None:
    def listed(scope: str, answer: dict[str, Any]) -> Reply:
        asked = json.dumps(CALL | {"method": "tools/list"}).encode()
        said = ("X-Answer", json.dumps(answer))
        return envoy_with_rules.post("/memory/mcp", [bearer(scope=scope), JSON, said], host=AUTH, body=asked)

    tools = [{"name": "get_note"}, {"name": "delete_note"}]
    whole = {"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}
    assert json.loads(listed("mcp.memory", whole).body) == whole
    assert json.loads(listed("mcp.memory.read", whole).body)["result"]["tools"] == tools[:1]
    refused = listed("mcp.memory.read", {"tools": tools})
    assert (refused.status, json.loads(refused.body)["error"]["data"]["error"]) == (502, "bad_answer")


def test_a_session_begins_with_a_sealed_id(envoy: AuthzEnvoy, bearer: Issue) -> None:
    reply = envoy.post("/mcp", [bearer(), ("X-Answer-Session", "s-1")], host=TIME)
    assert reply.headers["mcp-session-id"].endswith(".s-1")
    assert reply.headers["mcp-session-id"].count(".") == 2


def test_the_filters_on_answers_are_those_of_the_rendered_configuration() -> None:
    rules = PermissionSettings.model_validate({"tools": {"*": "mcp.time.all"}})
    service = ServiceSettings(name="time", url="/mcp", upstream="http://time:1/mcp", permissions=rules)
    rendered: Any = render(EnvoySettings(issuer=f"https://{AUTH}", services=(service,)))
    chain = rendered["static_resources"]["listeners"][0]["filter_chains"][0]
    filters = chain["filters"][-1]["typed_config"]["http_filters"]
    ours = [with_cluster(each, "authz") for each in filters if "extension_config" in each["typed_config"]]
    assert as_istio.answer_filters() == ours
    theirs = as_envoy_gateway.answer_filters()
    for each in theirs:
        # There the filters stand before the check, and so must wait for the answer.
        first = each["typed_config"]["xds_matcher"]["matcher_list"]["matchers"].pop(0)
        assert first["predicate"]["not_matcher"]["single_predicate"]["input"]["name"] == "response-header"
    assert theirs[::-1] == ours


def test_media_type_parameters_are_accepted_and_unknown_reference_types_are_left_to_the_service(
    envoy_with_rules: AuthzEnvoy, bearer: Issue
) -> None:
    def status(body: bytes, kind: str = "application/json", scope: str = "mcp.memory") -> int:
        headers = [bearer(scope=scope), ("Content-Type", kind)]
        return envoy_with_rules.post("/memory/mcp", headers, host=AUTH, body=body).status

    assert status(call("get_note"), 'Application/JSON; profile="a;b"') == 200
    assert status(call("get_note"), "application/json; charset=utf-7") == 415
    no_params = json.dumps(CALL | {"method": "completion/complete", "params": None}).encode()
    assert status(no_params, scope="mcp.memory.read") == 400
    for params in ({}, {"ref": None}, {"ref": {"type": "ref/x"}}):
        asked = json.dumps(CALL | {"method": "completion/complete", "params": params}).encode()
        assert status(asked, scope="mcp.memory.read") == 200, params
    named = {"ref": {"type": "ref/x", "name": "a"}}
    asked = json.dumps(CALL | {"method": "completion/complete", "params": named}).encode()
    assert status(asked, scope="mcp.memory.read") == 403


@pytest.mark.parametrize("manager", [{"bodies": False}, {"bodies": True, "as_bytes": False}], ids=["none", "text"])
def test_a_body_that_is_not_sent_or_is_sent_as_text_is_refused(
    authz_with_rules: AuthzProcess, bearer: Issue, tmp_path: Path, manager: dict[str, bool]
) -> None:
    with running_envoy(
        tmp_path, socket_of(authz_with_rules), manager=as_envoy_gateway.manager(**manager)
    ) as envoy:
        headers = [bearer(scope="mcp.memory"), JSON]
        assert envoy.post("/memory/mcp", headers, host=AUTH, body=call("get_note")).status == 503
        assert any(event.get("reason") == "body_not_sent" for event in authz_with_rules.log())
