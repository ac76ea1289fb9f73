"""The people who can sign in: a few with organisations and teams, and any other well-formed login."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from oauth_core.crypto.digests import sha256

if TYPE_CHECKING:
    from pathlib import Path

_LOGIN = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}")


@dataclass(frozen=True, slots=True)
class Team:
    """A team of a person: `role` as GitHub names it."""

    slug: str
    role: Literal["member", "maintainer"] = "member"

    @property
    def name(self) -> str:
        """The name that people write."""
        return self.slug.replace("-", " ").capitalize()


@dataclass(frozen=True, slots=True)
class Membership:
    """A person's membership of an organisation. An invitation not yet accepted is `pending`, and does not
    count.
    """

    organization: str
    role: Literal["member", "admin"] = "member"
    state: Literal["active", "pending"] = "active"
    teams: tuple[Team, ...] = ()


@dataclass(frozen=True, slots=True)
class Person:
    """A person who can sign in. `public_email` is whether their profile shows the address."""

    login: str
    name: str | None = None
    email: str | None = None
    email_verified: bool = True
    public_email: bool = False
    memberships: tuple[Membership, ...] = ()
    account: str | None = None
    """The first login of the account, if it was renamed since."""

    @property
    def id(self) -> int:
        """The account's number, which a rename does not change; here it is computed from the first login."""
        return stable_id(f"user:{(self.account or self.login).lower()}")

    def membership(self, organization: str) -> Membership | None:
        """The membership of one organisation; names ignore case, as at GitHub."""
        wanted = organization.lower()
        return next((m for m in self.memberships if m.organization == wanted), None)


READY = (
    Person(
        "octavia",
        "Octavia Reed",
        "octavia@example.com",
        public_email=True,
        memberships=(
            Membership("acme", "admin", teams=(Team("platform", "maintainer"), Team("on-call"))),
            Membership("birdwatchers"),
        ),
    ),
    Person(
        "marek", "Marek Dvorak", "marek@example.com", memberships=(Membership("acme", teams=(Team("platform"),)),)
    ),
    Person("ines", "Ines Prado", "ines@example.com", memberships=(Membership("acme", state="pending"),)),
    Person("tove", None, "tove@example.com", email_verified=False),
)
"""An administrator, a member, a person with an open invitation, and a person without an organisation."""


class Changes:
    """Changes of people since they signed in: a JSON file, which may be absent and is read at each call.

    `{"marek": {"acme": ["platform"]}}` has the organisations whose active member the person is now, with their
    teams; `{"marek": null}` means that the person revoked the app's access.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def current(self, person: Person) -> Person | None:
        """The present state of `person`; `None` if their tokens are revoked. Raises `ValueError`."""
        if self._file is None or not self._file.exists():
            return person
        changes = json.loads(self._file.read_text(encoding="utf-8"))
        if person.login.lower() not in changes:
            return person
        changed = changes[person.login.lower()]
        if changed is None:
            return None
        if "@login" in changed:
            return replace(person, login=changed["@login"], account=person.login)
        memberships = [Membership(name, teams=tuple(map(Team, teams))) for name, teams in changed.items()]
        return replace(person, memberships=tuple(memberships))


def stable_id(name: str) -> int:
    """A positive number below 2**31 that is always the same for `name`."""
    return int.from_bytes(sha256(name.encode())[:4], "big") % (2**31 - 1) + 1


def find(login: str) -> Person | None:
    """The person with `login`: one of `READY`, or a new one without organisations; `None` if ill-formed.

    A login is 1 to 39 letters, digits and single inner hyphens, as at GitHub, and ignores case.
    """
    if len(login) > 39 or not _LOGIN.fullmatch(login):  # noqa: PLR2004 - explained above
        return None
    known = next((person for person in READY if person.login == login.lower()), None)
    return known or Person(login, None, f"{login.lower()}@users.example.com")
