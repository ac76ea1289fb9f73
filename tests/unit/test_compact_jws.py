"""Our reader of compact JWS against PyJWT: it accepts no token that PyJWT refuses, and reads the same content."""

from __future__ import annotations

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oauth_core.jose import compact_jws
from oauth_core.jose.signing_keys import Algorithm, SigningKey, VerifyingKeys, public_jwks
from tests.support.property_tests import examples
from tests.unit.forged_tokens import BODY, HEADER, KEY, KEYS, PAYLOAD, SIGNATURE, TOKEN, segment

_UNCHECKED = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def theirs(token: str) -> object:
    """The payload that PyJWT reads, or its error."""
    key = KEYS.get(KEY.kid)
    assert key is not None
    try:
        return jwt.decode(token, key, algorithms=["ES256"], options=_UNCHECKED)  # type: ignore[arg-type] # a dict
    except jwt.InvalidSignatureError:
        return "bad signature"
    except jwt.PyJWTError:
        return None


def ours(token: str) -> object:
    key = KEYS.get(KEY.kid)
    assert key is not None
    header = compact_jws.header_of(token)
    if header is None or header.algorithm != "ES256":
        return None
    try:
        return compact_jws.payload_of(token, key)
    except compact_jws.BadSignatureError:
        return "bad signature"


@examples(500)
@given(st.integers(0, len(TOKEN) - 1), st.sampled_from(ALPHABET + ".="))
def test_a_token_with_a_changed_character_is_accepted_by_both_or_by_none(position: int, character: str) -> None:
    token = TOKEN[:position] + character + TOKEN[position + 1 :]
    if isinstance(ours(token), dict):
        assert ours(token) == theirs(token) == PAYLOAD
    else:
        assert not isinstance(theirs(token), dict) or "=" in token, "PyJWT accepts padding"


@examples(300)
@given(
    st.one_of(st.just(b"{}"), st.binary(max_size=40), st.text(max_size=40).map(str.encode)),
    st.one_of(st.just(BODY), st.binary(max_size=40).map(segment)),
    st.one_of(st.just(SIGNATURE), st.binary(max_size=80).map(segment)),
)
@example(b'{"alg":"ES256","b64":false}', "e30", SIGNATURE)
@example(b'{"alg":"ES256","crit":["b64"],"b64":false}', "e30", SIGNATURE)
@example(b'{"alg":"ES256"}', "e31", SIGNATURE)
@example(b'\xef\xbb\xbf{"alg":"ES256"}', BODY, SIGNATURE)
@example('{"alg":"ES256"}'.encode("utf-16"), BODY, SIGNATURE)
@example(b"[" * 2000, BODY, SIGNATURE)
def test_parts_in_random_combinations_are_accepted_by_neither(header: bytes, body: str, signature: str) -> None:
    token = f"{segment(header)}.{body}.{signature}"
    assert not isinstance(ours(token), dict)
    if ours(token) == "bad signature":
        assert theirs(token) == "bad signature"


@pytest.mark.parametrize("payload", [b"[]", b"7", b"null", b'"text"', b"{", b"\xff", b'{"a":' + b"[" * 5000])
def test_a_valid_signature_of_something_other_than_an_object_is_refused(payload: bytes) -> None:
    token = jwt.api_jws.encode(payload, KEY.private_key, "ES256")
    assert ours(token) is None
    assert theirs(token) is None


def test_both_read_the_same_content() -> None:
    assert ours(TOKEN) == theirs(TOKEN) == PAYLOAD
    assert compact_jws.header_of(TOKEN) == compact_jws.Header("at+jwt", "ES256", KEY.kid)
    assert compact_jws.header_of(f"{HEADER}.{BODY}") is None


@pytest.mark.parametrize("more", [{"crit": ["exp"]}, {"crit": []}, {"b64": True}, {"b64": False}])
def test_extensions_are_refused(more: dict[str, object]) -> None:
    header = segment({"alg": "ES256", "typ": "at+jwt", "kid": KEY.kid, **more})
    assert compact_jws.header_of(f"{header}.{BODY}.{SIGNATURE}") is None


def test_every_algorithm_is_verified(signing_keys: dict[Algorithm, SigningKey]) -> None:
    keys = VerifyingKeys.from_jwks(public_jwks(signing_keys.values()))
    for algorithm, signing in signing_keys.items():
        token = jwt.encode(PAYLOAD, signing.private_key, algorithm)
        key = keys.get(signing.kid)
        assert key is not None
        assert compact_jws.payload_of(token, key) == PAYLOAD
        with pytest.raises(compact_jws.BadSignatureError):
            compact_jws.payload_of(token[:-90] + ("A" if token[-90] != "A" else "B") + token[-89:], key)
