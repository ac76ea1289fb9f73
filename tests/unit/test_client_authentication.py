"""Client authentication at the token endpoint."""

from __future__ import annotations

import base64
import dataclasses
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.clients.client_authentication import PresentedCredentials, authenticate, parse_credentials
from oauth_core.crypto.credentials import hash_secret
from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.parameters import Parameters
from tests.unit.examples import make_client
from tests.unit.refusals import refusal

if TYPE_CHECKING:
    from oauth_core.model import ClientAuthMethod

PUBLIC = make_client(client_id="public")
CONFIDENTIAL = make_client(client_id="confidential", secret_hash=hash_secret("the secret"))
PRINTABLE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)


def form(**values: str) -> Parameters:
    return Parameters(values.items())


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def test_the_id_may_be_in_the_form() -> None:
    assert parse_credentials(None, form(client_id="c", client_secret="s")) == PresentedCredentials(
        "c", "s", by_header=False
    )
    assert parse_credentials(None, form(client_id="c")) == PresentedCredentials("c", None, by_header=False)


def test_the_id_may_be_in_the_header() -> None:
    assert parse_credentials(basic("c:s"), form()) == PresentedCredentials("c", "s", by_header=True)


def test_the_id_may_be_in_both_if_they_agree() -> None:
    both = form(client_id="c", client_secret="s")
    assert parse_credentials(basic("c:s"), both) == PresentedCredentials("c", "s", by_header=True)
    assert parse_credentials(basic("c:s"), form(client_id="c")) == PresentedCredentials("c", "s", by_header=True)


@pytest.mark.parametrize("values", [{"client_id": "other"}, {"client_secret": "other"}, {"client_id": "C"}])
def test_header_and_form_must_not_contradict(values: dict[str, str]) -> None:
    with pytest.raises(DisplayedError) as caught:
        authenticate(CONFIDENTIAL, parse_credentials(basic("confidential:the secret"), form(**values)))
    assert caught.value.code is ErrorCode.INVALID_REQUEST


def test_missing_credentials_are_refused_without_a_challenge() -> None:
    with pytest.raises(DisplayedError) as caught:
        parse_credentials(None, form(client_secret="s"))
    assert (caught.value.code, caught.value.status) == (ErrorCode.INVALID_CLIENT, 401)
    assert caught.value.challenge is None


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        "Basic :",
        "Basic ????",
        "Basic YTp\u00e9",
        "Basic \u4e00",
        f"Basic {base64.b64encode(b'no colon').decode()}",
        f"Basic {base64.b64encode(b':secret').decode()}",
        f"Basic {base64.b64encode(bytes([0xFF, 0x3A, 0x62])).decode()}",
        f"Basic {base64.b64encode(b'a' * 5000 + b':s').decode()}",
        basic("nul\x00:s"),
        basic("nul%00:s"),
        basic("c:nul%00"),
        f"Bearer {base64.b64encode(b'c:s').decode()}",
        "Digest x",
        f"{basic('c:s')}, {basic('d:t')}",
    ],
)
def test_a_header_that_is_not_plain_basic_is_refused_with_a_challenge(header: str) -> None:
    for named in (form(), form(client_id="confidential")):
        with pytest.raises(DisplayedError) as caught:
            authenticate(CONFIDENTIAL, parse_credentials(header, named))
        assert (caught.value.code, caught.value.status) == (ErrorCode.INVALID_CLIENT, 401)
        assert str(caught.value.challenge).startswith("Basic ")
    assert authenticate(PUBLIC, parse_credentials(header, form(client_id="public"))) is PUBLIC


def test_the_name_of_the_scheme_is_accepted_in_any_case() -> None:
    assert parse_credentials(basic("c:s").replace("Basic", "bAsIc"), form()).client_id == "c"


@pytest.mark.requirement("oauth21:basic")
@given(PRINTABLE, st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30))
def test_credentials_encoded_as_in_the_rfc_are_decoded(client_id: str, secret: str) -> None:
    who = parse_credentials(basic(f"{quote_plus(client_id)}:{quote_plus(secret)}"), form())
    assert (who.client_id, who.secret) == (client_id, secret or None)


@given(st.text(), st.sampled_from(["Basic ", "basic ", ""]))
def test_any_header_is_parsed_or_refused(text: str, scheme: str) -> None:
    for header in (f"{scheme}{text}", scheme + base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()):
        error = refusal(partial(parse_credentials, header, form()))
        assert error is None or error.code is ErrorCode.INVALID_CLIENT


def test_the_repr_of_credentials_does_not_contain_the_secret() -> None:
    assert "hush" not in repr(parse_credentials(basic("c:hush"), form()))


# -- proof -------------------------------------------------------------------------------------------------------


def test_a_public_client_needs_no_secret() -> None:
    assert authenticate(PUBLIC, PresentedCredentials("public", None, by_header=False)) is PUBLIC


def test_a_confidential_client_authenticates_with_its_secret() -> None:
    for by_header in (True, False):
        assert (
            authenticate(CONFIDENTIAL, PresentedCredentials("confidential", "the secret", by_header))
            is CONFIDENTIAL
        )


@pytest.mark.parametrize("secret", [None, "", "wrong", "the secret ", "The secret", CONFIDENTIAL.secret_hash])
def test_a_confidential_client_without_its_secret_is_refused(secret: str | None) -> None:
    with pytest.raises(DisplayedError):
        authenticate(CONFIDENTIAL, PresentedCredentials("confidential", secret, by_header=False))


@pytest.mark.parametrize(
    ("header", "values"),
    [
        (None, {"client_id": "public", "client_secret": "made up"}),
        (basic("public:undefined"), {}),
        (basic("public:"), {"client_id": "public", "client_secret": "another"}),
        ("Bearer eyJ.of.yesterday", {"client_id": "public"}),
        (basic("undefined:undefined"), {"client_id": "public"}),
        (None, {"client_id": "public", "client_assertion": "dummy"}),
        (None, {"client_id": "public", "client_assertion_type": "undefined"}),
        (basic("public:undefined"), {"client_id": "public", "client_assertion": "a.b.c"}),
    ],
)
def test_superfluous_credentials_of_a_public_client_are_ignored(
    header: str | None, values: dict[str, str]
) -> None:
    assert authenticate(PUBLIC, parse_credentials(header, form(**values))) is PUBLIC


@pytest.mark.parametrize("values", [{"client_assertion": "dummy"}, {"client_assertion_type": "undefined"}])
def test_a_dummy_assertion_beside_a_valid_secret_is_refused(values: dict[str, str]) -> None:
    for header, secret in ((None, {"client_secret": "the secret"}), (basic("confidential:the secret"), {})):
        with pytest.raises(DisplayedError):
            authenticate(
                CONFIDENTIAL, parse_credentials(header, form(client_id="confidential", **secret, **values))
            )


def test_a_client_without_a_secret_that_has_keys_or_a_method_is_not_public() -> None:
    methods: tuple[ClientAuthMethod, ...] = ("private_key_jwt", "client_secret_basic", "client_secret_post")
    for method in methods:
        client = dataclasses.replace(PUBLIC, token_endpoint_auth_method=method)
        with pytest.raises(DisplayedError):
            authenticate(client, PresentedCredentials("public", None, by_header=False))


@pytest.mark.parametrize("by_header", [True, False])
def test_an_unknown_client_and_a_wrong_secret_get_the_same_answer(by_header: bool) -> None:
    who = PresentedCredentials("confidential", "wrong", by_header)
    unknown = refusal(lambda: authenticate(None, who))
    wrong = refusal(lambda: authenticate(CONFIDENTIAL, who))
    assert isinstance(unknown, DisplayedError)
    assert isinstance(wrong, DisplayedError)
    assert vars(unknown) == vars(wrong)
    assert (unknown.code, unknown.status) == (ErrorCode.INVALID_CLIENT, 401)
    assert (unknown.challenge is not None) is by_header
