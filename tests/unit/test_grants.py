"""The decisions of the token endpoint: whether a code may be redeemed, and the rights that a refresh gives."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.crypto.credentials import pkce_challenge
from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.flows.token_requests import (
    check_redemption,
    claims_for,
    grant_from,
    narrow_resources,
    narrow_scopes,
    scopes_at,
)
from oauth_core.model import AuthorizationCode, AuthorizationRequest, Client, User
from oauth_core.parameters import Parameters
from oauth_core.policy.resources import ServiceIndex
from tests.unit.examples import BARE, CALLBACK, ISSUER, NOTES, SERVICES, TIME, make_client
from tests.unit.refusals import refusal

VERIFIER = "v" * 43
CLIENT = make_client(CALLBACK)
REQUEST = AuthorizationRequest(
    client_id=CLIENT.client_id,
    redirect_uri=CALLBACK,
    state=None,
    scopes=("mcp.time", "mcp.notes"),
    resources=(TIME.resource, NOTES.resource),
    code_challenge=pkce_challenge(VERIFIER),
)
CODE = AuthorizationCode("grant-1", REQUEST, User(583231, "octocat"), "sealed", ("acme",))
GRANT = grant_from(CODE, now=1000, lifetime=500)


def redeem(
    *,
    client: Client = CLIENT,
    code: AuthorizationCode = CODE,
    redirect_uri: str = CALLBACK,
    verifier: str = VERIFIER,
) -> None:
    """Redeem a code; an empty value leaves the parameter out."""
    form = Parameters([("redirect_uri", redirect_uri), ("code_verifier", verifier)])
    check_redemption(code, client, form, SERVICES)


def resources(*values: str) -> Parameters:
    return Parameters([("resource", value) for value in values])


@pytest.mark.requirement("rfc7636:bind")
def test_the_right_client_with_the_right_verifier_redeems_its_code() -> None:
    redeem()


@pytest.mark.requirement("oauth21:code-bound")
def test_another_client_cannot_redeem_it() -> None:
    with pytest.raises(DisplayedError, match="not this client's") as caught:
        redeem(client=make_client(CALLBACK, client_id="another"))
    assert caught.value.code is ErrorCode.INVALID_GRANT


@pytest.mark.requirement("rfc7636:compare")
@pytest.mark.parametrize(
    "verifier",
    [
        "",
        "w" * 43,
        "v" * 44,
        "V" * 43,
        "v" * 42,
        "v" * 129,
        "v" * 42 + " ",
        "v" * 43 + "\n",
        REQUEST.code_challenge,
    ],
)
def test_without_the_right_verifier_a_code_cannot_be_redeemed(verifier: str) -> None:
    with pytest.raises(DisplayedError, match="code_verifier") as caught:
        redeem(verifier=verifier)
    assert caught.value.code is ErrorCode.INVALID_GRANT


@pytest.mark.requirement("rfc7636:verifier-length")
@pytest.mark.parametrize("length", [42, 129])
def test_a_verifier_of_a_wrong_length_is_refused_even_if_it_matches_the_challenge(length: int) -> None:
    verifier = "v" * length
    request = dataclasses.replace(REQUEST, code_challenge=pkce_challenge(verifier))
    with pytest.raises(DisplayedError, match="43 to 128"):
        redeem(code=dataclasses.replace(CODE, request=request), verifier=verifier)


@given(st.text(max_size=130))
def test_only_the_exact_verifier_is_accepted(verifier: str) -> None:
    assert (refusal(lambda: redeem(verifier=verifier)) is None) is (verifier == VERIFIER)


@pytest.mark.requirement("oauth21:code-bound", "oauth21:redirect-in-token")
@pytest.mark.parametrize("uri", [f"{CALLBACK}/", "https://evil.example/", "http://localhost/callback"])
def test_the_redirect_uri_must_be_that_of_the_request(uri: str) -> None:
    with pytest.raises(DisplayedError, match="redirect_uri") as caught:
        redeem(redirect_uri=uri)
    assert caught.value.code is ErrorCode.INVALID_GRANT


def test_the_redirect_uri_may_be_omitted_as_in_oauth_2_1() -> None:
    redeem(redirect_uri="")
    redeem(redirect_uri="", client=make_client(CALLBACK, "com.example.app:/cb"))


def test_on_loopback_the_port_of_the_request_counts() -> None:
    client = make_client("http://localhost/cb")
    request = dataclasses.replace(REQUEST, redirect_uri="http://localhost:5000/cb")
    code = dataclasses.replace(CODE, request=request)
    redeem(client=client, code=code, redirect_uri="http://localhost:5000/cb")
    redeem(client=client, code=code, redirect_uri="")
    for other in ("http://localhost/cb", "http://localhost:5001/cb"):
        with pytest.raises(DisplayedError, match="redirect_uri"):
            redeem(client=client, code=code, redirect_uri=other)


# -- audience and scope ------------------------------------------------------------------------------------------


def test_a_resource_narrows_the_audience() -> None:
    granted = REQUEST.resources
    assert narrow_resources(granted, resources(), SERVICES) == granted
    assert narrow_resources(granted, resources(NOTES.resource), SERVICES) == (NOTES.resource,)


@pytest.mark.requirement("complaints:python-sdk-1919")
def test_an_origin_with_a_slash_is_returned_in_our_spelling() -> None:
    assert narrow_resources((BARE.resource,), resources(f"{BARE.resource}/"), SERVICES) == (BARE.resource,)


@pytest.mark.requirement("rfc8707:subset")
@pytest.mark.parametrize(
    "asked",
    [
        (BARE.resource,),
        (TIME.resource, BARE.resource),
        ("https://evil.example/",),
        ("http://[/",),
        (f"{TIME.resource}//",),
    ],
)
def test_a_resource_beyond_the_grant_is_refused(asked: tuple[str, ...]) -> None:
    with pytest.raises(DisplayedError) as caught:
        narrow_resources(REQUEST.resources, resources(*asked), SERVICES)
    assert caught.value.code is ErrorCode.INVALID_TARGET


def test_a_scope_narrows_the_rights_of_a_refresh() -> None:
    granted = REQUEST.scopes
    assert narrow_scopes(granted, Parameters([]), SERVICES) == granted
    assert narrow_scopes(granted, Parameters([("scope", "mcp.notes")]), SERVICES) == ("mcp.notes",)
    assert narrow_scopes(granted, Parameters([("scope", "offline_access")]), SERVICES) == granted


def test_a_refresh_may_repeat_unknown_scopes_but_not_request_other_known_ones() -> None:
    def refreshed(asked: str) -> tuple[str, ...]:
        return narrow_scopes(("mcp.time",), Parameters([("scope", asked)]), SERVICES, ignores_unknown=True)

    assert refreshed("openid mcp.time profile") == ("mcp.time",)
    assert refreshed("openid profile") == ("mcp.time",)
    error = refusal(lambda: refreshed("openid mcp.notes"))
    assert error is not None
    assert error.code is ErrorCode.INVALID_SCOPE


def test_a_token_for_one_service_has_no_scopes_of_others() -> None:
    granted = ("mcp.time", "mcp.notes")
    assert scopes_at(granted, (TIME.resource,), SERVICES) == ("mcp.time",)
    assert scopes_at(granted, (TIME.resource, NOTES.resource), SERVICES) == granted
    assert scopes_at(("mcp.gone",), (TIME.resource,), SERVICES) == ("mcp.gone",)


def test_a_part_of_a_granted_permission_may_be_requested_and_nothing_else() -> None:
    fetch = dataclasses.replace(TIME, named_permissions=("mcp.fetch.read", "mcp.fetch.write", "mcp.other.read"))
    services = ServiceIndex([fetch])

    def narrowed(granted: str, asked: str) -> tuple[str, ...]:
        return narrow_scopes((granted,), Parameters([("scope", asked)]), services)

    assert narrowed("mcp.fetch", "mcp.fetch.read") == ("mcp.fetch.read",)
    assert narrowed("mcp.fetch", "mcp.fetch mcp.fetch.read") == ("mcp.fetch", "mcp.fetch.read")
    for granted, asked in (
        ("mcp.fetch", "mcp.other.read"),
        ("mcp.fetch", "mcp.fetch.unheard"),
        ("mcp.fetch", "mcp.fetch.read mcp.other.read"),
        ("mcp.fetch.read", "mcp.fetch"),
        ("mcp.fetch.read", "mcp.fetch.write"),
        ("mcp", "mcp.fetch.read"),
    ):
        error = refusal(partial(narrowed, granted, asked))
        assert error is not None
        assert error.code is ErrorCode.INVALID_SCOPE


@pytest.mark.requirement("oauth21:refresh-scope")
@given(st.lists(st.sampled_from(["mcp.time", "mcp.notes", "mcp.bare", "MCP.TIME", "offline_access"])))
def test_a_refresh_never_gives_more_than_was_granted(asked: list[str]) -> None:
    form = Parameters([("scope", " ".join(asked))])
    error = refusal(lambda: narrow_scopes(("mcp.time",), form, SERVICES))
    if set(asked) <= {"mcp.time", "offline_access"}:
        assert narrow_scopes(("mcp.time",), form, SERVICES) == ("mcp.time",)
    else:
        assert error is not None
        assert error.code is ErrorCode.INVALID_SCOPE


# -- grants and claims --------------------------------------------------------------------------------------------


def test_a_grant_has_the_values_of_the_code() -> None:
    assert GRANT.grant_id == "grant-1"
    assert (GRANT.user, GRANT.groups, GRANT.sealed_github_token) == (CODE.user, ("acme",), "sealed")
    assert GRANT.client_id == CLIENT.client_id
    assert GRANT.scopes == REQUEST.scopes
    assert GRANT.resources == REQUEST.resources
    assert (GRANT.created_at, GRANT.expires_at) == (1000, 1500)


def test_claims_have_person_rights_audience_and_expiry() -> None:
    claims = claims_for(
        GRANT, issuer=ISSUER, jti="j", audience=(TIME.resource,), scope=("mcp.time",), now=1100, lifetime=60
    )
    assert dataclasses.asdict(claims) == {
        "iss": ISSUER,
        "sub": "583231",
        "aud": (TIME.resource,),
        "exp": 1160,
        "iat": 1100,
        "jti": "j",
        "client_id": CLIENT.client_id,
        "scope": "mcp.time",
        "github_user": "octocat",
        "github_id": 583231,
        "groups": ("acme",),
        "certificate": None,
        "dpop_key": None,
    }


@given(st.integers(1000, 2000), st.integers(1, 1000))
def test_an_access_token_never_outlives_its_grant(now: int, lifetime: int) -> None:
    claims = claims_for(GRANT, issuer=ISSUER, jti="j", audience=(), scope=(), now=now, lifetime=lifetime)
    assert claims.exp == min(now + lifetime, GRANT.expires_at)
