"""The descriptor of a grant type, and what its handler may return.

`oauth_core.grant_types` has what registration and metadata need of the descriptor; here the handler is added.
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

    `allowed_at` is the second at which the person, the operator or an issuer allowed it; a revocation after that
    voids it. `was_replayed` says whether what allowed the grant was presented twice, up to this moment.
    """

    grant: Grant
    audience: tuple[str, ...]
    scope: tuple[str, ...]
    allowed_at: int
    was_replayed: Callable[[], Awaitable[bool]] = _never


@dataclass(frozen=True)
class ContinuedGrant:
    """A grant that exists, the next refresh token of its family, and scope and audience of its next access token.

    The access token is bound to the thumbprint `certificate`, if there is one.
    """

    grant: Grant
    refresh_token: RefreshToken
    audience: tuple[str, ...]
    scope: tuple[str, ...]
    certificate: str | None


class Handler(Protocol):
    """Decides on a token request of an authenticated client. It stores no grant and issues no token."""

    async def __call__(self, client: Client, form: Parameters, /) -> NewGrant | ContinuedGrant:
        """What to issue. Raises `DisplayedError`."""


@dataclass(frozen=True, kw_only=True)
class TokenGrant(GrantType):
    """A grant type with its handler. `handler` picks from `Deps` the few things that the handler works with."""

    handler: Callable[[Deps], Handler]


def offered_by(deps: Deps) -> Iterator[TokenGrant]:
    """The grant types that this gateway offers. Raises `TypeError` for one that has no handler."""
    for grant_type in deps.grant_types:
        if not isinstance(grant_type, TokenGrant):
            raise TypeError(f"no handler answers {grant_type.name}")
        yield grant_type
