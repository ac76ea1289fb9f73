"""Names of the identity headers: which are valid, and that callers may use none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from oauth_core.errors import SettingsError
from oauth_core.settings import EnvoySettings, load
from oauth_core.settings.identity_headers import IdentityHeaders

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
issuer = "http://localhost:8080"

[[services]]
name = "time"
upstream = "http://127.0.0.1:1/mcp"
"""
USUAL = ("x-user-id", "x-user-name", "x-client-id", "x-token-scope", "x-user-groups", "x-portcullis-assertion")


def test_the_usual_names_are_guarded() -> None:
    assert IdentityHeaders().guarded == USUAL


def test_the_usual_names_stay_guarded_when_others_are_used() -> None:
    """A service written for the usual names would still trust them."""
    assert set(IdentityHeaders(user_id="remote-user", scope="").guarded) == {*USUAL, "remote-user"}


@pytest.mark.parametrize("name", ["x-auth-request-user", "x-forwarded-user", "remote-user", "user", "x-1"])
def test_a_valid_name_is_accepted(name: str) -> None:
    assert IdentityHeaders(user_id=name).user_id == name


@pytest.mark.parametrize(
    "name",
    ["X-User", "x_user", "x user", "x-user:", "x--user", "-x", "x-", "1x", "x\ny", "ü", ":path", "x" * 65],
)
def test_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="must be lower-case letters"):
        IdentityHeaders(user_id=name)


@pytest.mark.parametrize(
    "name",
    [
        "host",
        "authorization",
        "cookie",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-envoy-upstream-rq-timeout-ms",
        "mcp-session-id",
        "te",
        "origin",
        "dpop",
        "range",
        "traceparent",
        "grpc-timeout",
        "set-cookie",
    ],
)
def test_a_name_with_another_meaning_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"user_id: .* has a meaning of its own"):
        IdentityHeaders(user_id=name)


def test_two_values_cannot_share_a_name() -> None:
    with pytest.raises(ValidationError, match="user_name and user_id are both 'x-user'"):
        IdentityHeaders(user_id="x-user", user_name="x-user")


def test_the_environment_can_set_the_names_too(tmp_path: Path) -> None:
    config = tmp_path / "portcullis.toml"
    config.write_text(CONFIG, encoding="utf-8")
    headers = load(EnvoySettings, config, {"IDENTITY_HEADERS": "user_id = x-auth-user, scope="}).identity_headers
    assert (headers.user_id, headers.user_name, headers.scope) == ("x-auth-user", "x-user-name", "")


@pytest.mark.parametrize("text", ["user_id", "user_id=x-a,scope", "user_id=x-a,user_id=x-b", "other=x-a"])
def test_an_ambiguous_text_in_the_environment_is_a_fault(tmp_path: Path, text: str) -> None:
    config = tmp_path / "portcullis.toml"
    config.write_text(CONFIG, encoding="utf-8")
    with pytest.raises(SettingsError, match="must be like"):
        load(EnvoySettings, config, {"IDENTITY_HEADERS": text})


def test_all_faults_are_reported_together_with_their_places(tmp_path: Path) -> None:
    config = tmp_path / "portcullis.toml"
    config.write_text(f'{CONFIG}\n[identity_headers]\nuser_id = "host"\nuser_name = "X"\n', encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load(EnvoySettings, config, {})
    assert [fault.split(":")[:2] for fault in caught.value.faults] == [
        ["identity_headers", " user_id"],
        ["identity_headers", " user_name"],
    ]
