"""Registration: many forms are accepted, and the answer is exact."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.clients.client_metadata import AUTH_METHODS
from oauth_core.clients.registration import client_information
from oauth_core.crypto.credentials import secret_matches
from oauth_core.errors import DisplayedError, ErrorCode
from tests.unit.examples import CALLBACK, ISSUER
from tests.unit.refusals import refusal
from tests.unit.registration_documents import MINIMAL, document, made, register, update

# -- accepted -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("rfc7591:defaults")
def test_redirect_uris_are_the_only_required_member() -> None:
    client = made().client
    assert client.redirect_uris == (CALLBACK,)
    assert client.grant_types == ("authorization_code", "refresh_token")
    assert client.response_types == ("code",)
    assert client.token_endpoint_auth_method == "client_secret_basic"
    assert client.issued_at == 100


@pytest.mark.requirement("rfc7591:defaults")
@pytest.mark.parametrize(
    ("uris", "method"),
    [
        (["http://127.0.0.1:5000/cb"], "none"),
        (["http://localhost/cb", "http://[::1]:9/cb", "cursor://callback"], "none"),
        (["https://localhost:8443/cb"], "none"),
        ([CALLBACK], "client_secret_basic"),
        # One of them leads to a web server, which can keep a secret.
        (["http://127.0.0.1:5000/cb", CALLBACK], "client_secret_basic"),
    ],
)
def test_without_an_auth_method_only_a_client_with_local_redirect_uris_is_public(
    uris: list[str], method: str
) -> None:
    registered = made(redirect_uris=uris)
    assert registered.client.token_endpoint_auth_method == method
    assert (registered.secret is None) == (method == "none")
    # An explicit method is always used.
    assert made(redirect_uris=uris, token_endpoint_auth_method="client_secret_basic").secret


def test_a_public_client_gets_no_secret_and_a_confidential_one_does() -> None:
    assert made(token_endpoint_auth_method="none").secret is None
    for method in ("client_secret_basic", "client_secret_post"):
        registered = made(token_endpoint_auth_method=method)
        assert registered.secret
        assert registered.client.secret_hash
        assert secret_matches(registered.secret, registered.client.secret_hash)


@pytest.mark.requirement("rfc7592:secret-hashed")
def test_secrets_are_stored_only_as_hashes_and_not_shown_by_repr() -> None:
    registered = made()
    assert registered.secret
    assert registered.registration_token
    assert secret_matches(registered.registration_token, registered.client.registration_token_hash)
    for secret in (registered.secret, registered.registration_token):
        assert secret not in repr(registered)
        assert secret not in repr(registered.client)


@pytest.mark.requirement("rfc7591:id-unique")
def test_two_registrations_have_different_ids_and_secrets() -> None:
    one, other = made(), made()
    assert one.client.client_id != other.client.client_id
    assert one.secret != other.secret
    assert one.registration_token != other.registration_token


@pytest.mark.requirement("rfc7591:ignore-unknown")
@pytest.mark.parametrize(
    "members",
    [
        {"scope": ""},
        {"scope": None},
        {"client_name": ""},
        {"application_type": "web"},
        {"application_type": "some-future-type"},
        {"grant_types": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"]},
        {"grant_types": []},
        {"grant_types": None},
        {"response_types": []},
        {"response_types": ["code", "token"]},
        {"client_id": "chosen-by-the-caller", "client_secret": "so-is-this", "issued_at": 5},
        {"secret_hash": "x", "registration_token_hash": "x"},
        {"unknown": {"nested": [1]}},
        {"jwks": {"keys": []}, "jwks_uri": "https://client.example/jwks"},
        {"token_endpoint_auth_method": None},
        {"token_endpoint_auth_method": ""},
        {"dpop_bound_access_tokens": None},
        {"scope": "mcp.time " * 1000},
        {"client_name": "\u2003"},
        {"client_name": "\u3164"},  # HANGUL FILLER
        {"client_name": "\u115f\u1160\u2800"},
        {"logo_uri": "data:image/png;base64," + "A" * 20_000},
        {"logo_uri": "ftp://client.example/logo.png"},
        {"logo_uri": 5},
        {"policy_uri": "https:///policy"},
        {"policy_uri": "javascript:alert(1)"},
        {"tos_uri": ["https://client.example/"]},
        {"tos_uri": "http://[::1"},
        {"contacts": "me@client.example"},
        {"contacts": [5, None, {"email": "me@client.example"}]},
        {"contacts": {}},
        {"software_id": {"a": 1}},
        {"software_version": 2},
        {"software_version": 1.5},
        {"software_version": True},
        {"software_version": "1\n2"},
        {"application_type": ["native"]},
    ],
)
def test_metadata_of_real_clients_is_accepted(members: dict[str, object]) -> None:
    client = made(**members).client
    assert client.redirect_uris == (CALLBACK,)
    assert "chosen" not in client.client_id
    assert client.registration_token_hash != "x"
    assert client.secret_hash != "x"


@pytest.mark.parametrize(
    "name", ["logo_uri", "policy_uri", "tos_uri", "contacts", "software_id", "software_version"]
)
def test_an_invalid_informational_member_is_left_out_of_the_answer(name: str) -> None:
    assert name not in client_information(made(**{name: [{"not": "fit"}]}), issuer=ISSUER)


@pytest.mark.parametrize(
    "name",
    [
        "\u0646\u0631\u0645\u200c\u0627\u0641\u0632\u0627\u0631",  # Persian, with a zero-width non-joiner
        "Qui\u00a0?",  # French, with a no-break space
        "Qui\u202f!",  # and with a narrow one
        "\u65e5\u672c\u3000\u8a9e",  # Japanese, with an ideographic space
        "\u05d0\u200f1",  # Hebrew, with a right-to-left mark
        "\u0915\u094d\u200d\u0937",  # Hindi, with a zero-width joiner
        "\U0001f469\u200d\U0001f4bb",  # an emoji of two joined ones
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # the flag of England
        "\U0001fae8 App",  # an emoji of Unicode 15
        "\U0001fac6",  # one of Unicode 16
        "\U0001faea",  # one of Unicode 17
        "Caf\u0065\u0301",  # with a combining accent
        "\u0600\u0661\u0662",  # Arabic, with the sign before a number
        "\u06dd\u0663",  # and with the sign of the end of a verse
    ],
)
def test_a_name_may_be_in_any_script(name: str) -> None:
    assert made(client_name=name).client.client_name == name


@given(st.text(max_size=20))
def test_a_name_is_stored_unchanged_or_cleaned_or_refused(name: str) -> None:
    error = refusal(lambda: made(client_name=name))
    if error is None:
        kept = made(client_name=name).client.client_name
        assert kept in {name, re.sub("[\u00ad\u180e\u200b\u2060\ufeff]", "", name).strip(), None}
        assert not {"\n", "\r", "\x00", "\x1b", "\u2028", "\u2029", "\u202e", "\u2066", "\u200b"} & set(kept or "")


@pytest.mark.parametrize("hidden", ["\u200d", "\u3000", "\u200c\u00a0", "\U000e0067"])
def test_a_name_without_visible_characters_is_dropped(hidden: str) -> None:
    assert made(client_name=hidden).client.client_name is None
    assert made(client_name=" My app\n").client.client_name == "My app"


def test_unknown_scopes_are_left_out_and_the_number_of_known_ones_is_not_limited() -> None:
    known = [f"mcp.service-{number}" for number in range(500)]
    sent = " ".join(["openid", *known, "email", "offline_access"])
    registered = register(document(scope=sent), now=1, known_scopes=frozenset(known))
    assert registered.client.scope == " ".join([*known, "offline_access"])
    again = {**MINIMAL, "client_id": registered.client.client_id, "scope": "openid mcp.service-1"}
    assert update(registered.client, again, known_scopes=frozenset(known)).client.scope == "mcp.service-1"
    assert register(document(scope="openid email"), now=1, known_scopes=frozenset(known)).client.scope is None


def test_a_record_of_more_than_4_kb_is_refused_and_informational_members_are_dropped_first() -> None:
    long = dict.fromkeys(("software_id", "software_version", "application_type"), "x" * 500)
    more = {"contacts": ["y" * 500] * 10, "logo_uri": f"https://client.example/{'z' * 400}"}
    registered = made(client_name="An app", **long, **more)
    assert registered.client.client_name == "An app"
    assert "contacts" not in client_information(registered, issuer=ISSUER)
    uris = [f"https://client.example/{number}/{'x' * 1400}" for number in range(3)]
    made(redirect_uris=uris[:2])
    for sent in ({"redirect_uris": uris}, {"redirect_uris": uris[:2], "client_name": "\u65e5" * 512}):
        with pytest.raises(DisplayedError, match="too long") as caught:
            made(**sent)
        assert caught.value.code is ErrorCode.INVALID_CLIENT_METADATA
        with pytest.raises(DisplayedError, match="too long"):
            update(registered.client, {**MINIMAL, **sent, "client_id": registered.client.client_id})


def test_repeated_redirect_uris_are_stored_once() -> None:
    assert made(redirect_uris=[CALLBACK, CALLBACK, "com.example.app:/cb"]).client.redirect_uris == (
        CALLBACK,
        "com.example.app:/cb",
    )


# -- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("rfc7591:redirect-register")
@pytest.mark.parametrize(
    "uris", [None, [], "https://client.example/cb", {}, 1, [1], [None], [[CALLBACK]], ["http://evil.example/"]]
)
def test_unusable_redirect_uris_are_refused_with_their_own_error(uris: object) -> None:
    with pytest.raises(DisplayedError) as caught:
        made(redirect_uris=uris)
    assert caught.value.code is ErrorCode.INVALID_REDIRECT_URI


def test_the_error_names_the_invalid_redirect_uri() -> None:
    with pytest.raises(DisplayedError, match="javascript:alert"):
        made(redirect_uris=[CALLBACK, "javascript:alert(1)"])


def test_more_than_twenty_redirect_uris_are_refused() -> None:
    uris = [f"https://client.example/{number}" for number in range(21)]
    made(redirect_uris=uris[:20])
    with pytest.raises(DisplayedError, match="more than 20"):
        made(redirect_uris=uris)


@pytest.mark.requirement("rfc7591:grant-response")
@pytest.mark.parametrize(
    "members",
    [
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "http://client.example/jwks"},
        {"token_endpoint_auth_method": ["none"]},
        {"token_endpoint_auth_method": {}},
        {"token_endpoint_auth_method": "NONE"},
        {"grant_types": ["client_credentials"]},
        {"grant_types": ["refresh_token"]},
        {"response_types": ["token"]},
        {"dpop_bound_access_tokens": "true"},
        {"tls_client_certificate_bound_access_tokens": 1},
    ],
)
def test_unusable_metadata_is_refused_with_its_own_error(members: dict[str, object]) -> None:
    with pytest.raises(DisplayedError) as caught:
        made(**members)
    assert caught.value.code is ErrorCode.INVALID_CLIENT_METADATA
    assert caught.value.status == 400


@pytest.mark.requirement("rfc7591:ignore-unknown")
@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("client_name", 5),
        ("client_name", ["An app"]),
        ("client_name", "a" * 513),
        ("client_name", "two\nlines"),
        ("client_name", "right\u202eleft"),
        ("client_name", "isolated\u2066"),
        ("client_name", "half \ud800"),
        ("client_name", "\x00"),
        ("client_uri", "javascript:alert(1)"),
        ("client_uri", "JavaScript://client.example/%0aalert(1)"),
        ("client_uri", "data:text/html,x"),
        ("client_uri", "//client.example"),
        ("client_uri", "https://"),
        ("client_uri", "http://[::1"),
        ("client_uri", "https://[x]/"),
        ("client_uri", "https://client.example:port/"),
        ("client_uri", {"en": "https://client.example"}),
        ("scope", 5),
        ("scope", 'a"b'),
        ("scope", {"mcp.time": True}),
    ],
)
def test_an_invalid_optional_member_is_missing_from_the_answer(member: str, value: object) -> None:
    registered = made(**{member: value, "software_id": "kept"})
    answer = client_information(registered, issuer=ISSUER)
    assert member not in answer
    assert answer["software_id"] == "kept"


@pytest.mark.parametrize(
    ("members", "kept"),
    [
        ({"scope": ["a", "b", 5, 'c"', "a"]}, {"scope": "a b"}),
        ({"scope": 'a b" c\x00 d'}, {"scope": "a d"}),
        ({"grant_types": "authorization_code"}, {"grant_types": ["authorization_code", "refresh_token"]}),
        ({"grant_types": [1, "authorization_code"]}, {"grant_types": ["authorization_code", "refresh_token"]}),
        ({"grant_types": {"refresh_token": 1}}, {"grant_types": ["authorization_code", "refresh_token"]}),
        ({"response_types": "code"}, {"response_types": ["code"]}),
        ({"response_types": {"code": 1}}, {"response_types": ["code"]}),
        ({"response_types": [None, 5]}, {"response_types": ["code"]}),
    ],
)
def test_of_a_member_with_several_values_the_valid_ones_are_kept(
    members: dict[str, object], kept: dict[str, object]
) -> None:
    answer = client_information(made(**members), issuer=ISSUER)
    assert {name: answer[name] for name in kept} == kept


@pytest.mark.parametrize("hidden", ["\u200b", "\u00ad", "\u2060", "\ufeff", "\u180e"])
def test_invisible_characters_are_removed_from_a_name(hidden: str) -> None:
    assert made(client_name=f"{hidden}My{hidden} app{hidden}").client.client_name == "My app"
    assert made(client_name=hidden).client.client_name is None


@pytest.mark.parametrize("body", [None, [], "x", 5, True, [MINIMAL]])
def test_a_body_that_is_no_object_is_refused(body: object) -> None:
    with pytest.raises(DisplayedError, match="JSON object"):
        register(body, now=1)


TEXTS = ("client_name", "client_uri", "logo_uri", "scope", "software_id", "application_type", "client_id", "jwks")
LISTS = ("redirect_uris", "grant_types", "response_types", "contacts")
MEMBER = st.sampled_from((*TEXTS, *LISTS, "token_endpoint_auth_method", "client_secret"))
LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(),
    st.sampled_from([CALLBACK, "none", "client_secret_post", "code", "authorization_code", "http://localhost/"]),
)
DOCUMENT = st.dictionaries(
    MEMBER, st.one_of(LEAF, st.lists(LEAF, max_size=3), st.dictionaries(st.text(max_size=3), LEAF, max_size=2))
)


@given(DOCUMENT)
def test_any_document_is_registered_or_refused_with_its_own_error(members: dict[str, Any]) -> None:
    error = refusal(lambda: register({**MINIMAL, **members}, now=1))
    if error is not None:
        assert error.code in {ErrorCode.INVALID_CLIENT_METADATA, ErrorCode.INVALID_REDIRECT_URI}
        return
    registered = register({**MINIMAL, **members}, now=1)
    answer = client_information(registered, issuer=ISSUER)
    assert None not in answer.values()
    json.dumps(answer, ensure_ascii=False).encode()
    assert registered.client.token_endpoint_auth_method in AUTH_METHODS


@given(DOCUMENT)
def test_a_client_can_send_its_answer_back_as_an_update(members: dict[str, Any]) -> None:
    if refusal(lambda: register({**MINIMAL, **members}, now=1)):
        return
    registered = register({**MINIMAL, **members}, now=1)
    told = client_information(registered, issuer=ISSUER)
    ours = ("registration_access_token", "registration_client_uri", "client_secret_expires_at")
    sent = {name: value for name, value in told.items() if name not in (*ours, "client_id_issued_at")}
    assert update(registered.client, sent).client == registered.client


# -- the answer ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("complaints:hydra-4116", "rfc7591:all-metadata")
def test_the_answer_has_all_registered_members_and_no_unset_one() -> None:
    registered = made(client_name="An app", token_endpoint_auth_method="none", contacts=["me@client.example"])
    assert client_information(registered, issuer=ISSUER) == {
        "client_id": registered.client.client_id,
        "client_id_issued_at": 100,
        "registration_client_uri": f"{ISSUER}/register/{registered.client.client_id}",
        "registration_access_token": registered.registration_token,
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "client_name": "An app",
        "contacts": ["me@client.example"],
    }


@pytest.mark.requirement("rfc7591:secret-expiry")
def test_a_secret_has_an_expiry_of_never() -> None:
    registered = made()
    answer = client_information(registered, issuer=ISSUER)
    assert answer["client_secret"] == registered.secret
    assert answer["client_secret_expires_at"] == 0


@pytest.mark.requirement("rfc7592:secret-hashed")
def test_no_hash_is_in_an_answer() -> None:
    registered = made()
    answer = json.dumps(client_information(registered, issuer=ISSUER))
    assert registered.client.registration_token_hash not in answer
    assert str(registered.client.secret_hash) not in answer
