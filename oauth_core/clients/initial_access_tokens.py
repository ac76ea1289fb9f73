"""Initial access tokens: they authorize a registration where it is not open to all (RFC 7591 section 3).

A token is its id, a dot, and a secret. The id finds and revokes it and may be shown; the secret is stored hashed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oauth_core.crypto.credentials import hash_secret, new_identifier, new_secret, secret_matches
from oauth_core.model import InitialAccessToken

if TYPE_CHECKING:
    from oauth_core.model import User

LONGEST_LIFE = 31_536_000
"""Seconds; a year. The authorization to register must end at some time."""
MOST_USES = 10_000

_FORM = re.compile(r"([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})\Z")
_NOBODY = hash_secret("")


@dataclass(frozen=True)
class NewInitialAccessToken:
    """A new token and its text, which is shown only once. `repr` leaves the text out."""

    token: InitialAccessToken
    text: str = field(repr=False)


def new_token(
    *,
    now: int,
    lifetime: int,
    uses: int,
    registration_permissions: tuple[str, ...],
    issued_to: User | None = None,
    note: str | None = None,
    machine_scopes: tuple[str, ...] = (),
) -> NewInitialAccessToken:
    """A token that lets `uses` clients register within `lifetime` seconds. Raises `ValueError`."""
    if not 0 < lifetime <= LONGEST_LIFE:
        raise ValueError(f"it must live 1 to {LONGEST_LIFE} seconds")
    if not 0 < uses <= MOST_USES:
        raise ValueError(f"it must be good for 1 to {MOST_USES} registrations")
    token_id, secret = new_identifier(), new_secret()
    token = InitialAccessToken(
        token_id=token_id,
        secret_hash=hash_secret(secret),
        issued_at=now,
        expires_at=now + lifetime,
        uses=uses,
        registration_permissions=registration_permissions,
        issued_to=issued_to,
        note=note,
        machine_scopes=machine_scopes,
    )
    return NewInitialAccessToken(token, f"{token_id}.{secret}")


def id_of(text: str) -> str | None:
    """The id in a presented text, or `None` when it cannot be one of our tokens."""
    found = _FORM.match(text)
    return found[1] if found else None


def proves(text: str, token: InitialAccessToken | None, *, now: int) -> bool:
    """Whether `text` is `token` and is valid at `now`. Unknown tokens are compared too, in the same time."""
    found = _FORM.match(text)
    right = secret_matches(found[2] if found else "", token.secret_hash if token else _NOBODY)
    return right and found is not None and token is not None and now < token.expires_at
