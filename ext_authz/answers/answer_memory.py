"""The memory that the filtered answers of one worker hold together, and the share of each caller."""

from __future__ import annotations

from typing import NamedTuple

from ext_authz.answers.limits import MOST_BYTES, MOST_BYTES_OF_ONE, MOST_OPEN, MOST_OPEN_OF_ONE


class _Use(NamedTuple):
    answers: int
    bytes: int


_NOTHING = _Use(0, 0)


class AnswerMemory:
    """Counts open answers and their bytes. A caller is the subject of a token."""

    def __init__(self) -> None:
        self._all = _NOTHING
        self._callers: dict[str, _Use] = {}

    @property
    def open_answers(self) -> int:
        """The number of open answers."""
        return self._all.answers

    @property
    def held_bytes(self) -> int:
        """The bytes that all open answers hold."""
        return self._all.bytes

    def open(self, caller: str) -> bool:
        """Count one more answer for `caller`; return `False` and count nothing when there is no place for it."""
        own = self._callers.get(caller, _NOTHING)
        if self._all.answers >= MOST_OPEN or own.answers >= MOST_OPEN_OF_ONE:
            return False
        self._add(caller, own, 1, 0)
        return True

    def hold(self, caller: str, more: int) -> bool:
        """Count `more` bytes, or fewer if negative; return `False` when these are more than may be held."""
        own = self._callers.get(caller, _NOTHING)
        self._add(caller, own, 0, more)
        return more <= 0 or (self._all.bytes <= MOST_BYTES and own.bytes + more <= MOST_BYTES_OF_ONE)

    def close(self, caller: str, held: int) -> None:
        """Count one answer of `caller` less, and the `held` bytes that it still had."""
        self._add(caller, self._callers.get(caller, _NOTHING), -1, -held)

    def _add(self, caller: str, own: _Use, answers: int, size: int) -> None:
        self._all = _Use(self._all.answers + answers, self._all.bytes + size)
        if own.answers + answers:
            self._callers[caller] = _Use(own.answers + answers, own.bytes + size)
        else:
            self._callers.pop(caller, None)
