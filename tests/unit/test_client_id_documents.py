"""Which URLs are accepted as client ids, and which documents are accepted."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.clients import client_id_documents
from oauth_core.clients.client_id_documents import (
    METHODS,
    check_hosts,
    check_url,
    host_of,
    is_accepted,
    is_url,
)
from oauth_core.crypto.credentials import new_identifier
from oauth_core.net.special_addresses import is_loopback, is_public
from oauth_web.grants.catalog import GRANT_TYPES
from tests.support.assertions import jwks, key

if TYPE_CHECKING:
    from oauth_core.model import Client

parse = partial(client_id_documents.parse, grant_types=GRANT_TYPES)

URL = "https://app.example/client.json"
GOOD = {"client_id": URL, "client_name": "An app", "redirect_uris": ["https://app.example/callback"]}


def parsed(**members: object) -> Client:
    document = {name: value for name, value in {**GOOD, **members}.items() if value is not None}
    return parse(json.dumps(document).encode(), URL)


# -- the URL -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("cimd:url")
@pytest.mark.parametrize(
    "url", [URL, "https://a.example:8443/x", "https://a.example/x/", "https://a.example/x?v=1", "https://[2001:db8::1]/x"]
)  # fmt: skip
def test_an_https_url_with_a_path_is_a_client_id(url: str) -> None:
    assert check_url(url, loopback=False) == url


@pytest.mark.requirement("cimd:url")
@pytest.mark.parametrize(
    "url",
    [
        "https://a.example", "https://a.example/", "http://a.example/x", "ftp://a.example/x", "HTTPS://a.example/x",
        "https://A.example/x", "https://a.example/x#", "https://a.example/x#y", "https://u@a.example/x",
        "https://u:p@a.example/x", "https://a.example/./x", "https://a.example/x/..", "https://a.example/%2E%2e/x",
        "https://a.example/x%2fy", "https://a.example/x%5cy", "https://a.example/x%00", "https://a.example//x",
        "https://a.example/x\\y", "https://a.example/x y", "https://a.example/x\n", "https://a.example/\u00e9",
        "https:///x", "https://a.example:0/x", "https://a.example:65536/x", "https://[::1/x", "https://a.example/%zz",
        "https://a.example/" + "x" * 2048, "http://localhost/x", "//a.example/x", "", "https://-a.example/x",
        "https://a.example/x?", "https://a.example./x", "https://127.0.0.1./x", "https://localhost./x", "https://.a/x",
        "https://a.example:/x", "https://a.example:0443/x", "https://a.example:443:8443/x", "https://a.example:+1/x",
        "https://u@b@a.example/x", "https://@a.example/x", "https://:@a.example/x", "https://[fe80::1%25eth0]/x",
        "https://a.example%2eb/x", "https://a.example\t/x", "https://127.0.0.1%00.a.example/x", "https://a.example;b/x",
    ],
)  # fmt: skip
def test_any_other_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="client_id"):
        check_url(url, loopback=False)


def test_http_on_loopback_is_accepted_where_that_is_allowed() -> None:
    assert check_url("http://localhost:8000/x", loopback=True)
    assert check_url("http://127.0.0.1:8000/x", loopback=True)
    for url in ("http://a.example/x", "http://10.0.0.1/x", "http://localhost.evil.example/x"):
        with pytest.raises(ValueError, match="https"):
            check_url(url, loopback=True)


@given(st.text() | st.text(alphabet="htps:/.a%2eE@#?\\[]:0 ").map("https://a".__add__))
def test_an_accepted_url_has_one_reading(text: str) -> None:
    try:
        check_url(text, loopback=False)
    except ValueError:
        return
    parts = urlsplit(text)
    assert is_url(text)
    assert parts.geturl() == text
    assert parts.scheme == "https"
    assert parts.username is None
    assert not parts.fragment
    assert len(parts.path) > 1
    assert not {".", "..", ""} & set(parts.path.split("/")[1:-1])
    assert host_of(text) == parts.netloc


@pytest.mark.requirement("cimd:no-https-ids")
def test_registered_client_ids_have_no_host() -> None:
    for _ in range(20):
        made = new_identifier()
        assert not is_url(made)
        assert host_of(made) is None


# -- the document ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("cimd:no-shared-secret")
def test_a_document_makes_a_client_without_secrets() -> None:
    client = parsed()
    assert (client.client_id, client.client_name) == (URL, "An app")
    assert client.token_endpoint_auth_method == "none"
    assert client.secret_hash is None
    assert client.registration_token_hash == ""


def test_a_client_with_keys_has_them_by_value_or_by_address() -> None:
    by_value = parsed(token_endpoint_auth_method="private_key_jwt", jwks=jwks(key()))
    assert json.loads(str(by_value.jwks)) == jwks(key())
    by_address = parsed(token_endpoint_auth_method="private_key_jwt", jwks_uri="https://app.example/keys")
    assert by_address.jwks_uri == "https://app.example/keys"


@pytest.mark.requirement("cimd:match", "cimd:no-shared-secret", "mcp:cimd-match", "mcp:cimd-structure")
@pytest.mark.parametrize(
    "members",
    [
        {"client_id": "https://app.example/Client.json"},
        {"client_id": URL + "/"},
        {"client_id": [URL]},
        {"client_id": None},
        {"client_name": None},
        {"client_name": " "},
        {"client_name": 5},
        {"redirect_uris": None},
        {"redirect_uris": ["http://evil.example/"]},
        {"client_secret": ""},
        {"client_secret_expires_at": 0},
        {"token_endpoint_auth_method": "client_secret_post"},
        {"token_endpoint_auth_method": "client_secret_jwt"},
        {"token_endpoint_auth_method": 5},
        {"token_endpoint_auth_method": [5, None]},
        {"token_endpoint_auth_method": ["client_secret_post", "tls_client_auth"]},
        {"token_endpoint_auth_method": "", "token_endpoint_auth_methods_supported": ["client_secret_basic"]},
        {"grant_types": ["client_credentials"]},
        {"grant_types": ["implicit", "password"]},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks": jwks(key()), "jwks_uri": "https://a.example/k"},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://u:p@a.example/k"},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": ["https://a.example/k"]},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [{**key().public_jwk(), "d": "x"}]}},
    ],
)
def test_a_document_that_breaks_a_rule_is_refused(members: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".{10}"):
        parsed(**members)


def test_the_valid_entries_of_a_document_are_used() -> None:
    good, weak = key(), {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "weak"}
    client = parsed(
        redirect_uris=[
            "javascript:alert(1)",
            *GOOD["redirect_uris"],
            5,
            "http://evil.example/",
            "data:text/html,x",
        ],
        token_endpoint_auth_method="private_key_jwt",
        jwks={"keys": [weak, {**good.public_jwk(), "kid": 5}, *jwks(good)["keys"], {"kty": "EC", "crv": "P-256"}]},
        client_uri="javascript:alert(1)",
        scope={"not": "fit"},
        contacts="me@app.example",
    )
    assert client.redirect_uris == tuple(GOOD["redirect_uris"])
    assert json.loads(str(client.jwks)) == jwks(good)
    assert client.client_uri is None
    assert parsed(redirect_uris=GOOD["redirect_uris"][0]).redirect_uris == tuple(GOOD["redirect_uris"])
    many = [f"https://app.example/{number}" for number in range(30)]
    assert parsed(redirect_uris=many).redirect_uris == tuple(many[:20])


def test_a_document_without_a_valid_entry_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="only loopback addresses may"):
        parsed(redirect_uris=["http://evil.example/", "javascript:alert(1)"])
    weak = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}
    with pytest.raises(ValueError, match="RSA key must have 2048"):
        parsed(token_endpoint_auth_method="private_key_jwt", jwks={"keys": [weak]})
    with pytest.raises(ValueError, match="same kid"):
        parsed(token_endpoint_auth_method="private_key_jwt", jwks={"keys": [jwks(key())["keys"][0]] * 2})


def test_a_key_set_with_a_private_key_is_refused_regardless_of_the_rest() -> None:
    leaked = {**key().public_jwk(), "d": "x"}
    with pytest.raises(ValueError, match="secret key"):
        parsed(token_endpoint_auth_method="private_key_jwt", jwks={"keys": [*jwks(key())["keys"], leaked]})


ASSERTED = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LISTED = "token_endpoint_auth_methods_supported"


@pytest.mark.parametrize(
    ("members", "method"),
    [
        ({LISTED: ["none", "tls_client_auth"]}, "none"),
        ({LISTED: ["client_secret_basic", "private_key_jwt"], "jwks": jwks(key())}, "private_key_jwt"),
        ({LISTED: ["private_key_jwt", "none"], "jwks": jwks(key())}, "none"),
        (
            {"token_endpoint_auth_method": "private_key_jwt", LISTED: ["none"], "jwks": jwks(key())},
            "private_key_jwt",
        ),
        ({"token_endpoint_auth_method": "private_key_jwt", LISTED: ["none"]}, "none"),
        ({"token_endpoint_auth_method": "client_secret_post", LISTED: ["none", "client_secret_post"]}, "none"),
        ({"token_endpoint_auth_method": ["client_secret_basic", "none"]}, "none"),
        ({"token_endpoint_auth_method": ["none"]}, "none"),
        ({"token_endpoint_auth_method": ["none", 5]}, "none"),
        ({LISTED: ["none", None, {}]}, "none"),
        ({"token_endpoint_auth_method": ""}, "none"),
        ({"token_endpoint_auth_method": None, LISTED: []}, "none"),
    ],
)
def test_of_several_auth_methods_the_supported_one_is_used(members: dict[str, object], method: str) -> None:
    assert parsed(**members).token_endpoint_auth_method == method


@pytest.mark.parametrize("others", [[], ["implicit"], ["client_credentials", "urn:x:unknown"]])
def test_a_client_that_only_presents_identity_assertions_is_accepted_without_grant_types(
    others: list[str],
) -> None:
    client = parsed(
        token_endpoint_auth_method="private_key_jwt",
        jwks=jwks(key()),
        grant_types=[ASSERTED, *others],
        redirect_uris=None,
    )
    assert (client.grant_types, client.redirect_uris, client.response_types) == ((), (), ())


def test_unsupported_grant_types_of_a_document_are_left_out() -> None:
    client = parsed(grant_types=["authorization_code", "implicit", ASSERTED, "client_credentials"])
    assert client.grant_types == ("authorization_code", "refresh_token")
    assert not client.machine_scopes
    assert ASSERTED not in client.grant_types


@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        ("https://app.example/c.json", True),
        ("https://app.example:8443/c.json", False),
        ("https://port.example:8443/c.json", True),
        ("https://port.example/c.json", False),
        ("https://a.wide.example/c.json", True),
        ("https://a.b.wide.example/c.json", True),
        ("https://wide.example/c.json", False),
        ("https://evilwide.example/c.json", False),
        ("https://app.example.evil.example/c.json", False),
        ("https://sub.app.example/c.json", False),
        ("https://evil.example/app.example", False),
    ],
)
def test_only_documents_of_hosts_on_the_list_are_accepted(url: str, accepted: bool) -> None:
    hosts = check_hosts(["app.example", "port.example:8443", "*.wide.example"])
    assert is_accepted(url, hosts) is accepted
    assert is_accepted(url, ())


@pytest.mark.parametrize(
    "host", ["https://a.example", "a.example/", "A.example", "*", "*.", "a.*.example", "a b", ""]
)
def test_a_list_of_hosts_accepts_only_host_names(host: str) -> None:
    with pytest.raises(ValueError, match="host names"):
        check_hosts([host])


def test_a_duplicate_member_is_refused() -> None:
    body = json.dumps(GOOD)[:-1] + f', "client_id": "{URL}"}}'
    with pytest.raises(ValueError, match="two members"):
        parse(body.encode(), URL)


LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([URL, *METHODS])
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
MEMBERS = st.dictionaries(
    st.sampled_from(
        ["client_id", "client_name", "redirect_uris", "token_endpoint_auth_method", LISTED, "jwks", "jwks_uri",
         "scope", "client_secret", "grant_types", "logo_uri", "contacts"]
    ),
    VALUE,
)  # fmt: skip


@given(MEMBERS)
def test_any_document_makes_a_safe_client_or_is_refused(members: dict[str, Any]) -> None:
    try:
        client = parse(json.dumps({**GOOD, **members}).encode(), URL)
    except ValueError:
        return
    assert client.client_id == URL
    assert client.token_endpoint_auth_method in METHODS
    assert (client.token_endpoint_auth_method == "none") == (client.jwks is None and client.jwks_uri is None)
    assert client.redirect_uris or "authorization_code" not in client.grant_types
    assert not client.machine_scopes
    assert ASSERTED not in client.grant_types


@pytest.mark.requirement("mcp:cimd-structure")
@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_make_a_client_or_are_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(body, URL)


# -- addresses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::1"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.requirement("cimd:ssrf")
@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.1",
        "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fd00::1", "fe80::1",
        "fe80::1%eth0", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::", "2002:808:808::1", "2001::1", "2001:db8::1", "100::1",
        "localhost", "", "127.1", "2130706433",
        # Assigned or not, they have a meaning in this network: embedded IPv4, a protocol, a cloud, an
        # interface.
        "2606:4700::5efe:7f00:1", "2606:4700::200:5efe:808:808", "2001:0:5ef5:79fb::", "2001:20::1", "2001:1::1",
        "3fff::1", "192.0.0.9", "192.0.0.192", "192.88.99.1", "168.63.129.16", "2606:4700::1111%eth0",
        # Not in the format of an address.
        "8.8.8.8.", "010.0.0.1", "8.8.8", "0x8.8.8.8", "::ffff:7f00:1", "[2606:4700::1111]", " 8.8.8.8",
    ],
)  # fmt: skip
def test_every_other_address_is_not_public(address: str) -> None:
    assert not is_public(address)


def test_only_plain_loopback_addresses_count_as_loopback() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert not any(map(is_loopback, ("::ffff:127.0.0.1", "::127.0.0.1", "10.0.0.1", "localhost", "")))
