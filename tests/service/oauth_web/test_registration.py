"""Registration and management of clients: RFC 7591 and RFC 7592, rows R1 and R2."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.oauth_client import REDIRECT_URI, Pkce

if TYPE_CHECKING:
    from tests.support.oauth_client import OAuthClient
    from tests.support.web_process import WebServer

GOOD = {"redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none"}


@pytest.mark.requirement("mcp:registration-2026", "oauth21:native-secret")
async def test_a_public_client_gets_no_secret(client: OAuthClient) -> None:
    document = (await client.register()).document
    assert "client_secret" not in document
    assert document["registration_client_uri"] == f"{client.issuer}/register/{document['client_id']}"
    assert None not in document.values()


async def test_a_confidential_client_gets_a_secret_that_does_not_expire(client: OAuthClient) -> None:
    document = (await client.register(token_endpoint_auth_method="client_secret_post")).document
    assert len(document["client_secret"]) == 43
    assert document["client_secret_expires_at"] == 0


@pytest.mark.requirement("rfc7591:defaults")
async def test_the_auth_method_defaults_to_basic_for_web_apps_and_to_none_for_loopback_clients(
    client: OAuthClient,
) -> None:
    for uri, method in (("https://app.example/cb", "client_secret_basic"), (REDIRECT_URI, "none")):
        document = (await client.http.post(f"{client.issuer}/register", json={"redirect_uris": [uri]})).json()
        assert document["token_endpoint_auth_method"] == method
        assert ("client_secret" in document) == (method != "none")


@pytest.mark.requirement("mcp:registration", "rfc7591:initial-token")
async def test_metadata_of_real_clients_is_accepted(client: OAuthClient) -> None:
    registration = await client.register(
        scope="",
        application_type="native",
        grant_types=["authorization_code", "urn:unknown"],
        contacts=[],
        jwks=None,
    )
    assert registration.document["grant_types"] == ["authorization_code", "refresh_token"]
    assert "scope" not in registration.document
    assert "contacts" not in registration.document


@pytest.mark.requirement("rfc7592:read", "rfc7592:delete", "rfc7592:answer")
async def test_a_client_reads_changes_and_deletes_its_registration(client: OAuthClient) -> None:
    registration = await client.register()
    url = registration.document["registration_client_uri"]
    read = await client.http.get(url, headers=registration.management)
    assert read.json() == registration.document
    change = {**GOOD, "client_id": registration.client_id, "client_name": "Renamed"}
    changed = await client.http.put(url, json=change, headers=registration.management)
    assert changed.status_code == 200
    assert changed.json()["client_name"] == "Renamed"
    deleted = await client.http.delete(url, headers=registration.management)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await client.http.get(url, headers=registration.management)).status_code == 401


@pytest.mark.requirement("rfc7592:update-replaces")
async def test_an_update_removes_what_it_leaves_out(client: OAuthClient) -> None:
    registration = await client.register(client_uri="https://app.example")
    changed = await client.http.put(
        registration.document["registration_client_uri"],
        json={**GOOD, "client_id": registration.client_id},
        headers=registration.management,
    )
    assert "client_uri" not in changed.json()
    assert "client_name" not in changed.json()


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "somebody-else"},
        {"client_secret": "chosen-by-the-client"},
        {"registration_access_token": "x"},
        {"client_id_issued_at": 1},
    ],
)
async def test_an_update_cannot_change_values_that_the_server_assigns(
    client: OAuthClient, change: dict[str, Any]
) -> None:
    registration = await client.register(token_endpoint_auth_method="client_secret_post")
    body = {
        **GOOD,
        "token_endpoint_auth_method": "client_secret_post",
        "client_id": registration.client_id,
        **change,
    }
    answer = await client.http.put(
        registration.document["registration_client_uri"], json=body, headers=registration.management
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")


@pytest.mark.requirement("rfc7592:token", "rfc7592:same-answer")
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_an_unknown_client_and_a_wrong_token_get_the_same_answer(client: OAuthClient, method: str) -> None:
    registration = await client.register()
    other = await client.register()
    mine = str(registration.document["registration_client_uri"])
    answers = [
        await client.http.request(method, url, headers=headers)
        for url, headers in [
            (mine, {"Authorization": "Bearer wrong"}),
            (mine, other.management),
            (mine, {}),
            (mine, {"Authorization": registration.management["Authorization"].replace("Bearer", "Basic")}),
            (f"{client.issuer}/register/unknown", registration.management),
            (f"{client.issuer}/register/..%2f..%2fkeyring", registration.management),
        ]
    ]
    # The last spelling may not even reach the endpoint; the others must look alike.
    assert {(answer.status_code, answer.text) for answer in answers[:5]} == {(401, answers[0].text)}
    assert answers[5].status_code in {401, 404}
    assert answers[0].headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.requirement("rfc7592:delete-tokens")
async def test_deleting_a_client_ends_its_tokens(web: WebServer, client: OAuthClient) -> None:
    registration = await client.register()
    tokens = await client.tokens(registration.client_id)
    with web.redis.client() as redis:
        before = set(redis.keys("token:*"))
    await client.http.delete(registration.document["registration_client_uri"], headers=registration.management)
    with web.redis.client() as redis:
        assert len(before - set(redis.keys("token:*"))) == 1
    refused = await client.refresh(registration.client_id, tokens["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


@pytest.mark.requirement("rfc7591:error")
@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": "http://127.0.0.1/"}, "invalid_redirect_uri"),
        ({"redirect_uris": [7]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://ok.example/cb", "javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://app.example/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://app.example/cb#x"]}, "invalid_redirect_uri"),
        ({"token_endpoint_auth_method": "tls_client_auth"}, "invalid_client_metadata"),
        ({"grant_types": ["password"]}, "invalid_client_metadata"),
        ({"response_types": ["token"]}, "invalid_client_metadata"),
    ],
)
async def test_invalid_metadata_is_refused_with_the_right_error(
    client: OAuthClient, members: dict[str, Any], error: str
) -> None:
    answer = await client.http.post(f"{client.issuer}/register", json={**GOOD, **members})
    assert (answer.status_code, answer.json()["error"]) == (400, error)


@pytest.mark.requirement("rfc7591:error")
async def test_the_error_names_the_invalid_redirect_uri(client: OAuthClient) -> None:
    uris = ["https://ok.example/cb", "http://app.example/cb"]
    answer = await client.http.post(f"{client.issuer}/register", json={**GOOD, "redirect_uris": uris})
    assert "http://app.example/cb" in answer.json()["error_description"]


@pytest.mark.requirement("rfc7591:json")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b'{"redirect_uris":["http://127.0.0.1/a"],"redirect_uris":["http://127.0.0.1/b"]}',
        b'{"redirect_uris":["http://127.0.0.1/a"],"client_name":NaN}',
        b"\xff\xfe",
        b"[" * 5000,
    ],
)
async def test_a_body_that_is_not_plain_json_is_a_clear_error(client: OAuthClient, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await client.http.post(f"{client.issuer}/register", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")


@pytest.mark.requirement("rfc7591:json")
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
async def test_only_json_is_accepted(client: OAuthClient, kind: str) -> None:
    answer = await client.http.post(
        f"{client.issuer}/register", content=json.dumps(GOOD), headers={"Content-Type": kind}
    )
    assert answer.status_code == 415


async def test_an_oversized_body_is_refused(web: WebServer, client: OAuthClient) -> None:
    with web.redis.client() as redis:
        before = len(redis.keys("client:*"))
    body = json.dumps({**GOOD, "padding": "x" * 70_000})
    answer = await client.http.post(
        f"{client.issuer}/register", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413
    with web.redis.client() as redis:
        assert len(redis.keys("client:*")) == before


# -- metadata of real clients -------------------------------------------------------------------------------------


async def test_the_scope_in_the_answer_can_be_requested_and_refreshed(client: OAuthClient) -> None:
    """An earlier version returned an unknown scope in the answer, and refused it at the refresh."""
    made = await client.register(scope="openid mcp.time email mcp.notes mcp.gone profile")
    scope = made.document["scope"]
    assert scope == "mcp.time mcp.notes"
    tokens = await client.tokens(made.client_id, scope=scope)
    assert tokens["scope"] == scope
    assert (await client.refresh(made.client_id, tokens["refresh_token"], scope=scope)).status_code == 200
    none = await client.register(scope="openid email")
    assert "scope" not in none.document


@pytest.mark.parametrize(
    "name", ["\u0646\u0631\u0645\u200c\u0627\u0641\u0632\u0627\u0631", "Qui\u00a0?", "\U0001faea App"]
)
async def test_a_name_in_any_script_is_kept_and_shown_on_the_consent_page(client: OAuthClient, name: str) -> None:
    made = await client.register(client_name=name)
    assert made.document["client_name"] == name
    page = await client.http.get(client.authorize_url(made.client_id, Pkce.fresh().challenge))
    # Isolated, so that a name that is written from right to left does not reorder the sentence around it.
    assert f"<bdi>{name}</bdi>" in page.text


async def test_invalid_optional_members_do_not_refuse_a_registration(client: OAuthClient) -> None:
    made = await client.register(
        logo_uri="data:image/png;base64,AAAA",
        software_version=2,
        contacts="me@client.example",
        token_endpoint_auth_method="",
    )
    assert not {"logo_uri", "software_version", "contacts"} & made.document.keys()
    assert made.document["token_endpoint_auth_method"] == "none"
    tokens = await client.tokens(made.client_id)
    assert tokens["refresh_token"]


@pytest.mark.parametrize(
    "members",
    [
        {"client_name": {"a": 1}},
        {"client_name": "x" * 600},
        {"client_name": "\u0000"},
        {"client_name": "right\u202eleft"},
        {"client_uri": "javascript:alert(1)"},
        {"client_uri": ["https://client.example"]},
        {"scope": 'quo"ted'},
        {"scope": 5},
    ],
)
async def test_an_invalid_optional_member_is_dropped_and_never_shown(
    client: OAuthClient, members: dict[str, Any]
) -> None:
    made = await client.register(**members)
    assert not members.keys() & made.document.keys()
    page = await client.http.get(client.authorize_url(made.client_id, Pkce.fresh().challenge))
    assert page.status_code == 200
    assert "javascript:" not in page.text
    assert "\u202e" not in page.text
    assert (await client.tokens(made.client_id))["refresh_token"]


async def test_texts_are_accepted_for_arrays_and_returned_as_arrays(client: OAuthClient) -> None:
    made = await client.register(
        grant_types="authorization_code",
        response_types="code",
        scope=["mcp.time", "no such"],
        client_name="My\u200b app",
    )
    assert made.document["grant_types"] == ["authorization_code", "refresh_token"]
    assert made.document["response_types"] == ["code"]
    assert (made.document["scope"], made.document["client_name"]) == ("mcp.time", "My app")


async def test_an_update_cannot_make_a_registration_too_large(client: OAuthClient) -> None:
    made = await client.register()
    uris = [f"https://client.example/{number}/{'x' * 1900}" for number in range(3)]
    answer = await client.http.put(
        made.document["registration_client_uri"],
        json={"client_id": made.client_id, "redirect_uris": uris},
        headers=made.management,
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")
