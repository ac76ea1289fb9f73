"""The signature of the key set that the authorization server publishes in Redis for the check service.

A check service trusts every key of the published set. Without a signature, an attacker with write access to Redis
could publish their own key and sign tokens for any person. The signing key (Ed25519, RFC 8032) is derived from the
master key, so no further secret must be stored. The public half is a setting of the check service.

The published value is a compact JWS (RFC 7515 section 7.1). Its payload is the JWK set with a `version` beside
`keys`. The version only grows, so that a running check service refuses an older set with a retired key.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from oauth_core.crypto import base64url
from oauth_core.crypto.sealing import derive_key
from oauth_core.jose.signing_keys import VerifyingKeys

if TYPE_CHECKING:
    from collections.abc import Iterable

_PURPOSE: Final = "portcullis published key set"
_TYPE: Final = "portcullis-jwks+jws"
_ALGORITHM: Final = "EdDSA"


class UnsignedKeySetError(ValueError):
    """The document was not signed with the key that this process trusts, or is no key set of this product."""


@dataclass(frozen=True)
class PublishedKeys:
    """A key set with a valid signature. `version` grows with each change."""

    keys: VerifyingKeys
    version: int


class KeySetSigner:
    """Signs key sets with the key derived from a 256-bit `master_key`."""

    def __init__(self, master_key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(derive_key(master_key, purpose=_PURPOSE))

    @property
    def verification_key(self) -> str:
        """The public half: 32 bytes in base64url without padding, the `x` of an OKP key (RFC 8037 section 2)."""
        return base64url.encode(self._key.public_key().public_bytes_raw())

    @property
    def verifier(self) -> KeySetVerifier:
        """A verifier for the documents of this signer."""
        return KeySetVerifier(self.verification_key)

    def sign(self, jwks: str, *, version: int) -> str:
        """Return the document to publish for a JWK set (RFC 7517 section 5)."""
        payload = {**json.loads(jwks), "version": version}
        return jwt.encode(payload, self._key, algorithm=_ALGORITHM, headers={"typ": _TYPE})


class KeySetVerifier:
    """Opens documents that the holder of one key signed."""

    def __init__(self, verification_key: str) -> None:
        """`verification_key` is the value of `KeySetSigner.verification_key`. Raises `ValueError`."""
        try:
            raw = base64.b64decode(verification_key.rstrip("=") + "=", altchars=b"-_", validate=True)
            self._key = Ed25519PublicKey.from_public_bytes(raw)
        except (binascii.Error, ValueError, UnsupportedAlgorithm):
            raise ValueError(
                "must be the public key that `portcullis keys verification-key` prints (43 characters)"
            ) from None

    def open(self, document: str | bytes) -> PublishedKeys:
        """Return the key set in `document`. Raises `UnsignedKeySetError`."""
        try:
            read = jwt.decode_complete(document, self._key, algorithms=[_ALGORITHM])
        except jwt.PyJWTError as error:
            raise UnsignedKeySetError(type(error).__name__) from None
        version = read["payload"].get("version")
        if read["header"].get("typ") != _TYPE or not isinstance(version, int) or isinstance(version, bool):
            raise UnsignedKeySetError("not a key set of ours")
        return PublishedKeys(VerifyingKeys.from_members(read["payload"].get("keys")), version)


def newest(documents: Iterable[str | bytes | None]) -> str | bytes | None:
    """Return the copy that claims the highest version. Its signature is not checked."""
    return max((document for document in documents if document is not None), key=_claimed_version, default=None)


def _claimed_version(document: str | bytes) -> int:
    """The version that a signed key set claims, not verified; -1 if `document` is not a signed key set."""
    try:
        version = jwt.decode(document, options={"verify_signature": False}).get("version")
    except jwt.PyJWTError:
        return -1
    return version if isinstance(version, int) else -1
