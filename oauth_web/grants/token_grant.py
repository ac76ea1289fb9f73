"""The descriptor of a grant type, and the results of its handler.

`oauth_core.grant_types` has the part that registration and metadata need; this module adds the handler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from oauth_core.grant_types import GrantType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from oauth_core.model import Client, Grant
    from oauth_core.parameters import Parameters
    from oauth_core.tokens.refresh_tokens import RefreshToken
    from oauth_web.runtime.deps import Deps


async def _never() -> bool:
    return False


@dataclass(frozen=True)
class NewGrant:
    """A grant that is allowed and does not exist yet, with scope and audience of its first access token.

    `allowed_at` is the second at which the person, the operator or an issuer allowed it; a later revocation
    voids it. `was_replayed` returns whether the code or other credential was presented twice, up to this moment.
    """

    grant: Grant
    audience: tuple[str, ...]
    scope: tuple[str, ...]
    allowed_at: int
    was_replayed: Callable[[], Awaitable[bool]] = _never


@dataclass(frozen=True)
class ContinuedGrant:
    """The result of a refresh: the existing grant, its next refresh token, and what the next access token covers.

    `certificate` is the thumbprint that the access token is bound to, if any.
    """

    grant: Grant
    refresh_token: RefreshToken
    audience: tuple[str, ...]
    scope: tuple[str, ...]
    certificate: str | None


class Handler(Protocol):
    """Decides about a token request of an authenticated client. It stores no grant and issues no token."""

    async def __call__(self, client: Client, form: Parameters, /) -> NewGrant | ContinuedGrant:
        """The grant to issue tokens for. Raises `DisplayedError`."""


@dataclass(frozen=True, kw_only=True)
class TokenGrant(GrantType):
    """A grant type with its handler. `handler` builds it from the parts of `Deps` that it needs."""

    handler: Callable[[Deps], Handler]


def offered_by(deps: Deps) -> Iterator[TokenGrant]:
    """The grant types that this gateway offers. Raises `TypeError` for a grant type without a handler."""
    for grant_type in deps.grant_types:
        if not isinstance(grant_type, TokenGrant):
            raise TypeError(f"no handler answers {grant_type.name}")
        yield grant_type
