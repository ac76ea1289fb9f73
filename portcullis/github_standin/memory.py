"""The stand-in's codes and tokens, in memory only: a restart loses all of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from oauth_core.crypto.credentials import hash_secret, new_secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from portcullis.github_standin.people import Person

CODE_SECONDS = 600
"""The lifetime of a code, as at GitHub."""

_MOST_KEPT = 10_000
_Record = TypeVar("_Record")


@dataclass(frozen=True, slots=True)
class Code:
    """The sign-in behind a code. `expires` is on the clock of `Memory`."""

    person: Person
    redirect_uri: str
    scopes: tuple[str, ...]
    code_challenge: str | None
    expires: float


@dataclass(frozen=True, slots=True)
class Token:
    """The person and the scopes of an access token."""

    person: Person
    scopes: tuple[str, ...]


class Memory:
    """Keeps codes and tokens by hash; it deletes the oldest when there are too many."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._codes: dict[str, Code] = {}
        self._tokens: dict[str, Token] = {}

    def new_code(
        self, person: Person, redirect_uri: str, scopes: tuple[str, ...], code_challenge: str | None
    ) -> str:
        """Make a code for a person who has just signed in."""
        code = new_secret()
        expires = self._clock() + CODE_SECONDS
        _store(self._codes, hash_secret(code), Code(person, redirect_uri, scopes, code_challenge, expires))
        return code

    def take_code(self, code: str) -> Code | None:
        """The record of `code`, once: `None` if the code is unknown, used or too old."""
        found = self._codes.pop(hash_secret(code), None)
        return found if found is not None and self._clock() < found.expires else None

    def new_token(self, person: Person, scopes: tuple[str, ...]) -> str:
        """Make an access token, with GitHub's prefix for tokens of OAuth apps."""
        token = f"gho_{new_secret()}"
        _store(self._tokens, hash_secret(token), Token(person, scopes))
        return token

    def token(self, token: str) -> Token | None:
        """The record of an access token, or `None`."""
        return self._tokens.get(hash_secret(token))


def _store(records: dict[str, _Record], key: str, value: _Record) -> None:
    if len(records) >= _MOST_KEPT:
        del records[next(iter(records))]
    records[key] = value
