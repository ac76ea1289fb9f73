"""The stored form of a browser session."""

from __future__ import annotations

from dataclasses import dataclass, field

from oauth_core.model import User  # noqa: TC001 - the codec reads the types of fields


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a person who signed in with GitHub, in one browser, until `expires_at` at the latest.

    `groups` and `sealed_github_token` are as in `Grant`.
    """

    user: User
    signed_in_at: int
    expires_at: int
    sealed_github_token: str | None = field(default=None, repr=False)
    groups: tuple[str, ...] = ()
