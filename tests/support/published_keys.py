"""The master key of tests, and what is made with it: signed key sets, and the key of records."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

from oauth_core.crypto.record_authentication import RecordKey
from oauth_core.jose.jwk_set_signature import KeySetSigner
from oauth_core.jose.signing_keys import public_jwks

if TYPE_CHECKING:
    from oauth_core.jose.signing_keys import SigningKey

MASTER_KEY_BYTES = bytes(range(32))
MASTER_KEY = base64.b64encode(MASTER_KEY_BYTES).decode()
SIGNER = KeySetSigner(MASTER_KEY_BYTES)
RECORD_KEY = RecordKey(MASTER_KEY_BYTES)


def published(*keys: SigningKey, signer: KeySetSigner = SIGNER) -> str:
    """The document that publishes exactly these keys. A later call gives a later version."""
    return signer.sign(public_jwks(keys), version=time.time_ns() // 1000)
