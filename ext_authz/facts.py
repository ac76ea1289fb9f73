"""Gathers what a decision rests on: the service, the token, and whether Redis still knows it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qsl

from ext_authz.token_memory import Remembered
from oauth_core.access_tokens import Rejected, TokenFault, fault_of_time
from oauth_core.policy import Facts, Liveness, Unverified

if TYPE_CHECKING:
    from collections.abc import Callable

    from ext_authz.key_cache import KeyCache
    from ext_authz.token_memory import TokenMemory
    from ext_authz.wire import IncomingRequest, Permission
    from oauth_core.model import AccessClaims, Service
    from oauth_core.resources import ServiceIndex

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""The `b64token` of RFC 6750 section 2.1. It has no comma, so two credentials joined into one never match."""

_USUAL_SCHEME = "Bearer "


class Gathered(NamedTuple):
    """The facts of a decision, and where to keep what is decided, if the token was genuine."""

    facts: Facts
    remembered: Remembered | None


class Recalled(NamedTuple):
    """A request that is to be allowed because one just like it was, at second `now`."""

    service: Service
    claims: AccessClaims
    permission: Permission
    now: int


class LivenessSource(Protocol):
    """Who knows whether a token is alive. Answers UNKNOWN rather than raise."""

    def known(self, jti: str) -> Liveness | None:
        """What may be said of the token `jti` at this moment without asking anybody."""

    async def of(self, jti: str) -> Liveness:
        """What is known of the token `jti`."""


class FactFinder:
    """Looks facts up, in the order that makes refusing garbage cheapest."""

    def __init__(
        self,
        *,
        services: ServiceIndex,
        keys: KeyCache,
        tokens: TokenMemory,
        liveness: LivenessSource,
        clock: Callable[[], int],
    ) -> None:
        """`clock` gives whole seconds since the epoch."""
        self._services = services
        self._keys = keys
        self._tokens = tokens
        self._liveness = liveness
        self._clock = clock

    def recall(self, request: IncomingRequest) -> Recalled | None:
        """The permission for a request that is to be allowed because one just like it was.

        Everything that can differ between two requests with one token is looked at: the service, the route,
        how the token was sent, the keys, the time, and whether the token is alive. `None` is no refusal: it
        means that `gather` and a decision are needed.
        """
        service = self._services.by_request(request.host, request.path)
        keys = self._keys.current
        if service is None or keys is None or request.query or len(request.authorization) != 1:
            return None
        if request.routed_as is not None and request.routed_as != service.name:
            return None
        credentials = request.authorization[0]
        if not credentials.startswith(_USUAL_SCHEME):
            return None
        remembered = self._tokens.recall(credentials[len(_USUAL_SCHEME) :], keys)
        if remembered is None:
            return None
        now = self._clock()
        answer = remembered.answer_at(service, now)
        claims = remembered.verified.claims
        if answer is None or fault_of_time(claims, now) is not None:
            return None
        if self._liveness.known(claims.jti) is not Liveness.ACTIVE:
            return None
        return Recalled(service, claims, answer.permission, now)

    def gather_now(self, request: IncomingRequest) -> Gathered | None:
        """The facts about `request`, if they can be had without waiting for anybody."""
        service = self._services.by_request(request.host, request.path)
        token = Unverified.MISSING if service is None else self._look_at(presented(request))
        if token == Rejected(TokenFault.UNKNOWN_KEY):
            return None
        if not isinstance(token, Remembered):
            return Gathered(Facts(service, request.routed_as, token, Liveness.UNKNOWN, self._clock()), None)
        liveness = self._liveness.known(token.verified.claims.jti)
        if liveness is None:
            return None
        return Gathered(Facts(service, request.routed_as, token.verified, liveness, self._clock()), token)

    async def gather(self, request: IncomingRequest) -> Gathered:
        """The facts about `request`. A token is checked only where there is a service that could want it."""
        service = self._services.by_request(request.host, request.path)
        token = Unverified.MISSING if service is None else await self._verify(presented(request))
        if not isinstance(token, Remembered):
            return Gathered(Facts(service, request.routed_as, token, Liveness.UNKNOWN, self._clock()), None)
        liveness = await self._liveness.of(token.verified.claims.jti)
        return Gathered(Facts(service, request.routed_as, token.verified, liveness, self._clock()), token)

    async def _verify(self, presented: str | Unverified) -> Remembered | Rejected | Unverified:
        verdict = self._look_at(presented)
        if verdict != Rejected(TokenFault.UNKNOWN_KEY):
            return verdict
        # The key may be newer than our copy of the ring.
        await self._keys.read_for_unknown_key()
        return self._look_at(presented) if self._keys.is_fresh else Unverified.NO_KEYS

    def _look_at(self, presented: str | Unverified) -> Remembered | Rejected | Unverified:
        keys = self._keys.current
        if keys is None:
            return Unverified.NO_KEYS
        if isinstance(presented, Unverified):
            return presented
        return self._tokens.verify(presented, keys, self._clock())


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
