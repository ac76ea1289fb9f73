"""The resolver: looks up the decision context, which is the service, the token, and their status in Redis."""

from __future__ import annotations

import re
from time import monotonic, thread_time
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl

from ext_authz.decision import check_steps, envoy_messages
from ext_authz.decision.dpop_replay import Proofs, certificate_of
from ext_authz.decision.fair_queue import FairQueue
from ext_authz.decision.verified_token_cache import CachedToken
from oauth_core.jose import dpop
from oauth_core.limits.rate_limits import subject_of_address
from oauth_core.policy import mcp_request
from oauth_core.policy.decision import DecisionContext, ServiceStatus, TokenStatus, Unverified
from oauth_core.policy.session_binding import ForeignSession, subject_of
from oauth_core.tokens.access_tokens import LONGEST, Rejected, TokenFault, fault_of_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from ext_authz.decision.envoy_messages import IncomingRequest
    from ext_authz.decision.key_cache import KeyCache
    from ext_authz.decision.verified_token_cache import CachedVerdict, VerifiedTokenCache
    from oauth_core.model import AccessClaims, Service
    from oauth_core.policy.decision import Disabled
    from oauth_core.policy.rbac import RbacPolicy
    from oauth_core.policy.resources import ServiceIndex
    from oauth_core.policy.session_binding import OpenedSession, SessionSealer

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""The `b64token` of RFC 6750 section 2.1. It has no comma, so two joined credentials never match."""

_USUAL_SCHEME = "Bearer "
_UNKNOWN_KEY = Rejected(TokenFault.UNKNOWN_KEY)
_DPOP = dpop.SCHEME.lower()
_SCHEMES = frozenset({"bearer", _DPOP})

MOST_WAITING = 1000
"""Tokens whose signatures wait to be checked: a fifth of a second's work, or a second's if all are forged."""

_BACK_OFF = 4
"""The back-off after a signature, as a multiple of its time: other checks get four fifths of the time.

There is a back-off after every bad signature, and after a good one while callers with cached tokens ask. Without
such callers there is none: after a restart every token is new.
"""

_BUSY_SECONDS = 0.1
"""Seconds after a check of a cached token in which more of these are expected."""


class TokenStatusSource(Protocol):
    """Gives the status of tokens. It returns UNKNOWN and raises no error."""

    def cached_status(self, jti: str) -> TokenStatus | None:
        """Return the status of the token `jti` if it is known without asking Redis, else `None`."""

    async def token_status(self, jti: str) -> TokenStatus:
        """Return the status of the token `jti`, asking Redis if needed."""


class ServiceStatusSource(Protocol):
    """Gives the status of services: open, disabled or unknown."""

    def service_status(self, service: str) -> ServiceStatus | Disabled:
        """Return the status of the service with this name."""


class ContextResolver:
    """Resolves decision contexts, in the order that makes refusing garbage cheapest.

    The context comes with the cached verdict on the token, if the token is genuine.
    """

    def __init__(
        self,
        *,
        services: ServiceIndex,
        policy: RbacPolicy,
        keys: KeyCache,
        tokens: VerifiedTokenCache,
        token_status: TokenStatusSource,
        service_status: ServiceStatusSource,
        clock: Callable[[], int],
        fair_queue: FairQueue | None = None,
        session_sealer: SessionSealer | None = None,
    ) -> None:
        """`clock` returns whole seconds since the epoch. Signatures wait in `fair_queue`.

        Without `session_sealer`, no session of a service that binds sessions can be used.
        """
        self._session_sealer = session_sealer
        self._fair_queue = fair_queue or FairQueue(MOST_WAITING)
        self._proofs = Proofs()
        self._services = services
        self._policy = policy
        self._keys = keys
        self._tokens = tokens
        self._token_status = token_status
        self._service_status = service_status
        self._clock = clock
        self._hits = self._hits_before = 0
        self._busy_until = 0.0

    def use(self, services: ServiceIndex, policy: RbacPolicy) -> None:
        """Use these services and this policy from the next decision on; ignore verdicts cached under others."""
        self._services, self._policy = services, policy

    def count_hit(self) -> None:
        """Count a cached token that was allowed at once: signatures must leave time for such checks."""
        self._hits += 1

    def resolve_now(self, request: IncomingRequest) -> tuple[DecisionContext, CachedVerdict | None] | None:
        """Return the context of `request` if it is available at once; `None` if something must be waited for."""
        service = self._services.by_request(request.host, request.path)
        now = self._clock()
        if service is None:
            return self._refusable(request, None, Unverified.MISSING, now)
        token = self._result_at_once(request, now)
        if isinstance(token, CachedToken):
            claims = token.claims
            if claims.dpop_key is not None and scheme_of(request) == _DPOP:
                return None
            status = self._token_status.cached_status(claims.jti)
            if status is None:
                return None
            return self._genuine(request, service, token, status, now=now)
        if token is None or token == _UNKNOWN_KEY:
            return None
        return self._refusable(request, service, token, now)

    async def resolve(self, request: IncomingRequest) -> tuple[DecisionContext, CachedVerdict | None]:
        """Return the context of `request`. A token is verified only for a service that exists."""
        service = self._services.by_request(request.host, request.path)
        token = Unverified.MISSING if service is None else await self._verify(request)
        if not isinstance(token, CachedToken):
            return self._refused_later(request, token)
        proof = None
        is_bound = token.claims.dpop_key is not None and scheme_of(request) == _DPOP
        if is_bound and not _has_only_headers(request, service):
            # Each proof costs a signature, and a caller with such a token can send any number of them.
            if not await self._fair_queue.wait(subject_of_address(request.source)):
                return self._refused_later(request, Unverified.BUSY)
            proof = self._prove(request)
        status = await self._token_status.token_status(token.claims.jti)
        # During the wait, services and policy may have changed; all values must be of one moment.
        service = self._services.by_request(request.host, request.path)
        if service is None:
            return self._refusable(request, None, Unverified.MISSING, self._clock())
        return self._genuine(request, service, token, status, now=self._clock(), proof=proof)

    async def resolve_again(
        self, request: IncomingRequest, before: DecisionContext
    ) -> tuple[DecisionContext, CachedVerdict | None]:
        """Return the context of `request` once more after a wait, with the proof that it used up `before`."""
        service = self._services.by_request(request.host, request.path)
        token = Unverified.MISSING if service is None else await self._verify(request)
        if not isinstance(token, CachedToken):
            return self._refused_later(request, token)
        status = await self._token_status.token_status(token.claims.jti)
        service = self._services.by_request(request.host, request.path)
        if service is None:
            return self._refusable(request, None, Unverified.MISSING, self._clock())
        return self._genuine(request, service, token, status, now=self._clock(), proof=before.proof)

    def _prove(self, request: IncomingRequest) -> str | None:
        """Return the key of the proof of `request`, and use the proof up."""
        service = self._services.by_request(request.host, request.path)
        if service is None:
            return None
        begun = thread_time()
        proof = self._proofs.key_of(request, service, str(bearer_token(request)), self._clock())
        self._back_off_after(thread_time() - begun, is_good=proof is not None)
        return proof

    def _refused_later(
        self, request: IncomingRequest, token: Rejected | Unverified
    ) -> tuple[DecisionContext, CachedVerdict | None]:
        """Return the same as `_refusable` after a wait, in which the services may have changed."""
        service = self._services.by_request(request.host, request.path)
        return self._refusable(request, service, token, self._clock())

    def _refusable(
        self, request: IncomingRequest, service: Service | None, token: Rejected | Unverified, now: int
    ) -> tuple[DecisionContext, CachedVerdict | None]:
        """Return the context of a request without a genuine token."""
        status = ServiceStatus.UNKNOWN if service is None else self._service_status.service_status(service.name)
        return DecisionContext(service, token, TokenStatus.UNKNOWN, status, now, request.routed_as), None

    def _genuine(
        self,
        request: IncomingRequest,
        service: Service,
        token: CachedToken,
        status: TokenStatus,
        *,
        now: int,
        proof: str | None = None,
    ) -> tuple[DecisionContext, CachedVerdict | None]:
        """Return the context of a request with a genuine token. Rarely needed parts are read only when needed."""
        cached = token.at(service, self._policy)
        by_headers, parsed = False, None
        if service.rules is not None:
            by_headers = check_steps.is_before_body(request)
            # A body is read only for a genuine token.
            if not by_headers:
                message = envoy_messages.message_of(request)
                parsed = mcp_request.parse_request(message, with_arguments=service.rules.reads_arguments)
        # Only the check that can allow the request reads its session.
        reads_session = service.bind_sessions and not by_headers
        context = DecisionContext(
            service,
            cached.verdict,
            status,
            self._service_status.service_status(service.name),
            now,
            request.routed_as,
            parsed,
            None if token.claims.certificate is None else certificate_of(request),
            proof,
            not request.authorization[0].startswith(_USUAL_SCHEME) and scheme_of(request) == _DPOP,
            by_headers,
            self._session_of(request, service, token.claims) if reads_session else None,
        )
        return context, cached

    def _session_of(
        self, request: IncomingRequest, service: Service, claims: AccessClaims
    ) -> OpenedSession | ForeignSession | None:
        sealed = envoy_messages.session_of(request)
        if sealed is None:
            return None
        if self._session_sealer is None:
            return ForeignSession.FOREIGN
        return self._session_sealer.open(service.name, subject_of(claims), sealed)

    async def _verify(self, request: IncomingRequest) -> CachedToken | Rejected | Unverified:
        verdict = self._result_at_once(request, self._clock())
        if verdict == _UNKNOWN_KEY:
            # The key may be newer than the copy of the ring in this process.
            await self._keys.read_for_unknown_key()
            verdict = self._result_at_once(request, self._clock()) if self._keys.is_fresh else Unverified.NO_KEYS
        if verdict is not None:
            return verdict
        if not await self._fair_queue.wait(subject_of_address(request.source)):
            return Unverified.BUSY
        # The keys may have changed during the wait.
        keys = self._keys.current
        if keys is None:
            return Unverified.NO_KEYS
        begun = thread_time()  # the processor time of this thread: on a busy machine the clock shows more
        found = self._tokens.verify(str(bearer_token(request)), keys, self._clock())
        self._back_off_after(thread_time() - begun, is_good=not isinstance(found, Rejected))
        return found

    def _back_off_after(self, spent: float, *, is_good: bool) -> None:
        """Back off after a signature that took `spent` seconds."""
        now = monotonic()
        if self._hits != self._hits_before:
            self._hits_before = self._hits
            self._busy_until = now + _BUSY_SECONDS
        if not is_good or now < self._busy_until:
            self._fair_queue.back_off(spent * _BACK_OFF)

    def _result_at_once(self, request: IncomingRequest, now: int) -> CachedToken | Rejected | Unverified | None:
        """Return the result for the request's token at once; `None` when its signature must be checked first.

        A token that has expired is refused here, so that no body is read and Redis is not asked for it.
        """
        keys = self._keys.current
        if keys is None:
            return Unverified.NO_KEYS
        if len(request.authorization) == 1 and not request.query:
            # A cached token was read as below once, so the usual form need not be read again.
            credentials = request.authorization[0]
            if credentials.startswith(_USUAL_SCHEME):
                cached = self._tokens.lookup(credentials[len(_USUAL_SCHEME) :], keys)
                if cached is not None:
                    fault = fault_of_time(cached.claims, now)
                    return cached if fault is None else Rejected(fault)
        token = bearer_token(request)
        return token if isinstance(token, Unverified) else self._tokens.cached_result(token, keys, now)


def bearer_token(request: IncomingRequest) -> str | Unverified:
    """Return the one token of `request` (RFC 6750 section 2, RFC 9449 section 7), or why there is none."""
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
            if not token:  # the same as a request without credentials (RFC 6750 section 3.1)
                return Unverified.MISSING
            # A token that is too long is refused in any case, and only long tokens take time to match.
            return token if len(token) > LONGEST or _TOKEN.fullmatch(token) else Unverified.MALFORMED
        case _:
            # It is not certain which one the service would use, so both are refused.
            return Unverified.MALFORMED


def _has_only_headers(request: IncomingRequest, service: Service | None) -> bool:
    """Return whether this check comes before the body, which `service` needs."""
    has_rules = service is not None and service.rules is not None
    return has_rules and check_steps.is_before_body(request)


def scheme_of(request: IncomingRequest) -> str:
    """Return the scheme of the credentials in lower case; "" unless there is exactly one."""
    return request.authorization[0].partition(" ")[0].lower() if len(request.authorization) == 1 else ""


def _has_token(query: str) -> bool:
    # Some servers split parameters at semicolons too.
    pairs = parse_qsl(query.replace(";", "&"), keep_blank_values=True)
    return any(name.lower() == "access_token" for name, _ in pairs)
