"""Each token is verified once: what was found out is remembered by the token's exact text.

Under one set of keys a signature is good or bad for ever, so a verdict counts until the keys change. Times are
looked at each time. A genuine token is remembered whole; of the others only a digest is, in a small memory of
its own, so that a client that repeats a dead token does not cost a signature each time, and one that invents
tokens fills nothing.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from oauth_core.crypto.digests import cache_key
from oauth_core.policy.decision import StaticInput, judge_token
from oauth_core.store.client_cache.lru_cache import LruCache
from oauth_core.tokens import access_tokens
from oauth_core.tokens.access_tokens import Rejected, TokenFault

if TYPE_CHECKING:
    from ext_authz.decision.envoy_messages import AllowResponse
    from oauth_core.jose.signing_keys import VerifyingKeys
    from oauth_core.model import AccessClaims, Service
    from oauth_core.policy.decision import Verdict
    from oauth_core.policy.rbac import RbacPolicy

REMEMBERED_REJECTED = 10_000
"""How many tokens that were found bad are remembered; about 200 bytes each."""

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
"""Faults that neither time nor another request can mend while the keys stay the same."""


class CachedVerdict:
    """The verdict on a token at one service, and the response that lets it through, once there was one.

    The response may be given again before second `until`.
    """

    __slots__ = ("response", "until", "verdict")

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.response: AllowResponse | None = None
        self.until = 0


class CachedToken:
    """A genuine token, and the verdict on it at each service that it is meant for, under one policy."""

    __slots__ = ("_policy", "_verdicts", "claims")

    def __init__(self, claims: AccessClaims) -> None:
        self.claims = claims
        self._policy: RbacPolicy | None = None
        self._verdicts: tuple[CachedVerdict, ...] = ()

    def at(self, service: Service, policy: RbacPolicy) -> CachedVerdict:
        """The verdict at `service` under `policy`; verdicts under another policy are dropped.

        Services and policies are compared by identity: each load of the settings makes new ones.
        """
        if self._policy is not policy:
            self._policy, self._verdicts = policy, ()
        for cached in self._verdicts:
            if cached.verdict.service is service:
                return cached
        cached = CachedVerdict(judge_token(StaticInput(self.claims, service, policy)))
        if cached.verdict.is_for_service:
            # Others are not kept: with one token, a caller could fill memory by asking at every service.
            self._verdicts = (*self._verdicts, cached)
        return cached


class VerifiedTokenCache:
    """Verifies tokens of `issuer`, remembering the `size` good ones that were used last."""

    def __init__(self, *, issuer: str, size: int) -> None:
        self.verified = 0
        """Signatures that were checked and found good."""
        self.rejected = 0
        """Tokens that were looked at and found bad."""
        self._issuer = issuer
        self._keys: VerifyingKeys | None = None
        self._good: LruCache[str, CachedToken] = LruCache(size)
        self._bad: LruCache[bytes, Rejected] = LruCache(REMEMBERED_REJECTED)

    def __len__(self) -> int:
        return len(self._good)

    def lookup(self, token: str, keys: VerifyingKeys) -> CachedToken | None:
        """The token, if it was found genuine under these very keys. Its times are for the caller to look at."""
        return self._good.get(token) if keys is self._keys else None

    def known(self, token: str, keys: VerifyingKeys, now: int) -> CachedToken | Rejected | None:
        """What `verify` would say without having to check a signature; `None` when it would have to."""
        if len(token) > access_tokens.LONGEST:
            return Rejected(TokenFault.MALFORMED)
        seen = self._seen(token, keys, now)
        if seen is not None:
            return seen
        key = access_tokens.key_for(token, keys)
        return key if isinstance(key, Rejected) else None

    def verify(self, token: str, keys: VerifyingKeys, now: int) -> CachedToken | Rejected:
        """What `access_tokens.verify` says of `token`, from memory where it was asked before."""
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
        remembered = CachedToken(_sharing_texts(verdict.claims))
        self._good.put(token, remembered)
        return remembered

    def _seen(self, token: str, keys: VerifyingKeys, now: int) -> CachedToken | Rejected | None:
        if keys is not self._keys:
            self._good.clear()
            self._bad.clear()
            self._keys = keys
        remembered = self._good.get(token)
        if remembered is not None:
            fault = access_tokens.fault_of_time(remembered.claims, now)
            return remembered if fault is None else Rejected(fault)
        return self._bad.get(cache_key(token))


def _sharing_texts(claims: AccessClaims) -> AccessClaims:
    """`claims`, with one copy in memory of what many tokens have in common."""
    return replace(
        claims,
        iss=sys.intern(claims.iss),
        aud=tuple(map(sys.intern, claims.aud)),
        client_id=sys.intern(claims.client_id),
        scope=sys.intern(claims.scope),
        github_user=None if claims.github_user is None else sys.intern(claims.github_user),
        groups=tuple(map(sys.intern, claims.groups)),
    )
