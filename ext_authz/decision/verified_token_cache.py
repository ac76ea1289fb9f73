"""The verified-token cache: each token is verified once, and the result is cached by the token's exact text.

Under one set of keys a signature is good or bad for ever, so a result is valid until the keys change. Times are
checked for each request. A genuine token is cached completely. Of other tokens only a digest is cached, in a
separate small cache. So a client that repeats an invalid token does not cost a signature each time, and a caller
that invents tokens cannot fill the memory.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from oauth_core.crypto.digests import cache_key
from oauth_core.policy.decision import StaticInput, evaluate_token
from oauth_core.store.client_cache.lru_cache import LruCache
from oauth_core.tokens import access_tokens
from oauth_core.tokens.access_tokens import Rejected, TokenFault

if TYPE_CHECKING:
    from ext_authz.decision.envoy_messages import AllowResponse
    from oauth_core.jose.signing_keys import VerifyingKeys
    from oauth_core.model import AccessClaims, Service
    from oauth_core.policy.decision import Verdict
    from oauth_core.policy.rbac import RbacPolicy
    from oauth_core.refusals import DenyReason

_MOST_REJECTED = 10_000
"""The number of rejected tokens in the cache; about 200 bytes each."""

_LASTING = frozenset(
    {
        TokenFault.MALFORMED,
        TokenFault.WRONG_TYPE,
        TokenFault.WRONG_ALGORITHM,
        TokenFault.BAD_SIGNATURE,
        TokenFault.BAD_CLAIMS,
        TokenFault.WRONG_ISSUER,
    }
)
"""Faults that neither time nor another request can remove while the keys stay the same."""


class CachedVerdict:
    """The verdict on a token at one service, and its allow response, once there was one.

    The response may be used again before second `until`. `limited` is the metadata of the last refusal by a limit,
    after its reason.
    """

    __slots__ = ("limited", "response", "until", "verdict")

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.response: AllowResponse | None = None
        self.until = 0
        self.limited: tuple[DenyReason, bytes] | None = None


class CachedToken:
    """A genuine token, and its verdict at each service of its audience, under one policy."""

    __slots__ = ("_policy", "_verdicts", "claims")

    def __init__(self, claims: AccessClaims) -> None:
        self.claims = claims
        self._policy: RbacPolicy | None = None
        self._verdicts: tuple[CachedVerdict, ...] = ()

    def at(self, service: Service, policy: RbacPolicy) -> CachedVerdict:
        """Return the verdict at `service` under `policy`; verdicts under another policy are dropped.

        Services and policies are compared by identity: each load of the settings makes new ones.
        """
        if self._policy is not policy:
            self._policy, self._verdicts = policy, ()
        for cached in self._verdicts:
            if cached.verdict.service is service:
                return cached
        cached = CachedVerdict(evaluate_token(StaticInput(self.claims, service, policy)))
        if cached.verdict.is_for_service:
            # Verdicts for other services are not kept: with one token, a caller could fill memory by asking at
            # each of them.
            self._verdicts = (*self._verdicts, cached)
        return cached


class VerifiedTokenCache:
    """Verifies tokens of `issuer`, and caches the `size` genuine ones that were used last."""

    def __init__(self, *, issuer: str, size: int) -> None:
        self.verified = 0
        """Signatures that were checked and found good."""
        self.rejected = 0
        """Tokens that were checked and found invalid."""
        self._issuer = issuer
        self._keys: VerifyingKeys | None = None
        self._good: LruCache[str, CachedToken] = LruCache(size)
        self._bad: LruCache[bytes, Rejected] = LruCache(_MOST_REJECTED)

    def __len__(self) -> int:
        return len(self._good)

    def lookup(self, token: str, keys: VerifyingKeys) -> CachedToken | None:
        """Return the token, if it was verified under these very keys. The caller checks its times."""
        return self._good.get(token) if keys is self._keys else None

    def cached_result(self, token: str, keys: VerifyingKeys, now: int) -> CachedToken | Rejected | None:
        """Return the result of `verify` if no signature check is needed, else `None`."""
        if len(token) > access_tokens.LONGEST:
            return Rejected(TokenFault.MALFORMED)
        seen = self._seen(token, keys, now)
        if seen is not None:
            return seen
        key = access_tokens.key_for(token, keys)
        return key if isinstance(key, Rejected) else None

    def verify(self, token: str, keys: VerifyingKeys, now: int) -> CachedToken | Rejected:
        """Return the result of `access_tokens.verify` for `token`, from the cache if it was verified before."""
        seen = self._seen(token, keys, now)
        if seen is not None:
            return seen
        verdict = access_tokens.verify(token, keys, issuer=self._issuer, now=now)
        if isinstance(verdict, Rejected):
            self.rejected += 1
            if verdict.fault in _LASTING:
                self._bad.put(cache_key(token), verdict)
            return verdict
        self.verified += 1
        cached = CachedToken(_sharing_texts(verdict.claims))
        self._good.put(token, cached)
        return cached

    def _seen(self, token: str, keys: VerifyingKeys, now: int) -> CachedToken | Rejected | None:
        if keys is not self._keys:
            self._good.clear()
            self._bad.clear()
            self._keys = keys
        cached = self._good.get(token)
        if cached is not None:
            fault = access_tokens.fault_of_time(cached.claims, now)
            return cached if fault is None else Rejected(fault)
        return self._bad.get(cache_key(token))


def _sharing_texts(claims: AccessClaims) -> AccessClaims:
    """Return `claims` with one copy in memory of the texts that many tokens share."""
    return replace(
        claims,
        iss=sys.intern(claims.iss),
        aud=tuple(map(sys.intern, claims.aud)),
        client_id=sys.intern(claims.client_id),
        scope=sys.intern(claims.scope),
        github_user=None if claims.github_user is None else sys.intern(claims.github_user),
        groups=tuple(map(sys.intern, claims.groups)),
    )
