"""What shows that a token is its owner's: the client certificate, and DPoP proofs (RFC 9449 section 7).

A proof is good once in this process. It is checked only for a genuine token, so that garbage costs nobody a
signature. What was used is remembered for as long as it could be used again, within bounds, and in this process
only: the check service writes nothing to Redis. Whoever steals token and proof on their way can use them once more
for the same method and address, at another process, within the minute and a half that a proof counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ext_authz.decision import envoy_messages
from oauth_core.jose import certificate_thumbprints, dpop
from oauth_core.jose.dpop import Proof
from oauth_core.net.public_urls import origin_of
from oauth_core.store.client_cache.lru_cache import LruCache

if TYPE_CHECKING:
    from ext_authz.decision.envoy_messages import IncomingRequest
    from oauth_core.model import Service

_MOST_REMEMBERED = 50_000


class Proofs:
    """Checks proofs, and remembers those that were used last."""

    def __init__(self, size: int = _MOST_REMEMBERED) -> None:
        self._used: LruCache[tuple[str, str], int] = LruCache(size)

    def key_of(self, request: IncomingRequest, service: Service, token: str, now: int) -> str | None:
        """The thumbprint of the key that made a good proof for `request` with `token`, which it uses up.

        `None` without one.
        """
        # Of two (section 4.1), which arrive joined, none is one.
        text = envoy_messages.message_of(request).headers.get(dpop.HEADER.lower())
        if text is None:
            return None
        # Built from the settings: `Host` only selected the service.
        url = f"{origin_of(service.resource)}{request.path}"
        proof = dpop.check(text, method=request.method, url=url, now=now, access_token=token)
        if not isinstance(proof, Proof):
            return None
        name = (proof.key, proof.jti)
        if (self._used.get(name) or 0) > now:
            return None
        self._used.put(name, proof.until)
        return proof.key


def certificate_of(request: IncomingRequest) -> str | None:
    """The thumbprint of the certificate that the caller showed to Envoy.

    From what Envoy says of the connection. The header `x-forwarded-client-cert` is not looked at: whether a caller
    can write it depends on how an Envoy is set, and not every Envoy is ours.
    """
    if request.peer is None or not request.peer.certificate:
        return None
    return certificate_thumbprints.of_escaped_pem(request.peer.certificate)
