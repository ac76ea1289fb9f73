"""The certificate that a caller presented, and the one that a token is bound to: exactly one, or none."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import quote

import pytest

from oauth_core.jose import certificate_thumbprints
from oauth_core.jose.signing_keys import VerifyingKeys, public_jwks
from oauth_core.tokens import access_tokens
from oauth_core.tokens.access_tokens import Rejected, TokenFault, Verified
from tests.support.tokens import ISSUER, claims, new_key

DER = bytes(range(200))
THUMBPRINT = base64.urlsafe_b64encode(hashlib.sha256(DER).digest()).rstrip(b"=").decode()
HEX = hashlib.sha256(DER).hexdigest()
PEM = "-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(DER).decode() + "-----END CERTIFICATE-----\n"
KEY = new_key()
KEYS = VerifyingKeys.from_jwks(public_jwks([KEY]))


def test_both_header_formats_of_envoy_give_the_same_thumbprint() -> None:
    assert certificate_thumbprints.of_escaped_pem(quote(PEM, safe="")) == THUMBPRINT
    assert certificate_thumbprints.of_forwarded(f"Hash={HEX}") == THUMBPRINT
    assert certificate_thumbprints.of_forwarded(f'By=spiffe://a;Hash={HEX};Subject="CN=x"') == THUMBPRINT


@pytest.mark.parametrize(
    "header",
    [
        "",
        HEX,
        f"Hash={HEX[:-1]}",
        f"Hash={HEX.upper()}",
        f"Hash={HEX},Hash={HEX}",
        f"Hash={'0' * 64},By=x;Hash={HEX}",
        f'Subject="Hash={HEX}"',
        f'Subject="x;Hash={HEX};"',
        f"Hash={HEX}\n",
    ],
)
def test_a_header_that_does_not_name_exactly_one_certificate_gives_none(header: str) -> None:
    assert certificate_thumbprints.of_forwarded(header) is None


@pytest.mark.parametrize("text", ["", "x", PEM[:-10], PEM + PEM, PEM.replace("AAEC", "AAE")])
def test_a_text_that_is_not_one_certificate_gives_none(text: str) -> None:
    assert certificate_thumbprints.of_escaped_pem(quote(text, safe="")) is None


def test_the_confirmation_claim_is_written_and_read_back() -> None:
    bound = claims(certificate=THUMBPRINT)
    assert access_tokens.claims_payload(bound)["cnf"] == {"x5t#S256": THUMBPRINT}
    token = access_tokens.mint(bound, KEY)
    assert access_tokens.verify(token, KEYS, issuer=ISSUER, now=bound.iat) == Verified(bound)
    assert "cnf" not in access_tokens.claims_payload(claims())
    both = claims(certificate=THUMBPRINT, dpop_key=THUMBPRINT[::-1])
    assert access_tokens.claims_payload(both)["cnf"] == {"x5t#S256": THUMBPRINT, "jkt": THUMBPRINT[::-1]}
    assert access_tokens.verify(access_tokens.mint(both, KEY), KEYS, issuer=ISSUER, now=both.iat) == Verified(both)


@pytest.mark.parametrize(
    "cnf",
    [
        *({}, [], "", 0, {"jkt": "x"}, {"jkt": None}, {"jwk": {}}, {"x5t#S256": None}, {"x5t#S256": "short"}),
        *({"x5t#S256": THUMBPRINT, "jkt": "x"}, {"jkt": THUMBPRINT, "jku": "https://a.example"}),
    ],
)
def test_a_token_with_an_unsupported_confirmation_is_refused(cnf: object, monkeypatch: pytest.MonkeyPatch) -> None:
    good = claims()
    claims_payload = access_tokens.claims_payload(good)
    monkeypatch.setattr(access_tokens, "claims_payload", lambda _: claims_payload | {"cnf": cnf})
    token = access_tokens.mint(good, KEY)
    assert access_tokens.verify(token, KEYS, issuer=ISSUER, now=good.iat) == Rejected(TokenFault.BAD_CLAIMS)
