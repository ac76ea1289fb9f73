"""Which events the rules need, so that only these are read into the table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Need:
    """The common properties of the events that a rule selects: one of `names` (in lower case), and all `fields`.

    `None` stands for any name. `reasons` are those that the events can have, in lower case, or `None` for any.
    """

    names: frozenset[str] | None = None
    fields: frozenset[str] = frozenset()
    reasons: frozenset[str] | None = None

    def fits(self, event: Mapping[str, Any]) -> bool:
        """Return whether the event has what is needed."""
        if self.names is not None and str(event.get("event")).lower() not in self.names:
            return False
        return all(event.get(name) is not None for name in self.fields)


@dataclass(frozen=True)
class NeededEvents:
    """The events that some rules need: each need with the first time from which events count. See `Wanted`."""

    needs: tuple[tuple[Need, str], ...]
    until: str

    @cached_property
    def since(self) -> str:
        """The earliest time of all needs."""
        return min((since for _, since in self.needs), default=self.until)

    @cached_property
    def _text(self) -> re.Pattern[bytes]:
        """One of these is in each needed line: the name of its event, or a field where a rule has no names."""
        fields = (sorted(need.fields)[:1] for need, _ in self._of_any_name)
        ways = ["".join(f'"{name}"' for name in names).encode() for names in fields]
        if self._by_name:
            names = b"|".join(re.escape(name.encode()) for name in sorted(self._by_name))
            ways.append(rb'"event"\s*:\s*"(?:' + names + b')"')
        return re.compile(b"|".join(ways), re.IGNORECASE)

    @cached_property
    def _by_name(self) -> dict[str, dict[frozenset[str], str]]:
        """For each name of an event the fields that it needs, each with the first time."""
        found: dict[str, dict[frozenset[str], str]] = {}
        for need, since in self.needs:
            for name in need.names or ():
                known = found.setdefault(name, {})
                known[need.fields] = min(since, known.get(need.fields, since))
        return found

    @cached_property
    def _of_any_name(self) -> list[tuple[Need, str]]:
        return [(need, since) for need, since in self.needs if need.names is None]

    def may_fit(self, text: bytes) -> bool:
        """Return whether one of the lines in `text` can be needed. It may be wrong."""
        return bool(self.needs) and self._text.search(text) is not None

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Return whether the event is needed."""
        time = event.get("time")
        if not isinstance(time, str) or time >= self.until:
            return False
        for fields, since in self._by_name.get(str(event.get("event")).lower(), {}).items():
            if time >= since and all(event.get(name) is not None for name in fields):
                return True
        return any(time >= since and need.fits(event) for need, since in self._of_any_name)
