"""Proofs that a caller owns its token: the client certificate, and DPoP proofs (RFC 9449 section 7).

A proof is valid once in this process. It is checked only for a genuine token, so that garbage causes no signature
check. Used proofs are recorded for as long as they could be used again, within limits, and in this process only:
the check service writes nothing to Redis. An attacker that steals token and proof in transit can use them once
more for the same method and URL, at another process, within the minute and a half in which a proof is valid.
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

_MOST_USED = 50_000


class Proofs:
    """Checks proofs, and records the latest used ones."""

    def __init__(self, size: int = _MOST_USED) -> None:
        self._used: LruCache[tuple[str, str], int] = LruCache(size)

    def key_of(self, request: IncomingRequest, service: Service, token: str, now: int) -> str | None:
        """Return the thumbprint of the key of the valid proof for `request` with `token`, and use the proof up.

        Returns `None` without such a proof.
        """
        # Two proofs (section 4.1) arrive joined, which makes none.
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
    """Return the thumbprint of the certificate that the caller presented to Envoy.

    It comes from Envoy's data about the connection. The header `x-forwarded-client-cert` is not read: whether a
    caller can write it depends on the configuration of Envoy, and not every Envoy has the configuration of this
    product.
    """
    if request.peer is None or not request.peer.certificate:
        return None
    return certificate_thumbprints.of_escaped_pem(request.peer.certificate)
