"""Service assertions: their claims and lifetime, and which keys sign and are published."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ext_authz.decision.allow_response import AllowResponses
from ext_authz.decision.envoy_messages import Names
from oauth_core.errors import SettingsError
from oauth_core.jose.signing_keys import VerifyingKeys, generate_key, public_jwks
from oauth_core.settings import AuthzSettings, load
from oauth_core.settings.identity_headers import IdentityHeaders
from oauth_core.tokens import access_tokens
from oauth_core.tokens.access_tokens import Rejected
from oauth_core.tokens.service_assertions import LIFETIME, RENEWED_AFTER, AssertionSigner, published
from oauth_web.runtime.assertion_keys import AssertionKeys
from tests.support import master_key
from tests.support.check_messages import read_answer
from tests.support.tokens import ISSUER, claims
from tests.unit.examples import NOTES, TIME

if TYPE_CHECKING:
    from pathlib import Path

    from oauth_core.jose.signing_keys import Algorithm, SigningKey
    from oauth_core.model import Service

KEY = generate_key("ES256", now=0)
SIGNER = AssertionSigner(KEY, issuer=ISSUER)
WANTING = dataclasses.replace(TIME, assertion=True)
NOW = claims().iat
CHECK = master_key.CHECK_KEYS

CONFIG = """
issuer = "http://localhost:8080"

[[services]]
name = "time"
upstream = "http://127.0.0.1:1/mcp"
assertion = true
"""


def read(text: str, service: str = "time", key: SigningKey = KEY) -> dict[str, Any]:
    """Its claims. The times are not checked, because the tests have their own clock."""
    keys = jwt.PyJWKSet.from_json(public_jwks([key]))
    options: Any = {"verify_exp": False, "verify_iat": False}
    decoded: dict[str, Any] = jwt.decode(
        text, keys[key.kid], algorithms=[key.algorithm], audience=f"service:{service}", options=options
    )
    return decoded


def test_it_has_the_identity_and_the_audience() -> None:
    text, until = SIGNER.sign(claims(groups=("acme", "acme/platform")), WANTING, NOW)
    assert read(text) == {
        "iss": ISSUER,
        "sub": "583231",
        "aud": "service:time",
        "iat": NOW,
        "exp": NOW + LIFETIME,
        "client_id": "client-1",
        "scope": "mcp.time",
        "preferred_username": "octocat",
        "groups": ["acme", "acme/platform"],
    }
    assert jwt.get_unverified_header(text) == {"alg": "ES256", "typ": "service-assertion+jwt", "kid": KEY.kid}
    assert until == NOW + RENEWED_AFTER


def test_a_machine_client_has_no_user_name() -> None:
    text, _ = SIGNER.sign(claims(github_user=None, github_id=None, sub="client-1"), WANTING, NOW)
    assert "preferred_username" not in read(text)


def test_it_is_no_access_token_even_under_a_key_that_signs_both() -> None:
    """An operator who gives both programs the same key causes no weakness."""
    text, _ = SIGNER.sign(claims(), WANTING, NOW)
    verdict = access_tokens.verify(text, VerifyingKeys.from_jwks(public_jwks([KEY])), issuer=ISSUER, now=NOW)
    assert isinstance(verdict, Rejected)


@given(left=st.integers(1, 10_000), steps=st.lists(st.integers(0, 90), max_size=30))
def test_a_sent_assertion_is_never_stale_and_never_outlives_the_token(left: int, steps: list[int]) -> None:
    responses, who, now = AllowResponses(signer=SIGNER), claims(exp=NOW + left), NOW
    response, until = responses.build_response(who, WANTING, (), now)
    for step in steps:
        now += step
        if now >= who.exp:
            break
        if now >= until:  # as the check does
            response, until = responses.build_response(who, WANTING, (), now)
        told = read(read_answer(response.lasting(300)).identity["x-portcullis-assertion"])
        assert told["iat"] <= now < told["exp"] <= who.exp
        assert told["exp"] - now >= min(LIFETIME - RENEWED_AFTER, who.exp - now)


def test_only_services_with_the_setting_get_one_and_each_its_own() -> None:
    responses = AllowResponses(signer=SIGNER)

    def told(service: Service) -> str | None:
        response, _ = responses.build_response(claims(), service, (), NOW)
        return read_answer(response.lasting(300)).identity.get("x-portcullis-assertion")

    assert told(TIME) is None
    assert (
        "x-portcullis-assertion"
        in read_answer(responses.build_response(claims(), TIME, (), NOW)[0].lasting(1)).removed
    )
    assert read(told(WANTING) or "")["aud"] == "service:time"
    with pytest.raises(jwt.InvalidAudienceError):
        read(told(dataclasses.replace(NOTES, assertion=True)) or "")


@pytest.mark.parametrize(
    "responses",
    [AllowResponses(), AllowResponses(Names(IdentityHeaders(assertion="")), signer=SIGNER)],
    ids=["no key", "no name"],
)
def test_a_service_with_the_setting_never_gets_a_request_without_it(responses: AllowResponses) -> None:
    with pytest.raises(RuntimeError, match="needs a restart"):
        responses.build_response(claims(), WANTING, (), NOW)


# -- keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "EdDSA"])
def test_keys_of_fast_algorithms_are_accepted(algorithm: Algorithm) -> None:
    key = generate_key(algorithm, now=0)
    signer = AssertionSigner.from_pem(key.to_pem(), issuer=ISSUER)
    assert read(signer.sign(claims(), WANTING, NOW).text, key=key)["sub"] == "583231"


def test_rsa_keys_and_invalid_keys_are_refused_without_repeating_them(
    signing_keys: dict[Algorithm, SigningKey],
) -> None:
    with pytest.raises(ValueError, match="RSA, which signs too slowly"):
        AssertionSigner.from_pem(signing_keys["RS256"].to_pem(), issuer=ISSUER)
    for wrong in (KEY.public_pem(), b"", b"hunter2", KEY.to_pem()[:-40]):
        with pytest.raises(ValueError, match="must be a private key") as refused:
            AssertionSigner.from_pem(wrong, issuer=ISSUER)
        assert "hunter2" not in str(refused.value)


def test_several_public_keys_may_be_published_during_a_rotation() -> None:
    other = generate_key("EdDSA", now=0)
    document = published(KEY.public_pem() + b"\n" + other.public_pem())
    assert document == public_jwks([KEY, other])


@pytest.mark.parametrize("more", [KEY.to_pem(), b"text", b"-----BEGIN CERTIFICATE-----"])
def test_a_file_with_anything_but_public_keys_is_refused(more: bytes) -> None:
    for mixed in (more, KEY.public_pem() + more, more + KEY.public_pem(), b""):
        with pytest.raises(ValueError, match="public keys"):
            published(mixed)


def test_the_file_is_followed_and_the_last_valid_one_is_kept(tmp_path: Path) -> None:
    path, other = tmp_path / "keys.pub", generate_key("ES384", now=0)
    path.write_bytes(KEY.public_pem())
    keys = AssertionKeys(path)
    path.write_bytes(KEY.public_pem() + other.public_pem())
    assert len(json.loads(keys.jwks)["keys"]) == 2
    path.write_bytes(KEY.to_pem())
    assert keys.jwks == public_jwks([KEY, other])
    path.unlink()
    with capture_logs() as told:  # callers may request the keys any number of times
        assert {keys.jwks for _ in range(3)} == {public_jwks([KEY, other])}
    assert len(told) == 1
    path.write_bytes(other.public_pem())
    assert keys.jwks == public_jwks([other])


def test_an_unusable_file_stops_the_program(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        AssertionKeys(tmp_path / "none")
    assert AssertionKeys.from_file(None) is None


# -- settings ----------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "portcullis.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def test_a_check_service_without_the_key_does_not_start(config: Path) -> None:
    with pytest.raises(SettingsError, match=r"time\): set ASSERTION_KEY"):
        load(AuthzSettings, config, CHECK)


def test_a_check_service_with_an_invalid_key_does_not_start_and_does_not_repeat_it(config: Path) -> None:
    with pytest.raises(SettingsError, match="must be a private key") as refused:
        load(AuthzSettings, config, {**CHECK, "ASSERTION_KEY": "hunter2"})
    assert "hunter2" not in str(refused.value)


def test_the_key_comes_from_the_environment_or_from_a_file(config: Path, tmp_path: Path) -> None:
    secret = tmp_path / "key.pem"
    secret.write_bytes(KEY.to_pem())
    for environ in ({"ASSERTION_KEY": KEY.to_pem().decode()}, {"ASSERTION_KEY_FILE": str(secret)}):
        settings = load(AuthzSettings, config, {**CHECK, **environ})
        assert settings.assertion_signer is not None
        assert "PRIVATE" not in repr(settings)
    config.write_text(f'check.assertion_key = "x"\n{CONFIG}', encoding="utf-8")
    with pytest.raises(SettingsError, match=r"check\.assertion_key is a secret"):
        load(AuthzSettings, config, {**CHECK, **environ})


def test_a_service_cannot_have_the_setting_if_the_header_has_no_name(config: Path) -> None:
    environ = {"ASSERTION_KEY": KEY.to_pem().decode(), "IDENTITY_HEADERS": "assertion="}
    with pytest.raises(SettingsError, match="gives them no name"):
        load(AuthzSettings, config, {**CHECK, **environ})
