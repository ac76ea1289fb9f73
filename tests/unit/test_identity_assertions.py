"""Identity assertions: which are accepted, which person they are for, and which rights they give."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.flows.id_jag import (
    IdentityAssertion,
    IdentityFault,
    TrustedIssuer,
    UnverifiedAssertion,
    check,
    narrowed,
    parse_unverified,
    user_of,
)
from oauth_core.jose import client_keys
from oauth_core.model import User
from oauth_core.parameters import Parameters
from tests.support.assertions import KEY_NAME, PROVIDER, SUBJECT, asserted, jwks, key
from tests.unit.examples import BARE, ISSUER, NOTES, SERVICES, TIME

if TYPE_CHECKING:
    from oauth_core.jose.signing_keys import Algorithm

NOW = 1_800_000_000
CLIENT = "client-one"
KEYS = client_keys.parse(jwks(key(name=KEY_NAME)))
OCTOCAT = User(583231, "octocat")
TRUSTED = TrustedIssuer(PROVIDER, frozenset({CLIENT}), users={SUBJECT: OCTOCAT})
BY_CLAIMS = replace(TRUSTED, users={}, github_id_claim="gh_id", github_user_claim="gh_login")


def verdict(
    assertion: str,
    *,
    keys: client_keys.ClientKeys = KEYS,
    trusted: TrustedIssuer = TRUSTED,
    client_id: str = CLIENT,
    now: int = NOW,
) -> IdentityAssertion | IdentityFault:
    return check(assertion, keys, trusted, client_id=client_id, audience=ISSUER, now=now)


def made(**given_: Any) -> str:
    return asserted(given_.pop("client_id", CLIENT), given_.pop("aud", ISSUER), **{"now": NOW, **given_})


def believed(**claims: Any) -> IdentityAssertion:
    found = verdict(made(**claims))
    assert isinstance(found, IdentityAssertion), found
    return found


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256", "EdDSA", "Ed25519"])
def test_each_algorithm_is_accepted_with_a_key_of_its_kind(algorithm: Algorithm) -> None:
    own = key(algorithm)
    found = verdict(made(by=own, jti="one"), keys=client_keys.parse(jwks(own)))
    assert isinstance(found, IdentityAssertion)
    assert (found.subject, found.jti, found.issued_at, found.until) == (SUBJECT, "one", NOW, NOW + 300 + 31)
    assert (found.scopes, found.resources) == (("mcp.time",), None)


@pytest.mark.requirement("id-jag:audience")
@pytest.mark.parametrize("audience", [ISSUER, [ISSUER]])
def test_the_audience_is_only_our_issuer(audience: Any) -> None:
    assert isinstance(verdict(made(aud=audience)), IdentityAssertion)


@pytest.mark.requirement("id-jag:typ", "id-jag:audience", "id-jag:signature")
@pytest.mark.parametrize(
    ("given_", "fault"),
    [
        *(
            ({"aud": wrong}, IdentityFault.WRONG_AUDIENCE)
            for wrong in ("", f"{ISSUER}/", f"{ISSUER}/token", [], [ISSUER, "https://other.example"],
                          [ISSUER, ISSUER], [[ISSUER]], {"a": ISSUER}, 5, None)
        ),
        *(({"client_id": wrong}, IdentityFault.WRONG_CLIENT) for wrong in ("another", "", None, [CLIENT])),
        *(
            ({"iss": wrong}, IdentityFault.WRONG_ISSUER)
            for wrong in ("https://idp.example", "https://IDP.example/", ISSUER, "https://other.example/")
        ),
        *(({"sub": wrong}, IdentityFault.NO_SUBJECT) for wrong in (None, "", "line\nbreak", "nul\0")),
        *(({"jti": wrong}, IdentityFault.NO_ID) for wrong in (None, "", "x" * 257)),
        ({"tenant": "acme"}, IdentityFault.WRONG_TENANT),
        ({"tenant": ""}, IdentityFault.WRONG_TENANT),
        ({"iat": None}, IdentityFault.BAD_TIMES),
        ({"exp": None}, IdentityFault.BAD_TIMES),
        ({"exp": "soon"}, IdentityFault.BAD_TIMES),
        ({"exp": True}, IdentityFault.BAD_TIMES),
        ({"exp": NOW + 3700}, IdentityFault.BAD_TIMES),
        ({"exp": NOW - 31, "iat": NOW - 300}, IdentityFault.EXPIRED),
        ({"iat": NOW + 31}, IdentityFault.NOT_YET_VALID),
        ({"nbf": NOW + 31}, IdentityFault.NOT_YET_VALID),
        ({"cnf": {"jkt": "x"}}, IdentityFault.NOT_UNDERSTOOD),
        ({"authorization_details": [{"type": "x"}]}, IdentityFault.NOT_UNDERSTOOD),
        ({"scope": None}, IdentityFault.BAD_LIMITS),
        ({"scope": ["mcp.time"]}, IdentityFault.BAD_LIMITS),
        ({"scope": 'mcp."time'}, IdentityFault.BAD_LIMITS),
        ({"resource": {}}, IdentityFault.BAD_LIMITS),
        ({"resource": [TIME.resource, 5]}, IdentityFault.BAD_LIMITS),
        *(
            ({"headers": {"typ": wrong}}, IdentityFault.WRONG_TYPE)
            for wrong in (None, "JWT", "at+jwt", "client-authentication+jwt", "dpop+jwt")
        ),
        ({"headers": {"crit": ["b64"], "b64": True}}, IdentityFault.MALFORMED),
        ({"headers": {"crit": ["exp"], "exp": 1}}, IdentityFault.MALFORMED),
        ({"headers": {"kid": "another"}}, IdentityFault.UNKNOWN_KEY),
    ],
)  # fmt: skip
def test_an_assertion_for_others_or_from_an_untrusted_provider_is_refused(
    given_: dict[str, Any], fault: IdentityFault
) -> None:
    assert verdict(made(**given_)) is fault


def test_a_clock_difference_of_half_a_minute_is_accepted() -> None:
    assert isinstance(verdict(made(exp=NOW - 29, iat=NOW - 300)), IdentityAssertion)
    assert isinstance(verdict(made(iat=NOW + 30)), IdentityAssertion)


@pytest.mark.requirement("id-jag:signature")
def test_another_key_under_the_right_name_is_refused() -> None:
    stranger = key(name="stranger")
    forged = made(by=stranger, headers={"kid": key(name=KEY_NAME).kid})
    assert verdict(forged) is IdentityFault.BAD_SIGNATURE


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_unsigned_and_symmetric_assertions_are_refused(algorithm: str) -> None:
    claims = jwt.decode(made(), options={"verify_signature": False})
    secret = "" if algorithm == "none" else str(jwks(key(name=KEY_NAME)))
    token = jwt.encode(claims, secret, algorithm, headers={"typ": "oauth-id-jag+jwt"})
    assert parse_unverified(token) in {IdentityFault.WRONG_ALGORITHM, IdentityFault.MALFORMED}
    assert verdict(token) in {IdentityFault.WRONG_ALGORITHM, IdentityFault.MALFORMED}


def test_a_client_that_the_operator_did_not_name_is_refused_even_if_the_assertion_names_it() -> None:
    assert verdict(made(client_id="another"), client_id="another") is IdentityFault.WRONG_ISSUER


@pytest.mark.requirement("id-jag:tenant")
def test_only_the_named_tenant_of_an_issuer_is_trusted() -> None:
    acme = replace(TRUSTED, tenant="acme")
    assert isinstance(verdict(made(tenant="acme"), trusted=acme), IdentityAssertion)
    for other in ("evil", None, ["acme"]):
        assert verdict(made(tenant=other), trusted=acme) is IdentityFault.WRONG_TENANT


@given(st.one_of(st.text(max_size=200), st.from_regex(r"\A[A-Za-z0-9_-]{1,40}(\.[A-Za-z0-9_-]{1,40}){2}\Z")))
def test_any_text_is_refused_without_another_error(text: str) -> None:
    assert isinstance(parse_unverified(text), IdentityFault | UnverifiedAssertion)
    assert isinstance(verdict(text), IdentityFault)


_PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_JSON = _PLAIN | st.lists(_PLAIN, max_size=3) | st.dictionaries(st.text(max_size=8), _PLAIN, max_size=3)
_NAMES = st.sampled_from(
    ["iss", "sub", "aud", "client_id", "jti", "exp", "iat", "nbf", "scope", "resource", "tenant"]
)


@given(st.dictionaries(_NAMES, _JSON, min_size=1, max_size=4))
def test_any_signed_claims_are_accepted_or_refused(claims: dict[str, Any]) -> None:
    """A fault of a provider must not cause an error here; an accepted assertion is for us, for the client and
    unexpired.
    """
    found = verdict(made(**claims))
    if isinstance(found, IdentityAssertion):
        said = found.claims
        assert (said["iss"], said["client_id"]) == (PROVIDER, CLIENT)
        assert said["aud"] in (ISSUER, [ISSUER])
        assert said["exp"] > NOW - 31
        user_of(found, BY_CLAIMS)


# -- the person ---------------------------------------------------------------------------------------------------


def test_the_operators_list_maps_a_subject_to_a_person() -> None:
    assert user_of(believed(), TRUSTED) == OCTOCAT
    assert user_of(believed(sub="somebody else"), TRUSTED) is None


@pytest.mark.parametrize("number", [42, "42"])
def test_claims_may_name_the_person_for_subjects_that_are_not_listed(number: object) -> None:
    by_both = replace(BY_CLAIMS, users={SUBJECT: OCTOCAT})
    claims = {"gh_id": number, "gh_login": "hubot"}
    assert user_of(believed(**claims), BY_CLAIMS) == User(42, "hubot")
    assert user_of(believed(**claims), by_both) == OCTOCAT
    assert user_of(believed(**claims), TRUSTED) == OCTOCAT


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"gh_id": 42},
        {"gh_login": "hubot"},
        *(
            {"gh_id": wrong, "gh_login": "hubot"}
            for wrong in (True, 0, -1, 4.2, "042", "0", "4 2", "", [42], "9" * 19)
        ),
        *({"gh_id": 42, "gh_login": wrong} for wrong in ("", "*", "a b", "a\r\nx-user-id: 1", "é", 5, "-x")),
    ],
)  # fmt: skip
def test_incomplete_account_claims_name_no_person(claims: dict[str, Any]) -> None:
    assert user_of(believed(**claims), BY_CLAIMS) is None


# -- rights -------------------------------------------------------------------------------------------------------


def opened(claims: dict[str, Any], **form: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    pairs = [(name, one) for name, value in form.items() for one in ([value] if isinstance(value, str) else value)]
    return narrowed(believed(**claims), Parameters(pairs), SERVICES)


BOTH = {"scope": "mcp.time mcp.notes", "resource": [TIME.resource, NOTES.resource]}


@pytest.mark.requirement("id-jag:scope")
@pytest.mark.parametrize(
    ("claims", "form", "scopes", "audience"),
    [
        ({}, {}, ("mcp.time",), (TIME,)),
        ({"resource": TIME.resource}, {}, ("mcp.time",), (TIME,)),
        ({"scope": None, "resource": TIME.resource}, {}, ("mcp.time",), (TIME,)),
        (BOTH, {}, ("mcp.time", "mcp.notes"), (TIME, NOTES)),
        (BOTH, {"resource": NOTES.resource}, ("mcp.notes",), (NOTES,)),
        (BOTH, {"scope": "mcp.time"}, ("mcp.time",), (TIME,)),
        ({"resource": f"{BARE.resource}/", "scope": "mcp.bare"}, {}, ("mcp.bare",), (BARE,)),
        # The intersection: scopes beyond it are left out.
        (BOTH, {"scope": "mcp.time mcp.bare offline_access"}, ("mcp.time",), (TIME,)),
        ({"scope": "mcp.time mcp.unheard"}, {}, ("mcp.time",), (TIME,)),
        ({"resource": [TIME.resource, "https://elsewhere.example"]}, {}, ("mcp.time",), (TIME,)),
    ],
)
def test_a_token_has_no_more_than_assertion_and_request(
    claims: dict[str, Any], form: dict[str, Any], scopes: tuple[str, ...], audience: tuple[Any, ...]
) -> None:
    assert opened(claims, **form) == (scopes, tuple(service.resource for service in audience))


@pytest.mark.parametrize(
    ("claims", "form", "code"),
    [
        ({"resource": TIME.resource}, {"resource": NOTES.resource}, ErrorCode.INVALID_TARGET),
        ({"resource": TIME.resource}, {"resource": "https://elsewhere.example"}, ErrorCode.INVALID_TARGET),
        ({"resource": "https://elsewhere.example"}, {}, ErrorCode.INVALID_TARGET),
        ({"resource": []}, {}, ErrorCode.INVALID_TARGET),
        ({"scope": "mcp.time", "resource": NOTES.resource}, {}, ErrorCode.INVALID_SCOPE),
        ({}, {"resource": NOTES.resource}, ErrorCode.INVALID_SCOPE),
        ({}, {"scope": "mcp.notes"}, ErrorCode.INVALID_SCOPE),
        ({"scope": ""}, {}, ErrorCode.INVALID_SCOPE),
        ({"scope": "mcp"}, {}, ErrorCode.INVALID_SCOPE),
    ],
)
def test_a_request_beyond_the_assertion_is_refused(
    claims: dict[str, Any], form: dict[str, Any], code: ErrorCode
) -> None:
    with pytest.raises(DisplayedError) as refused:
        opened(claims, **form)
    assert refused.value.code is code
