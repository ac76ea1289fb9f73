"""Permissions: their names, and which names imply others.

A name is parts joined by dots: `mcp.fetch.read`. A name of two or more parts implies itself and everything below
it, in scopes and in roles alike, so `mcp.fetch` is a bundle of `mcp.fetch.read` and `mcp.fetch.write`. A first
part alone implies only itself: a scope `mcp` would give access to every future service.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

CLIENT_REGISTER = "client.register"
"""The right to make clients in other ways than by the public registration. It belongs to no service."""

OWN = (CLIENT_REGISTER,)
"""Permissions of the authorization server itself."""

RESERVED = ("client", "registration")
"""First parts that no service's permission may have: they belong to clients."""

EVERYTHING = "*"

_PART = r"[a-z0-9][a-z0-9_:-]*"
NAME = rf"^[a-z][a-z0-9_:-]*(\.{_PART})*$"
"""A permission, as a pattern of pydantic and `re`."""

_PATTERN = re.compile(rf"(?:\*|[a-z][a-z0-9_:-]*(?:\.{_PART})*(?:\.\*)?)\Z")


@lru_cache(maxsize=4096)
def implied_by(permission: str) -> tuple[str, ...]:
    """The names that imply `permission`: itself, and each bundle above it."""
    parts = permission.split(".")
    return (permission, *(".".join(parts[:length]) for length in range(len(parts) - 1, 1, -1)))


def implies(scopes: frozenset[str], permission: str) -> bool:
    """Whether one of `scopes` implies `permission`."""
    return permission in scopes or any(name in scopes for name in implied_by(permission))


def in_words(permission: str, *, service: str) -> str:
    """`permission` in words, for people who see its `service` separately: `mcp.fetch.read` is "read"."""
    rest = permission.removeprefix("mcp.").removeprefix(f"{service}.")
    return re.sub(r"[._:-]+", " ", rest).strip()


def check_pattern(text: str) -> str:
    """Return `text` when it is a permission, `NAME.*` or `*`; else raise `ValueError`."""
    if not _PATTERN.match(text):
        raise ValueError(f"{text!r} is not the name of a permission, NAME.* or *")
    return text


@dataclass(frozen=True, slots=True)
class Permissions:
    """The rights of a person, as the patterns of their roles: `forbidden` outweighs `granted`.

    A pattern is a name with all it implies, `NAME.*` (the same, and for a name of one part all below it), or
    `*`.
    """

    granted: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()

    def allows(self, permission: str) -> bool:
        """Whether a pattern grants `permission` and none forbids it."""
        return matches(self.granted, permission) and not (self.forbidden and matches(self.forbidden, permission))


def matches(patterns: frozenset[str], permission: str) -> bool:
    """Whether one of `patterns` covers `permission`."""
    if EVERYTHING in patterns:
        return True
    if any(name in patterns or f"{name}.*" in patterns for name in implied_by(permission)):
        return True
    # An operator writes `mcp.*` on purpose; `mcp` alone would imply nothing more.
    return f"{permission.partition('.')[0]}.*" in patterns
