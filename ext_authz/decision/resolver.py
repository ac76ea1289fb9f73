"""Gathers what a decision rests on: the service, the token, and whether Redis still knows it."""

from __future__ import annotations

import re
from time import monotonic, thread_time
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qsl

from ext_authz.decision import check_steps, envoy_messages
from ext_authz.decision.dpop_replay import Proofs, certificate_of
from ext_authz.decision.fair_queue import FairQueue
from ext_authz.decision.verified_token_cache import CachedToken
from oauth_core.jose import dpop
from oauth_core.limits.rate_limits import subject_of_address
from oauth_core.policy import mcp_request
from oauth_core.policy.decision import DecisionContext, ServiceStatus, TokenStatus, Unverified
from oauth_core.tokens.access_tokens import LONGEST, Rejected, TokenFault, fault_of_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from ext_authz.decision.envoy_messages import AllowResponse, IncomingRequest
    from ext_authz.decision.key_cache import KeyCache
    from ext_authz.decision.verified_token_cache import VerifiedTokenCache
    from oauth_core.model import AccessClaims, Service
    from oauth_core.policy.decision import Isolated
    from oauth_core.policy.rbac import RbacPolicy
    from oauth_core.policy.resources import ServiceIndex

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""The `b64token` of RFC 6750 section 2.1. It has no comma, so two credentials joined into one never match."""

_USUAL_SCHEME = "Bearer "
_DPOP = dpop.SCHEME.lower()
_SCHEMES = frozenset({"bearer", _DPOP})

MOST_WAITING = 1000
"""Tokens whose signatures wait to be checked: a fifth of a second's work, or a second's if all are forged."""

_REST = 4
"""Times as long as a signature took: others have four fifths of the time. Always after a bad one, which nobody
honest has; after a good one while others ask with tokens that are known. With nobody to be kept waiting there is
no rest: after a restart every token is new."""

_BUSY_SECONDS = 0.1
"""For how long somebody who asked with a known token counts as one who may ask again."""


class Gathered(NamedTuple):
    """The facts of a decision, and where to keep what is decided, if the token was genuine."""

    facts: DecisionContext
    remembered: CachedToken | None


class Recalled(NamedTuple):
    """A request that is to be allowed because one just like it was, at second `now`."""

    service: Service
    claims: AccessClaims
    permit: AllowResponse
    now: int


class TokenStatusSource(Protocol):
    """Who knows whether a token is alive. Answers UNKNOWN rather than raise."""

    def known(self, jti: str) -> TokenStatus | None:
        """What may be said of the token `jti` at this moment without asking anybody."""

    async def of(self, jti: str) -> TokenStatus:
        """What is known of the token `jti`."""


class ServiceStatusSource(Protocol):
    """Who knows which services an operator took out."""

    def of(self, service: str) -> ServiceStatus | Isolated:
        """What is known of the service of this name."""


class ContextResolver:
    """Looks facts up, in the order that makes refusing garbage cheapest."""

    def __init__(
        self,
        *,
        services: ServiceIndex,
        policy: RbacPolicy,
        keys: KeyCache,
        tokens: VerifiedTokenCache,
        liveness: TokenStatusSource,
        isolated: ServiceStatusSource,
        clock: Callable[[], int],
        turns: FairQueue | None = None,
    ) -> None:
        """`clock` gives whole seconds since the epoch. `turns` are those of signatures to check."""
        self._turns = turns or FairQueue(MOST_WAITING)
        self._proofs = Proofs()
        self._services = services
        self._policy = policy
        self._keys = keys
        self._tokens = tokens
        self._liveness = liveness
        self._isolated = isolated
        self._clock = clock
        self._recalled = self._recalled_before = 0
        self._busy_until = 0.0

    def use(self, services: ServiceIndex, policy: RbacPolicy) -> None:
        """From the next decision on, these services and this policy count, and nothing decided under others."""
        self._services, self._policy = services, policy

    def recall(self, request: IncomingRequest) -> Recalled | None:
        """The permit for a request that is to be allowed because one just like it was.

        Everything that can differ between two requests with one token is looked at: the service and whether it is
        open, the route, how the token was sent, the certificate it is bound to, the keys, the time, and whether
        the token is alive. `None` is no refusal: it means that `gather` and a decision are needed.
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
        # With tool rules two requests are alike only if their bodies are, so each is decided upon.
        if remembered is None or remembered.policy is not self._policy or service.rules is not None:
            return None
        now = self._clock()
        answer = remembered.answer_at(service, now)
        claims = remembered.verified.claims
        if answer is None or fault_of_time(claims, now) is not None:
            return None
        if claims.certificate is not None and claims.certificate != certificate_of(request):
            return None
        if claims.dpop_key is not None:  # each request has a proof of its own
            return None
        if self._liveness.known(claims.jti) is not TokenStatus.ACTIVE:
            return None
        if self._isolated.of(service.name) is not ServiceStatus.OPEN:
            return None
        self._recalled += 1
        return Recalled(service, claims, answer.permit, now)

    def gather_now(self, request: IncomingRequest) -> Gathered | None:
        """The facts about `request`, if they can be had without waiting for anybody."""
        service = self._services.by_request(request.host, request.path)
        token = Unverified.MISSING if service is None else self._look_at(presented(request))
        if token is None or token == Rejected(TokenFault.UNKNOWN_KEY):
            return None
        if not isinstance(token, CachedToken):
            return self._gathered(request, token, TokenStatus.UNKNOWN)
        if _asks_for_proof(request, token):
            return None
        liveness = self._liveness.known(token.verified.claims.jti)
        return None if liveness is None else self._gathered(request, token, liveness)

    async def gather(self, request: IncomingRequest) -> Gathered:
        """The facts about `request`. A token is checked only where there is a service that could want it."""
        service = self._services.by_request(request.host, request.path)
        token = Unverified.MISSING if service is None else await self._verify(presented(request), request.source)
        if not isinstance(token, CachedToken):
            return self._gathered(request, token, TokenStatus.UNKNOWN)
        proof = None
        if _has_only_headers(request, service):
            # The check that has the body looks at the proof, which is used up by that.
            proof = token.verified.claims.dpop_key
        elif _asks_for_proof(request, token):
            # A signature for each request, and whoever has such a token can send as many as he likes.
            if not await self._turns.wait(subject_of_address(request.source)):
                return self._gathered(request, Unverified.BUSY, TokenStatus.UNKNOWN)
            proof = self._prove(request)
        return self._gathered(request, token, await self._liveness.of(token.verified.claims.jti), proof)

    def _prove(self, request: IncomingRequest) -> str | None:
        """The key of the proof that came with `request`; using it up."""
        service = self._services.by_request(request.host, request.path)
        if service is None:
            return None
        begun = thread_time()
        proof = self._proofs.key_of(request, service, str(presented(request)), self._clock())
        self._rest_after(thread_time() - begun, is_good=proof is not None)
        return proof

    def _gathered(
        self,
        request: IncomingRequest,
        token: CachedToken | Rejected | Unverified,
        liveness: TokenStatus,
        proof: str | None = None,
    ) -> Gathered:
        """The facts, all of one moment: while something was waited for, services and policy may have changed."""
        service = self._services.by_request(request.host, request.path)
        remembered = token if isinstance(token, CachedToken) else None
        by_headers = _has_only_headers(request, service)
        facts = DecisionContext(
            service=service,
            routed_as=request.routed_as,
            token=token.verified if isinstance(token, CachedToken) else token,
            liveness=liveness,
            availability=ServiceStatus.UNKNOWN if service is None else self._isolated.of(service.name),
            now=self._clock(),
            rights=None if remembered is None else remembered.rights_under(self._policy),
            # Nobody makes us read a body who has no genuine token.
            asked=None
            if remembered is None or service is None or service.rules is None or by_headers
            else mcp_request.read(envoy_messages.message_of(request)),
            certificate=None
            if remembered is None or remembered.verified.claims.certificate is None
            else certificate_of(request),
            proof=proof,
            as_dpop=scheme_of(request) == _DPOP,
            by_headers=by_headers,
        )
        return Gathered(facts, remembered)

    async def _verify(
        self, presented: str | Unverified, source: str | None
    ) -> CachedToken | Rejected | Unverified:
        verdict = self._look_at(presented)
        if verdict == Rejected(TokenFault.UNKNOWN_KEY):
            # The key may be newer than our copy of the ring.
            await self._keys.read_for_unknown_key()
            verdict = self._look_at(presented) if self._keys.is_fresh else Unverified.NO_KEYS
        if verdict is not None or not isinstance(presented, str):
            return verdict or Unverified.MISSING
        if not await self._turns.wait(subject_of_address(source)):
            return Unverified.BUSY
        # The keys may have changed while we waited.
        keys = self._keys.current
        if keys is None:
            return Unverified.NO_KEYS
        begun = thread_time()  # what we had of the processor: on a busy machine the clock says more
        found = self._tokens.verify(presented, keys, self._clock())
        self._rest_after(thread_time() - begun, is_good=not isinstance(found, Rejected))
        return found

    def _rest_after(self, spent: float, *, is_good: bool) -> None:
        """Leave the interpreter to others after a signature that took so many seconds."""
        now = monotonic()
        if self._recalled != self._recalled_before:
            self._recalled_before = self._recalled
            self._busy_until = now + _BUSY_SECONDS
        if not is_good or now < self._busy_until:
            self._turns.rest(spent * _REST)

    def _look_at(self, presented: str | Unverified) -> CachedToken | Rejected | Unverified | None:
        """What can be said of a token at once; `None` when its signature must be checked first."""
        keys = self._keys.current
        if keys is None:
            return Unverified.NO_KEYS
        if isinstance(presented, Unverified):
            return presented
        return self._tokens.known(presented, keys, self._clock())


def presented(request: IncomingRequest) -> str | Unverified:
    """The one token of `request` (RFC 6750 section 2, RFC 9449 section 7), or why there is none to look at."""
    if request.query and _has_token(request.query):
        return Unverified.IN_QUERY
    match request.authorization:
        case ():
            return Unverified.MISSING
        case (credentials,):
            scheme, _, token = credentials.partition(" ")
            if scheme.lower() not in _SCHEMES:
                return Unverified.MISSING
            token = token.strip(" ")
            if not token:  # it says no more than a request without credentials (RFC 6750 section 3.1)
                return Unverified.MISSING
            # One that is too long is refused whatever is in it, and it is the long ones that take time to read.
            return token if len(token) > LONGEST or _TOKEN.fullmatch(token) else Unverified.MALFORMED
        case _:
            # Which one would the service behind us have believed? We do not guess.
            return Unverified.MALFORMED


def _has_only_headers(request: IncomingRequest, service: Service | None) -> bool:
    """Whether this check is the one before the body, which `service` needs."""
    has_rules = service is not None and service.rules is not None
    return has_rules and check_steps.is_before_body(request)


def _asks_for_proof(request: IncomingRequest, token: CachedToken) -> bool:
    """Whether a proof could let `request` in: it is used up by looking, so elsewhere nobody looks."""
    return token.verified.claims.dpop_key is not None and scheme_of(request) == _DPOP


def scheme_of(request: IncomingRequest) -> str:
    """The scheme of the credentials, in small letters; nothing unless there is just one."""
    return request.authorization[0].partition(" ")[0].lower() if len(request.authorization) == 1 else ""


def _has_token(query: str) -> bool:
    # Some servers part parameters at semicolons too.
    pairs = parse_qsl(query.replace(";", "&"), keep_blank_values=True)
    return any(name.lower() == "access_token" for name, _ in pairs)
