"""Which events the rules need, so that only these are read into the table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Need:
    """The common properties of the events that a rule selects: one of `names` (in lower case), and all `fields`.

    `None` stands for any name.
    """

    names: frozenset[str] | None = None
    fields: frozenset[str] = frozenset()

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
    def _texts(self) -> tuple[tuple[tuple[bytes, ...], tuple[bytes, ...]], ...]:
        """For each need the texts of which a line has one, and those that it has all."""
        return tuple(
            (
                tuple(f'"{name}"'.encode() for name in sorted(need.names or ())),
                tuple(f'"{field}":'.encode() for field in sorted(need.fields)),
            )
            for need, _ in self.needs
        )

    def may_fit(self, text: bytes) -> bool:
        """Return whether one of the lines in `text` can be needed. It may be wrong."""
        small = text.lower()
        return any(
            (not names or any(name in small for name in names)) and all(field in small for field in fields)
            for names, fields in self._texts
        )

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Return whether the event is needed."""
        time = event.get("time")
        if not isinstance(time, str) or time >= self.until:
            return False
        return any(time >= since and need.fits(event) for need, since in self.needs)
