"""Updates of a registration (RFC 7592): everything is replaced except the identity of the client."""

from __future__ import annotations

import pytest

from oauth_core.crypto.credentials import secret_matches
from oauth_core.errors import DisplayedError
from tests.unit.registration_documents import MINIMAL, document, made, update


def test_an_update_replaces_everything_except_the_identity() -> None:
    client = made(client_name="Old", scope="a").client
    changed = update(client, {"client_id": client.client_id, "redirect_uris": ["com.example.app:/new"]}).client
    assert changed.redirect_uris == ("com.example.app:/new",)
    assert changed.client_name is None
    assert changed.scope is None
    assert changed.client_id == client.client_id
    assert changed.issued_at == client.issued_at
    assert changed.secret_hash == client.secret_hash
    assert changed.registration_token_hash == client.registration_token_hash


@pytest.mark.requirement("rfc7592:update-id")
@pytest.mark.parametrize("client_id", [None, "", "another", 5, ["x"]])
def test_an_update_must_contain_its_own_client_id(client_id: object) -> None:
    with pytest.raises(DisplayedError, match="client_id"):
        update(made().client, document(client_id=client_id))


@pytest.mark.parametrize("body", [None, [], "x", MINIMAL])
def test_an_update_without_a_client_id_is_refused(body: object) -> None:
    with pytest.raises(DisplayedError, match="client_id"):
        update(made().client, body)


@pytest.mark.requirement("rfc7592:update-ours")
@pytest.mark.parametrize(
    "member",
    ["registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"],
)
def test_an_update_must_not_contain_members_that_only_the_server_sets(member: str) -> None:
    client = made().client
    with pytest.raises(DisplayedError, match=member):
        update(client, document(client_id=client.client_id, **{member: None}))


@pytest.mark.requirement("rfc7592:update-secret")
def test_an_update_may_repeat_the_secret_but_not_choose_one() -> None:
    registered = made()
    client = registered.client
    update(client, document(client_id=client.client_id, client_secret=registered.secret))
    for chosen in ("chosen", "", 5, client.secret_hash):
        with pytest.raises(DisplayedError, match="cannot choose"):
            update(client, document(client_id=client.client_id, client_secret=chosen))


def test_a_public_client_cannot_set_a_secret() -> None:
    client = made(token_endpoint_auth_method="none").client
    with pytest.raises(DisplayedError, match="cannot choose"):
        update(client, document(client_id=client.client_id, client_secret="chosen"))


def test_becoming_confidential_makes_a_secret_and_becoming_public_removes_it() -> None:
    client = made(token_endpoint_auth_method="none").client
    confidential = update(
        client, document(client_id=client.client_id, token_endpoint_auth_method="client_secret_post")
    )
    assert confidential.secret
    assert secret_matches(confidential.secret, str(confidential.client.secret_hash))
    public = update(confidential.client, document(client_id=client.client_id, token_endpoint_auth_method="none"))
    assert public.secret is None
    assert public.client.secret_hash is None


def test_an_update_without_a_method_keeps_the_method_and_the_secret() -> None:
    native = ["http://127.0.0.1:5000/cb"]
    for method in ("client_secret_basic", "client_secret_post"):
        client = made(redirect_uris=native, token_endpoint_auth_method=method).client
        changed = update(client, {"client_id": client.client_id, "redirect_uris": native})
        assert changed.client.token_endpoint_auth_method == method
        assert changed.client.secret_hash == client.secret_hash
        assert changed.secret is None
    public = made(redirect_uris=native).client
    assert update(public, {"client_id": public.client_id, "redirect_uris": native}).secret is None
