"""The key ring as a value: which key signs, which keys are published, and the rules for rotating and retiring.

A new key is published `PUBLISHED_FIRST` seconds before it signs, so check services normally have it by then. For a
token with an unknown key they read the public set at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from oauth_core.jose.signing_keys import VerifyingKeys, public_jwks

if TYPE_CHECKING:
    from oauth_core.jose.signing_keys import SigningKey

PUBLISHED_FIRST = 5
"""Seconds between the publication of a key and the first token it signs."""

FOLLOWED_WITHIN = 2
"""Seconds within which every authorization server has read a changed ring."""

JWKS_MAX_AGE = 2
"""Seconds for which a copy of the published set may be used. Such a copy is at most as old as this and
`FOLLOWED_WITHIN` together, which is less than `PUBLISHED_FIRST`: a copy that may be used has every key that signs.
"""


class RetireError(Exception):
    """The key must stay. The message contains the reason, for the operator."""


@dataclass(frozen=True)
class KeyRing:
    """The keys, newest first; never empty."""

    keys: tuple[SigningKey, ...]

    @cached_property
    def jwks(self) -> str:
        """The public set (RFC 7517 section 5)."""
        return public_jwks(self.keys)

    @cached_property
    def verifying(self) -> VerifyingKeys:
        """The public halves, for checking tokens of this gateway."""
        return VerifyingKeys.from_jwks(self.jwks)

    def signing_key(self, now: int) -> SigningKey:
        """Return the newest key that has been published for long enough; the oldest when all are too new."""
        ripe = (key for key in self.keys if now - key.created_at >= PUBLISHED_FIRST)
        return next(ripe, self.keys[-1])

    def with_new(self, key: SigningKey) -> KeyRing:
        """Return the ring with `key` in front."""
        return KeyRing((key, *self.keys))

    def without(self, kid: str, *, now: int, token_lifetime: int, force: bool = False) -> KeyRing:
        """Return the ring without the key `kid`. Raises `RetireError` when its tokens may still be active.

        `token_lifetime` is that of access tokens, in seconds. `force` retires a key that leaked: its tokens are
        refused from then on. The last key and, without `force`, the signing key always stay.
        """
        going = next((key for key in self.keys if key.kid == kid), None)
        if going is None:
            raise RetireError(f"there is no key {kid} in the ring")
        if len(self.keys) == 1:
            raise RetireError("it is the only key; rotate first")
        if not force:
            self._check_spent(going, now, token_lifetime)
        return KeyRing(tuple(key for key in self.keys if key is not going))

    def _check_spent(self, going: SigningKey, now: int, token_lifetime: int) -> None:
        newer = [key for key in self.keys if key.created_at > going.created_at]
        if going is self.signing_key(now) or not newer:
            raise RetireError("it signs new tokens; rotate first, or use --force if it leaked")
        last_use = min(key.created_at for key in newer) + PUBLISHED_FIRST
        left = last_use + token_lifetime - now
        if left > 0:
            raise RetireError(
                f"tokens it signed may live for {left} more seconds; wait, or use --force if it leaked"
            )
