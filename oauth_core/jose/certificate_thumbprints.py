"""The thumbprint of the certificate that a caller presented: its SHA-256 in base64url (RFC 8705).

A token that is bound to a certificate is valid only with the key of that certificate: a stolen one is useless.
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
# The Envoy of this product writes only the hash. Others may write more, but only for one certificate: in a chain
# of proxies it is not clear which entry to trust.
_FORWARDED = re.compile(r'(?:By=[^;,="]*;)?Hash=([0-9a-f]{64})(?:;[^,]*)?\Z')


def of_forwarded(header: str) -> str | None:
    """Return the thumbprint in `x-forwarded-client-cert` of Envoy; `None` unless it names exactly one."""
    found = _FORWARDED.match(header)
    return base64url.encode(bytes.fromhex(found[1])) if found else None


@lru_cache(maxsize=4096)
def of_escaped_pem(text: str) -> str | None:
    """Return the thumbprint of a certificate in percent-encoded PEM, as Envoy sends it; `None` for other text."""
    found = _PEM.match(unquote(text))
    if found is None:
        return None
    try:
        der = base64.b64decode(found[1].replace("\n", ""), validate=True)
    except binascii.Error:
        return None
    return sha256_base64url(der)
