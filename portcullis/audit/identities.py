"""Everything of one identity: a person, a client, a grant or a token, with what belongs to it.

A token belongs to a grant, and a grant to a client and mostly to a person. The links are in the events themselves:
`token.issued` has the ids of all four. So a first reading of the record finds the links, and a second one the
events.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from portcullis.audit.filters import is_in_period, is_user, longest_plain, without_case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from portcullis.audit.reading import Indexed, StoredEvent

_JTI = re.compile(rb'"jti"\s*:\s*"([^"\\]*)"')
_FOR_EVERYBODY = "everybody.revoked"


class IdentityKind(Enum):
    """The kinds of identities."""

    USER = "user"
    CLIENT = "client"
    GRANT = "grant"
    TOKEN = "token"


class IdentityError(ValueError):
    """The text names no identity of the record, or several. The message says why."""


@dataclass
class Identity:
    """One identity and what belongs to it, as far as the record says."""

    kind: IdentityKind
    name: str
    logins: set[str] = field(default_factory=set)
    """Without case."""
    accounts: set[str] = field(default_factory=set)
    clients: set[str] = field(default_factory=set)
    grants: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    """Of one grant. Those of a person or a client are not collected: they can be millions."""

    def add(self, event: Mapping[str, Any]) -> None:
        """Add the links of an event of this identity."""
        if isinstance(login := event.get("user"), str):
            self.logins.add(without_case(login))
        if (account := event.get("user_id")) is not None:
            self.accounts.add(str(account))
        for name, known in (("client_id", self.clients), ("grant_id", self.grants)):
            if isinstance(value := event.get(name), str):
                known.add(value)
        if self.kind in {IdentityKind.GRANT, IdentityKind.TOKEN} and isinstance(jti := event.get("jti"), str):
            self.tokens.add(jti)


_FIELDS = {IdentityKind.CLIENT: "client_id", IdentityKind.GRANT: "grant_id", IdentityKind.TOKEN: "jti"}


@dataclass(frozen=True)
class _Naming:
    """The events that name an identity themselves, as one of these kinds."""

    name: str
    kinds: tuple[IdentityKind, ...]
    since: str | None = None
    until: str | None = None

    def may_fit(self, text: bytes) -> bool:
        return longest_plain(self.name).lower() in text.lower()

    def alternatives(self) -> tuple[dict[str, tuple[str, ...]], ...]:
        names = [
            *(_FIELDS[kind] for kind in self.kinds if kind is not IdentityKind.USER),
            *(("login", "user_id") if IdentityKind.USER in self.kinds else ()),
        ]
        return tuple({name: (self.name,)} for name in names)

    def matches(self, event: Mapping[str, Any]) -> bool:
        return any(self.names(event, kind) for kind in self.kinds)

    def names(self, event: Mapping[str, Any], kind: IdentityKind) -> bool:
        """Return whether the event names the identity as this kind."""
        if kind is IdentityKind.USER:
            return is_user(event, self.name)
        return bool(event.get(_FIELDS[kind]) == self.name)


@dataclass(frozen=True)
class BelongsTo:
    """The events of an identity and of what belongs to it."""

    identity: Identity
    since: str | None = None
    until: str | None = None

    def may_fit(self, text: bytes) -> bool:
        """See `Wanted`."""
        own = self.identity
        if any(needle in text for needle in self._needles):
            return True
        if self._person_needles:
            small = text.lower()
            if any(needle in small for needle in self._person_needles):
                return True
        return bool(own.tokens) and any(jti.decode("utf-8", "replace") in own.tokens for jti in _JTI.findall(text))

    def alternatives(self) -> tuple[dict[str, tuple[str, ...]], ...]:
        """See `Wanted`."""
        own = self.identity
        is_client = own.kind is IdentityKind.CLIENT
        values = {
            "event": {_FOR_EVERYBODY},
            "grant_id": own.grants,
            "client_id": set() if own.kind is IdentityKind.USER else own.clients,
            "login": set() if is_client else own.logins,
            "user_id": set() if is_client else own.accounts,
            "jti": own.tokens,
        }
        return tuple({name: tuple(sorted(some))} for name, some in values.items() if some)

    @cached_property
    def _needles(self) -> tuple[bytes, ...]:
        own = self.identity
        ids = own.grants if own.kind is IdentityKind.USER else own.grants | own.clients
        return (_FOR_EVERYBODY.encode(), *map(longest_plain, sorted(ids)))

    @cached_property
    def _person_needles(self) -> tuple[bytes, ...]:
        own = self.identity
        # A person's events at a client belong to the client only if they name it.
        people = set() if own.kind is IdentityKind.CLIENT else own.logins | own.accounts
        return tuple(longest_plain(name).lower() for name in sorted(people))

    def matches(self, event: Mapping[str, Any]) -> bool:
        """See `Wanted`."""
        if not is_in_period(event, self.since, self.until):
            return False
        own = self.identity
        if event.get("event") == _FOR_EVERYBODY or event.get("grant_id") in own.grants:
            return True
        if own.kind is IdentityKind.USER:
            return self._is_person(event)
        if own.kind is IdentityKind.CLIENT:
            return event.get("client_id") == own.name
        if event.get("jti") in own.tokens:
            return True
        # An event of the person or the client as such, such as a block, concerns this grant too.
        is_of_another = event.get("jti") is not None or event.get("grant_id") is not None
        return not is_of_another and (self._is_person(event) or self._is_client_alone(event))

    def _is_person(self, event: Mapping[str, Any]) -> bool:
        account, login = event.get("user_id"), event.get("user")
        if account is not None:
            return str(account) in self.identity.accounts
        return isinstance(login, str) and without_case(login) in self.identity.logins

    def _is_client_alone(self, event: Mapping[str, Any]) -> bool:
        return event.get("user_id") is None and event.get("client_id") in self.identity.clients


def named(text: str) -> tuple[IdentityKind | None, str]:
    """Return the kind and the name that an operator wrote: `octocat`, `id:583231`, `client:…`, `token:…`."""
    kind, _, name = text.partition(":")
    kinds = {"login": IdentityKind.USER, "id": IdentityKind.USER, **{kind.value: kind for kind in IdentityKind}}
    # The id of a client can be a URL, with a colon of its own.
    return (kinds[kind], name) if kind in kinds and name else (None, text)


def find(text: str, events: Callable[[Indexed], Iterator[StoredEvent]]) -> Identity:
    """Return the identity that `text` names, with all its links. Asks for `events` once; for a token, twice.

    Raises `IdentityError` if the record has no such identity, or some of different kinds.
    """
    kind, name = named(text)
    kinds = tuple(IdentityKind) if kind is None else (kind,)
    found: dict[IdentityKind, Identity] = {}
    wanted = _Naming(name, kinds)
    for event in events(wanted):
        for one in kinds:
            if wanted.names(event.fields, one):
                found.setdefault(one, Identity(one, name)).add(event.fields)
    if not found:
        raise IdentityError(f"the record has no {' or '.join(one.value for one in kinds)} {name!r}")
    if len(found) > 1:
        ways = " or ".join(f"{one.value}:{name}" for one in found)
        raise IdentityError(f"{name!r} can mean several: write {ways}")
    [identity] = found.values()
    if identity.kind is IdentityKind.TOKEN:
        for grant in tuple(identity.grants):
            for event in events(_Naming(grant, (IdentityKind.GRANT,))):
                identity.add(event.fields)
    return identity
