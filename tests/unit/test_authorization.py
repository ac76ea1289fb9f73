"""`/authorize`: which requests are accepted, and which errors may be redirected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oauth_core.crypto.credentials import pkce_challenge
from oauth_core.errors import DisplayedError, ErrorCode, RedirectedError
from oauth_core.flows.authorization import validate
from oauth_core.parameters import Parameters
from tests.unit.examples import BARE, CALLBACK, NOTES, SERVICES, TIME, make_client
from tests.unit.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oauth_core.model import AuthorizationRequest, Client

CHALLENGE = pkce_challenge("v" * 43)
CLIENT = make_client(CALLBACK)
LOOPBACK_CLIENT = make_client("http://localhost/callback", "com.example.app:/cb")
GOOD = {
    "response_type": "code",
    "client_id": CLIENT.client_id,
    "redirect_uri": CALLBACK,
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
    "state": "the state",
    "scope": "mcp.time",
    "resource": TIME.resource,
}


def ask(
    changes: Mapping[str, str | None] | None = None,
    *extra: tuple[str, str],
    client: Client = CLIENT,
    default_scopes: tuple[str, ...] = (),
) -> AuthorizationRequest:
    """Validate a valid request with `changes` (`None` leaves a parameter out) and `extra` pairs."""
    pairs = [(name, value) for name, value in {**GOOD, **(changes or {})}.items() if value is not None]
    return validate(Parameters([*pairs, *extra]), client, SERVICES, default_scopes)


def test_a_valid_request_is_parsed() -> None:
    asked = ask()
    assert asked.client_id == CLIENT.client_id
    assert asked.redirect_uri == CALLBACK
    assert asked.state == "the state"
    assert asked.scopes == ("mcp.time",)
    assert asked.resources == (TIME.resource,)
    assert asked.code_challenge == CHALLENGE


@pytest.mark.parametrize("missing", ["state", "scope", "resource", "client_id"])
def test_parameters_that_older_clients_omit_are_optional(missing: str) -> None:
    assert ask({missing: None}).redirect_uri == CALLBACK


@pytest.mark.requirement("oauth21:ignore-unknown")
def test_unknown_parameters_are_ignored() -> None:
    assert ask({}, ("prompt", "consent"), ("nonce", "x"), ("response_mode", "query")) == ask()


# -- before the redirect URI is validated, errors are displayed ---------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/callback",
        f"{CALLBACK}/",
        f"{CALLBACK}?x=1",
        f"{CALLBACK}#x",
        "https://client.example@evil.example/callback",
        "https://client.example\\@evil.example/callback",
        "javascript:alert(1)",
        "not a uri",
        "https://[",
        "\x00",
        "x" * 5000,
    ],
)
def test_no_error_is_redirected_to_an_unregistered_redirect_uri(uri: str) -> None:
    with pytest.raises(DisplayedError):
        ask({"redirect_uri": uri})
    with pytest.raises(DisplayedError):
        ask({"redirect_uri": uri, "response_type": "nonsense", "code_challenge": None})


def test_with_two_redirect_uris_no_error_is_redirected() -> None:
    with pytest.raises(DisplayedError, match="more than once"):
        ask({}, ("redirect_uri", "https://evil.example/"))
    with pytest.raises(DisplayedError, match="more than once"):
        ask({}, ("redirect_uri", CALLBACK))


def test_a_redirect_uri_may_be_omitted_only_if_one_is_registered() -> None:
    assert ask({"redirect_uri": None}).redirect_uri == CALLBACK
    with pytest.raises(DisplayedError, match="registered several"):
        ask({"redirect_uri": None}, client=LOOPBACK_CLIENT)


def test_a_loopback_redirect_uri_keeps_the_requested_port() -> None:
    asked = ask({"redirect_uri": "http://localhost:53127/callback"}, client=LOOPBACK_CLIENT)
    assert asked.redirect_uri == "http://localhost:53127/callback"


# -- afterwards, they are redirected ------------------------------------------------------------------------------


@pytest.mark.requirement("oauth21:pkce", "oauth21:code-challenge-error", "rfc7636:required", "rfc7636:unsupported")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"response_type": None}, ErrorCode.INVALID_REQUEST),
        ({"response_type": "token"}, ErrorCode.UNSUPPORTED_RESPONSE_TYPE),
        ({"response_type": "code id_token"}, ErrorCode.UNSUPPORTED_RESPONSE_TYPE),
        ({"response_mode": "fragment"}, ErrorCode.INVALID_REQUEST),
        ({"response_mode": "form_post"}, ErrorCode.INVALID_REQUEST),
        ({"request": "a.b.c"}, ErrorCode.INVALID_REQUEST),
        ({"request_uri": "https://client.example/request"}, ErrorCode.INVALID_REQUEST),
        ({"code_challenge": None}, ErrorCode.INVALID_REQUEST),
        ({"code_challenge": "short"}, ErrorCode.INVALID_REQUEST),
        ({"code_challenge": CHALLENGE + "="}, ErrorCode.INVALID_REQUEST),
        ({"code_challenge": CHALLENGE + "\n"}, ErrorCode.INVALID_REQUEST),
        ({"code_challenge": "é" * 43}, ErrorCode.INVALID_REQUEST),
        ({"code_challenge_method": None}, ErrorCode.INVALID_REQUEST),
        ({"code_challenge_method": "plain"}, ErrorCode.INVALID_REQUEST),
        ({"code_challenge_method": "s256"}, ErrorCode.INVALID_REQUEST),
        ({"scope": "unknown.scope", "resource": None}, ErrorCode.INVALID_SCOPE),
        ({"scope": "mcp.notes"}, ErrorCode.INVALID_SCOPE),
        ({"scope": 'mcp.time "quoted"'}, ErrorCode.INVALID_SCOPE),
        ({"resource": "https://evil.example/mcp"}, ErrorCode.INVALID_TARGET),
        ({"resource": f"{TIME.resource}//"}, ErrorCode.INVALID_TARGET),
        ({"resource": "http://[/"}, ErrorCode.INVALID_TARGET),
        ({"resource": "x" * 5000}, ErrorCode.INVALID_REQUEST),
        ({"nonce": "x" * 5000}, ErrorCode.INVALID_REQUEST),
    ],
)
def test_an_error_is_redirected_to_the_client_with_its_state(
    changes: dict[str, str | None], code: ErrorCode
) -> None:
    with pytest.raises(RedirectedError) as caught:
        ask(changes)
    assert caught.value.code is code
    assert caught.value.redirect_uri == CALLBACK
    assert caught.value.state == "the state"


@pytest.mark.parametrize("name", ["client_id", "response_type", "code_challenge", "scope", "nonce", "state"])
def test_a_duplicate_parameter_is_an_error_and_an_ambiguous_state_is_not_echoed(name: str) -> None:
    with pytest.raises(RedirectedError, match="more than once") as caught:
        ask({}, (name, "another"), (name, "still another"))
    assert caught.value.state == (None if name == "state" else "the state")


@pytest.mark.requirement("rfc8707:invalid-target")
def test_one_unknown_resource_among_known_ones_is_refused() -> None:
    with pytest.raises(RedirectedError) as caught:
        ask({}, ("resource", "https://evil.example/mcp"))
    assert caught.value.code is ErrorCode.INVALID_TARGET


VALUES = st.one_of(
    st.text(max_size=50),
    st.sampled_from([*GOOD.values(), "http://[", "https://evil.example/callback", f"{CALLBACK}/..", "\x00"]),
)


@pytest.mark.requirement("mcp:redirect-trust", "oauth21:open-redirect")
@given(st.lists(st.tuples(st.sampled_from([*GOOD, "response_mode", "request"]), VALUES), max_size=12))
@example([("redirect_uri", CALLBACK), ("resource", "http://[/")])
def test_no_request_is_redirected_to_an_unregistered_uri(pairs: list[tuple[str, str]]) -> None:
    parameters = Parameters(pairs)
    error = refusal(lambda: validate(parameters, CLIENT, SERVICES, ()))
    sent = [value for name, value in pairs if name == "redirect_uri" and value]
    if isinstance(error, RedirectedError):
        assert error.redirect_uri == CALLBACK
    if sent not in ([], [CALLBACK]):
        assert isinstance(error, DisplayedError)


@given(st.dictionaries(st.sampled_from([*GOOD]), VALUES), st.lists(st.tuples(st.sampled_from([*GOOD]), VALUES)))
def test_an_accepted_request_is_within_the_limits(
    changes: dict[str, str | None], extra: list[tuple[str, str]]
) -> None:
    if refusal(lambda: ask(changes, *extra)):
        return
    asked = ask(changes, *extra)
    assert asked.redirect_uri == CALLBACK
    assert len(asked.code_challenge) == 43
    assert set(asked.scopes) <= {service.scope for service in SERVICES.services}
    assert set(asked.resources) <= {service.resource for service in SERVICES.services}
    assert asked.scopes
    assert asked.resources


# -- scope and audience ------------------------------------------------------------------------------------------


def test_without_a_resource_the_audience_is_every_service_of_the_scopes() -> None:
    asked = ask({"resource": None, "scope": "mcp.time mcp.notes"})
    assert asked.resources == (TIME.resource, NOTES.resource)


def test_without_a_scope_the_resources_give_it() -> None:
    asked = ask({"scope": None}, ("resource", NOTES.resource))
    assert asked.scopes == ("mcp.time", "mcp.notes")
    assert asked.resources == (TIME.resource, NOTES.resource)


def test_without_scope_and_resource_the_default_scopes_are_used() -> None:
    asked = ask({"scope": None, "resource": None}, default_scopes=("mcp.notes",))
    assert (asked.scopes, asked.resources) == (("mcp.notes",), (NOTES.resource,))


def test_without_scope_resource_and_defaults_every_service_is_included() -> None:
    assert ask({"scope": None, "resource": None}).scopes == ("mcp.time", "mcp.notes", "mcp.bare")


def test_scopes_of_services_that_were_not_requested_are_left_out() -> None:
    """Gemini and Qwen name one resource and request every scope."""
    assert ask({"scope": "mcp.bare mcp.time mcp.notes openid"}).scopes == ("mcp.time",)
    both = ask({"scope": "mcp.bare mcp.time mcp.notes"}, ("resource", NOTES.resource))
    assert both.scopes == ("mcp.time", "mcp.notes")


def test_without_a_known_scope_the_requested_resource_gives_it() -> None:
    assert ask({"scope": "openid email profile"}).scopes == ("mcp.time",)


def test_a_scope_does_not_widen_the_audience_beyond_the_resource() -> None:
    assert ask({"scope": "mcp.time mcp.notes"}).resources == (TIME.resource,)


def test_scopes_beyond_the_registered_ones_may_be_requested() -> None:
    assert ask(client=make_client(CALLBACK, scope="mcp.notes")).scopes == ("mcp.time",)


def test_unknown_scopes_beside_known_ones_are_left_out() -> None:
    assert ask({"scope": "unknown mcp.time offline_access openid"}).scopes == ("mcp.time",)


def test_offline_access_alone_counts_as_no_scope() -> None:
    assert ask({"scope": "offline_access"}).scopes == ("mcp.time",)


@pytest.mark.requirement("complaints:python-sdk-1919", "mcp:trailing-slash")
def test_a_resource_that_is_an_origin_may_have_a_trailing_slash() -> None:
    asked = ask({"resource": f"{BARE.resource}/", "scope": "mcp.bare"}, ("resource", BARE.resource))
    assert asked.resources == (BARE.resource,)
