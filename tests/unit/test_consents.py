"""Remembered consent: which requests it may be stored for, and which later requests it covers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from oauth_core.flows import consent
from oauth_core.model import AccountVisit, AuthorizationRequest, Client, DeviceRequest

if TYPE_CHECKING:
    from oauth_core.flows.consent import RememberedConsent

CLIENT = Client(
    client_id="c" * 22,
    issued_at=1,
    registration_token_hash="",
    token_endpoint_auth_method="none",
    redirect_uris=("https://app.example/cb",),
    grant_types=("authorization_code",),
    response_types=("code",),
    client_name="App",
)
ASKED = AuthorizationRequest(
    client_id=CLIENT.client_id,
    redirect_uri="https://app.example/cb",
    scopes=("mcp.time",),
    resources=("https://gw.example/time/mcp",),
    code_challenge="x" * 43,
    state="s",
)
SEEN = consent.fingerprint(CLIENT)


def kept(asked: AuthorizationRequest = ASKED, known: RememberedConsent | None = None) -> RememberedConsent:
    return consent.remember(asked, SEEN, known, now=100, lifetime=50)


def test_the_same_request_is_covered_until_the_consent_expires() -> None:
    assert consent.covers(kept(), ASKED, SEEN, now=149)
    assert consent.covers(kept(), replace(ASKED, state="other", code_challenge="y" * 43), SEEN, now=149)
    assert not consent.covers(kept(), ASKED, SEEN, now=150)
    assert not consent.covers(None, ASKED, SEEN, now=149)


@pytest.mark.parametrize(
    "asked",
    [
        replace(ASKED, scopes=("mcp.time", "mcp.notes")),
        replace(ASKED, scopes=("mcp.notes",)),
        replace(ASKED, resources=(*ASKED.resources, "https://gw.example/notes/mcp")),
        replace(ASKED, redirect_uri="https://app.example/cb2"),
        replace(ASKED, redirect_uri="https://app.example.evil/cb"),
        replace(ASKED, client_id="d" * 22),
    ],
)
def test_a_wider_request_or_another_redirect_uri_is_not_covered(asked: AuthorizationRequest) -> None:
    assert not consent.covers(kept(), asked, SEEN, now=120)


@pytest.mark.parametrize(
    "changed",
    [
        replace(CLIENT, client_name="App "),
        replace(CLIENT, client_uri="https://elsewhere.example"),
        replace(CLIENT, redirect_uris=("https://app.example/cb", "https://evil.example/cb")),
        replace(CLIENT, token_endpoint_auth_method="private_key_jwt", jwks="{}"),
        replace(CLIENT, client_id="d" * 22),
    ],
)
def test_a_changed_client_is_not_covered(changed: Client) -> None:
    assert not consent.covers(kept(), ASKED, consent.fingerprint(changed), now=120)


def test_changes_that_do_not_concern_the_user_do_not_matter() -> None:
    used = replace(CLIENT, scope="mcp.time", secret_hash="new", registration_token_hash="new")
    assert consent.fingerprint(used) == SEEN


def test_consent_to_more_is_added_only_for_the_same_unexpired_client() -> None:
    more = replace(ASKED, scopes=("mcp.notes",), resources=("https://gw.example/notes/mcp",))
    both = kept(more, kept())
    assert consent.covers(both, ASKED, SEEN, now=120)
    assert consent.covers(both, more, SEEN, now=120)
    assert not consent.covers(kept(more, replace(kept(), client_fingerprint="other")), ASKED, SEEN, now=120)
    assert not consent.covers(kept(more, replace(kept(), expires_at=100)), ASKED, SEEN, now=120)


@pytest.mark.parametrize(
    "uri",
    [
        *("http://127.0.0.1:1/cb", "http://localhost/cb", "http://[::1]:9/cb", "cursor://x/cb", "com.app:/cb"),
        *("https://localhost:8443/cb", "https://127.0.0.1/cb", "https://[::1]:9/cb"),
    ],
)
def test_consent_for_a_local_redirect_uri_is_never_remembered(uri: str) -> None:
    asked = replace(ASKED, redirect_uri=uri)
    assert not consent.may_be_remembered(asked)
    assert not consent.covers(kept(asked), asked, SEEN, now=120)


def test_consent_for_devices_and_account_visits_is_never_remembered() -> None:
    assert not consent.may_be_remembered(DeviceRequest("h", "c", (), ()))
    assert not consent.may_be_remembered(AccountVisit())
