"""Which certificate a caller showed, as RFC 8705 names one: the SHA-256 of it in base64url, its thumbprint.

A token that is bound to a certificate counts only with the key of that certificate: a stolen one is worth nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from urllib.parse import unquote

from oauth_core.crypto import base64url
from oauth_core.crypto.digests import sha256_base64url

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]+)-----END CERTIFICATE-----\n?\Z")
# Our own Envoy writes the hash alone. Others may name more, but only one certificate: of a chain of proxies we
# would not know which of them to believe.
_FORWARDED = re.compile(r'(?:By=[^;,="]*;)?Hash=([0-9a-f]{64})(?:;[^,]*)?\Z')


def of_forwarded(header: str) -> str | None:
    """The thumbprint in `x-forwarded-client-cert`, which Envoy writes; `None` when it does not name just one."""
    found = _FORWARDED.match(header)
    return base64url.encode(bytes.fromhex(found[1])) if found else None


@lru_cache(maxsize=4096)
def of_escaped_pem(text: str) -> str | None:
    """The thumbprint of a certificate in PEM, percent-encoded as Envoy sends it; `None` when it is not one."""
    found = _PEM.match(unquote(text))
    if found is None:
        return None
    try:
        der = base64.b64decode(found[1].replace("\n", ""), validate=True)
    except binascii.Error:
        return None
    return sha256_base64url(der)
