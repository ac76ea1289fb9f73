"""Gathers what a decision rests on: the service, the token, and whether Redis still knows it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl

from oauth_core import access_tokens
from oauth_core.access_tokens import Rejected, TokenFault, Verified
from oauth_core.policy import Facts, Liveness, Unverified

if TYPE_CHECKING:
    from collections.abc import Callable

    from ext_authz.key_cache import KeyCache
    from ext_authz.wire import IncomingRequest
    from oauth_core.resources import ServiceIndex

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""The `b64token` of RFC 6750 section 2.1. It has no comma, so two credentials joined into one never match."""


class LivenessSource(Protocol):
    """Who knows whether a token is alive. Answers UNKNOWN rather than raise."""

    async def of(self, jti: str) -> Liveness:
        """What is known of the token `jti`."""


class FactFinder:
    """Looks facts up, in the order that makes refusing garbage cheapest."""

    def __init__(
        self,
        *,
        services: ServiceIndex,
        issuer: str,
        keys: KeyCache,
        liveness: LivenessSource,
        clock: Callable[[], int],
    ) -> None:
        """`clock` gives whole seconds since the epoch."""
        self._services = services
        self._issuer = issuer
        self._keys = keys
        self._liveness = liveness
        self._clock = clock

    async def gather(self, request: IncomingRequest) -> Facts:
        """The facts about `request`. A token is checked only where there is a service that could want it."""
        service = self._services.by_request(request.host, request.path)
        token = Unverified.MISSING if service is None else await self._verify(presented(request))
        liveness = await self._liveness.of(token.claims.jti) if isinstance(token, Verified) else Liveness.UNKNOWN
        return Facts(service, request.routed_as, token, liveness, self._clock())

    async def _verify(self, presented: str | Unverified) -> Verified | Rejected | Unverified:
        keys = self._keys.current
        if keys is None:
            return Unverified.NO_KEYS
        if isinstance(presented, Unverified):
            return presented
        verdict = access_tokens.verify(presented, keys, issuer=self._issuer, now=self._clock())
        if verdict != Rejected(TokenFault.UNKNOWN_KEY):
            return verdict
        # The key may be newer than our copy of the ring.
        await self._keys.read_for_unknown_key()
        keys = self._keys.current
        if keys is None or not self._keys.is_fresh:
            return Unverified.NO_KEYS
        return access_tokens.verify(presented, keys, issuer=self._issuer, now=self._clock())


def presented(request: IncomingRequest) -> str | Unverified:
    """The one bearer token of `request` (RFC 6750 section 2), or why there is none to look at."""
    if request.query and _has_token(request.query):
        return Unverified.IN_QUERY
    match request.authorization:
        case ():
            return Unverified.MISSING
        case (credentials,):
            scheme, _, token = credentials.partition(" ")
            if scheme.lower() != "bearer":
                return Unverified.MISSING
            token = token.strip(" ")
            return token if _TOKEN.fullmatch(token) else Unverified.MALFORMED
        case _:
            # Which one would the service behind us have believed? We do not guess.
            return Unverified.MALFORMED


def _has_token(query: str) -> bool:
    # Some servers part parameters at semicolons too.
    pairs = parse_qsl(query.replace(";", "&"), keep_blank_values=True)
    return any(name.lower() == "access_token" for name, _ in pairs)
