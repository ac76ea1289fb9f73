"""DPoP proofs: one request, one key, one moment (RFC 9449 section 4.3)."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.jose import dpop
from oauth_core.jose.dpop import Proof, ProofFault
from tests.support.assertions import hashed, key, proof, public, thumbprint

URL = "https://mcp.example.com/time"
NOW = 1_800_000_000
MINE = key(name="dpop")
TOKEN = "an.access.token"


def made(method: str = "POST", url: str = URL, **more: Any) -> str:
    return proof(method, url, **{"iat": NOW, **more})


def verdict(text: str, *, token: str | None = None) -> Proof | ProofFault:
    return dpop.check(text, method="POST", url=URL, now=NOW, access_token=token)


@pytest.mark.requirement("rfc9449:check", "rfc9449:algorithms")
@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256", "EdDSA", "Ed25519"])
def test_a_valid_proof_gives_the_thumbprint_of_its_key(algorithm: Any) -> None:
    signer = key(algorithm, "dpop")
    found = verdict(made(by=signer, jti="one"))
    assert found == Proof(thumbprint(signer), "one", NOW + dpop.LIFE + 31)


def test_the_thumbprint_equals_the_example_of_the_rfc() -> None:
    """RFC 9449 section 4.1 has the key, section 6.1 its thumbprint."""
    jwk = {
        "kty": "EC", "crv": "P-256", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    }  # fmt: skip
    # The `kid` that its owner chose does not matter.
    for more in ({}, {"kid": "x", "use": "sig", "alg": "ES256"}):
        found = dpop._key(dpop._text_of({**jwk, **more}))
        assert found is not None
        assert found[1] == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


@pytest.mark.requirement("rfc9449:place")
@pytest.mark.parametrize(
    "url", [URL, f"{URL}?a=b", f"{URL}#x", "HTTPS://mcp.example.com/time", "https://MCP.example.com:443/time"]
)
def test_equivalent_spellings_of_a_url_are_accepted(url: str) -> None:
    assert isinstance(verdict(made(url=url)), Proof)


WRONG_TIMES: tuple[object, ...] = (None, "now", True, [NOW], NOW + 31, NOW - 91, 10**400, -(10**400), 0)
WRONG_KEYS: tuple[object, ...] = (
    *(
        None,
        {},
        [],
        "x",
        {"kty": "oct", "k": "AAAA"},
        {**public(MINE), "d": "AAAA"},
        {**public(MINE), "x": "AAAA"},
    ),
    *(public(key("RS256", "dpop")), {**public(MINE), "crv": "P-521"}),
)


@pytest.mark.requirement("rfc9449:check", "rfc9449:place")
@pytest.mark.parametrize(
    ("given_", "fault"),
    [
        *(({"method": wrong}, ProofFault.WRONG_METHOD) for wrong in ("GET", "post", "")),
        ({"htm": None}, ProofFault.WRONG_METHOD),
        *(
            ({"url": wrong}, ProofFault.WRONG_PLACE)
            for wrong in (
                "https://mcp.example.com/time/", "https://mcp.example.com/notes", "http://mcp.example.com/time",
                "https://mcp.example.com:8443/time", "https://evil.example/time", "https://u@mcp.example.com/time",
                "/time", "", "https://[", "https://mcp.example.com:x/time", "https://mcp.example.com/Time",
            )
        ),
        ({"htu": None}, ProofFault.WRONG_PLACE),
        ({"htu": [URL]}, ProofFault.WRONG_PLACE),
        *(({"jti": wrong}, ProofFault.NO_ID) for wrong in (None, "", "x" * 257, 5)),
        *(({"iat": wrong}, ProofFault.BAD_TIMES) for wrong in WRONG_TIMES),
        *(
            ({"headers": {"typ": wrong}}, ProofFault.WRONG_TYPE)
            for wrong in (None, "JWT", "at+jwt", "client-authentication+jwt", "oauth-id-jag+jwt")
        ),
        *(({"headers": {"jwk": wrong}}, ProofFault.UNKNOWN_KEY) for wrong in WRONG_KEYS),
        ({"headers": {"jwk": public(key(name="other"))}}, ProofFault.BAD_SIGNATURE),
        ({"headers": {"crit": ["b64"], "b64": True}}, ProofFault.MALFORMED),
    ],
)  # fmt: skip
@pytest.mark.requirement("sep-1932:window")
def test_a_proof_with_one_fault_is_refused(given_: dict[str, Any], fault: ProofFault) -> None:
    assert verdict(made(**given_)) is fault


@pytest.mark.requirement("rfc9449:check")
@pytest.mark.requirement("sep-1932:algorithms")
def test_symmetric_and_unsigned_proofs_are_refused() -> None:
    header = {"typ": "dpop+jwt", "jwk": {"kty": "oct", "k": "AAAA"}}
    claims = {"htm": "POST", "htu": URL, "iat": NOW, "jti": "x"}
    for algorithm, secret in (("HS256", "s" * 32), ("none", None)):
        text = jwt.encode(claims, secret, algorithm=algorithm, headers=header)  # type: ignore[arg-type]
        assert verdict(text) in {ProofFault.WRONG_ALGORITHM, ProofFault.MALFORMED}


@pytest.mark.requirement("rfc9449:ath")
def test_at_a_service_a_proof_is_for_one_access_token() -> None:
    assert isinstance(verdict(made(token=TOKEN), token=TOKEN), Proof)
    for wrong in (None, hashed("another"), TOKEN, 5, ""):
        assert verdict(made(ath=wrong), token=TOKEN) is ProofFault.WRONG_TOKEN


@given(st.text() | st.text("abc.-_=", max_size=30))
def test_any_text_is_refused_with_a_fault(text: str) -> None:
    assert isinstance(verdict(text), ProofFault)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda e: st.lists(e, max_size=2)
)


@given(st.dictionaries(st.sampled_from(["htm", "htu", "iat", "jti", "ath", "nonce"]), JSON))
def test_any_signed_claims_are_refused_with_a_fault(claims: dict[str, Any]) -> None:
    text = jwt.PyJWS().encode(
        json.dumps(claims).encode(), MINE.private_key, MINE.algorithm,
        headers={"typ": "dpop+jwt", "jwk": public(MINE)},
    )  # fmt: skip
    assert isinstance(verdict(text, token=TOKEN), ProofFault)
