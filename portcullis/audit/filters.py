"""Which events match a search: pure rules on the fields of one event, and texts that its line must have.

The texts are a fast first check of a whole frame or line before JSON is parsed. They never decide alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oauth_core.net.address_ranges import AddressRange

_MAPPED = b":ffff:"
_PLAIN = re.compile(rb"[A-Za-z0-9_.-]+")
"""Characters that JSON writes in one way only, so that a line with the value has them as they are."""


class FilterError(ValueError):
    """A value that the filter cannot mean. The message says why."""


@dataclass(frozen=True)
class EventFilter:
    """The wanted events: all given values must fit. `None` and an empty tuple fit every event.

    `since` is included and `until` is not; both have the form of recorded times. `user` is a login, in any case,
    or the number of an account. `tool` and the `events` may end with `*`.
    """

    user: str | None = None
    operator: str | None = None
    client: str | None = None
    token: str | None = None
    grant: str | None = None
    service: str | None = None
    tool: str | None = None
    source: AddressRange | None = None
    events: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None

    def __post_init__(self) -> None:
        """Raise `FilterError` for a value that cannot be meant."""
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise FilterError("the end (--until) is not after the beginning (--since)")

    def may_fit(self, text: bytes) -> bool:
        """Return whether `text`, some lines of JSON, has the texts that each wanted event has. It may be wrong."""
        if not all(needle in text for needle in self._needles):
            return False
        address = None if self.source is None else self.source.only_ipv4
        # An IPv4 address can also be written inside an IPv6 one, with other digits.
        if address is not None and address.encode() not in text and _MAPPED not in text.lower():
            return False
        # Any case of a login is the same person.
        return not self._user_needle or self._user_needle in text.lower()

    @cached_property
    def _needles(self) -> tuple[bytes, ...]:
        values = [self.operator, self.client, self.token, self.grant, self.service]
        if self.tool is not None:
            values.append(self.tool.removesuffix("*"))
        if len(self.events) == 1:
            values.append(self.events[0].removesuffix("*"))
        if len(self.outcomes) == 1:
            values.append(self.outcomes[0])
        return tuple(filter(None, (longest_plain(value) for value in values if value)))

    @cached_property
    def _user_needle(self) -> bytes:
        return longest_plain(self.user or "").lower()

    def alternatives(self) -> tuple[dict[str, tuple[str, ...]], ...]:
        """Return some rules of which each wanted event fulfils one: the values that each field must be among.

        Besides fields there is `login`, which is the user in lower case.
        """
        exact = {
            "operator": self.operator,
            "client_id": self.client,
            "jti": self.token,
            "grant_id": self.grant,
            "service": self.service,
        }
        common: dict[str, tuple[str, ...]] = {name: (value,) for name, value in exact.items() if value is not None}
        if self.outcomes:
            common["outcome"] = self.outcomes
        if self.events and not any(name.endswith("*") for name in self.events):
            common["event"] = self.events
        if self.user is None:
            return (common,)
        return ({"login": (self.user,), **common}, {"user_id": (self.user,), **common})

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Return whether this event matches the filter."""
        if not is_in_period(event, self.since, self.until):
            return False
        exact = (
            (self.operator, "operator"),
            (self.client, "client_id"),
            (self.token, "jti"),
            (self.grant, "grant_id"),
            (self.service, "service"),
        )
        return (
            all(wanted is None or event.get(name) == wanted for wanted, name in exact)
            and (self.user is None or is_user(event, self.user))
            and (self.tool is None or _fits(self.tool, tool_of(event)))
            and (not self.events or any(_fits(wanted, event.get("event")) for wanted in self.events))
            and (not self.outcomes or event.get("outcome") in self.outcomes)
            and (self.source is None or self.source.contains(str(event.get("source"))))
        )


def is_in_period(event: Mapping[str, Any], since: str | None, until: str | None) -> bool:
    """Return whether the event is at `since` or later, and before `until`. `None` sets no limit."""
    if since is None and until is None:
        return True
    time = event.get("time")
    return isinstance(time, str) and (since is None or time >= since) and (until is None or time < until)


def is_user(event: Mapping[str, Any], user: str) -> bool:
    """Return whether the event is of the person with this login or account number."""
    login, number = event.get("user"), event.get("user_id")
    if number is not None and str(number) == user:
        return True
    return isinstance(login, str) and without_case(login) == without_case(user)


def without_case(login: str) -> str:
    """Return the form of a login that is the same for all its cases."""
    # Only letters of ASCII have case here: other writings of a letter, such as the Kelvin sign, are other logins.
    return login.lower() if login.isascii() else login


def tool_of(event: Mapping[str, Any]) -> str | None:
    """Return the name that the MCP call used: a tool, a prompt or a resource; or `None`.

    Where the event has no `mcp_name`, it is the part of `call` after the method.
    """
    name = event.get("mcp_name")
    if isinstance(name, str):
        return name
    call = event.get("call")
    return call.partition(" ")[2] or None if isinstance(call, str) else None


def _fits(wanted: str, value: object) -> bool:
    if not isinstance(value, str):
        return False
    return value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted


def longest_plain(value: str) -> bytes:
    """Return the longest part of `value` that JSON writes in one way only."""
    return max(_PLAIN.findall(value.encode("utf-8", "replace")), key=len, default=b"")
