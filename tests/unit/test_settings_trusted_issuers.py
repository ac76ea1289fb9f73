"""Trusted issuers in the settings: valid ones, and those that are refused at the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from oauth_core.errors import SettingsError
from oauth_core.model import User
from oauth_core.settings import WebSettings, load
from oauth_core.settings.trusted_issuers import TrustedIssuerSettings
from tests.unit.small_settings import ENVIRONMENT, LOCAL

if TYPE_CHECKING:
    from pathlib import Path

GOOD: dict[str, Any] = {
    "issuer": "https://idp.example/",
    "jwks_uri": "https://idp.example/keys",
    "clients": ["one"],
    "users": {"U1": {"github_id": 5, "github_user": "octocat"}},
}


def test_a_trusted_issuer_has_clients_and_users() -> None:
    trusted = TrustedIssuerSettings.model_validate(GOOD).resolved
    assert (trusted.issuer, trusted.clients) == ("https://idp.example/", frozenset({"one"}))
    assert trusted.users == {"U1": User(5, "octocat")}


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "http://idp.example"},
        {"issuer": "https://idp.example/?a=b"},
        {"issuer": "idp.example"},
        {"issuer": ""},
        {"clients": []},
        {"clients": [""]},
        {"jwks_uri": None},
        {"jwks_file": "/keys.json"},
        {"jwks_uri": "http://idp.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"github_id_claim": "id"},
        {"github_user_claim": "login"},
        {"users": {}},
        {"users": {"U1": {"github_id": 0, "github_user": "octocat"}}},
        {"users": {"U1": {"github_id": True, "github_user": "octocat"}}},
        {"users": {"U1": {"github_id": 5, "github_user": "*"}}},
        {"users": {"U1": {"github_id": 5}}},
        {"audience": "https://elsewhere.example"},
    ],
)
def test_invalid_settings_of_an_issuer_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrustedIssuerSettings.model_validate({**GOOD, **wrong})


@pytest.mark.parametrize("issuers", [["https://idp.example", "https://idp.example"], ["http://localhost:8080"]])
def test_an_issuer_is_listed_once_and_is_not_this_gateway(config: Path, issuers: list[str]) -> None:
    tables = "".join(
        f'\n[[trusted_issuers]]\nissuer = "{issuer}"\njwks_file = "/k"\nclients = ["one"]\n'
        'github_id_claim = "id"\ngithub_user_claim = "login"\n'
        for issuer in issuers
    )
    config.write_text(LOCAL + tables)
    with pytest.raises(SettingsError, match="trusted_issuers names"):
        load(WebSettings, config, ENVIRONMENT)
