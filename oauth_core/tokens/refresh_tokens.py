"""The format of a refresh token, and the encrypted successor for a client that repeats a request.

A token is `<grant id>.<family>.<secret>`. The family part stays the same through all rotations and is stored
hashed. A token with the right family but a used secret was once valid, so its reuse ends the family. A guess with
only a grant's id has no effect.

After a rotation the successor is stored, encrypted with a key that can only be derived from the used token. So a
client that lost the answer, or in which several processes refresh, gets the same successor again, and an older
token leads to the current one step by step. The content of Redis alone decrypts none of them.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from oauth_core.crypto.credentials import hash_secret, new_identifier, new_secret
from oauth_core.crypto.sealing import UnsealError, derive_key, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterable

_FORM = re.compile(r"([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})\Z")
_PURPOSE = "portcullis refresh successor"


@dataclass(frozen=True)
class RefreshToken:
    """A refresh token in its parts. `repr` shows only the grant's id."""

    grant_id: str
    family: str
    secret: str

    def __repr__(self) -> str:
        return f"RefreshToken(grant_id={self.grant_id!r})"

    def __str__(self) -> str:
        return f"{self.grant_id}.{self.family}.{self.secret}"

    @property
    def family_hash(self) -> str:
        """The stored form of the family."""
        return hash_secret(self.family)

    @property
    def secret_hash(self) -> str:
        """The stored form of the secret."""
        return hash_secret(self.secret)

    def successor(self) -> RefreshToken:
        """Return a new token of the same family."""
        return RefreshToken(self.grant_id, self.family, new_secret())

    def seal_successor(self, successor: RefreshToken) -> str:
        """Return `successor`, encrypted so that only this token decrypts it."""
        key = derive_key(self.secret, purpose=_PURPOSE)
        return base64.b64encode(seal(successor.secret.encode(), key, context=self.grant_id)).decode()

    def unseal_successor(self, sealed: str) -> RefreshToken:
        """Decrypt the result of `seal_successor`. Raises `oauth_core.crypto.sealing.UnsealError`."""
        key = derive_key(self.secret, purpose=_PURPOSE)
        try:
            box = base64.b64decode(sealed, validate=True)
        except (binascii.Error, ValueError):
            raise UnsealError(self.grant_id) from None
        secret = unseal(box, key, context=self.grant_id).decode()
        return RefreshToken(self.grant_id, self.family, secret)

    def unseal_successors(self, sealed: Iterable[str]) -> RefreshToken:
        """Return the last of several successors, each encrypted with the one before. Raises `UnsealError`."""
        return reduce(RefreshToken.unseal_successor, sealed, self)


def first_token(grant_id: str) -> RefreshToken:
    """Return the first token of a new family."""
    return RefreshToken(grant_id, new_identifier(), new_secret())


def parse(text: str) -> RefreshToken | None:
    """Return the parts of `text`, or `None` when it has not the form of a refresh token."""
    found = _FORM.match(text)
    return RefreshToken(found[1], found[2], found[3]) if found else None
