"""Carries automatic responses out: each at least once over restarts, few in an hour, and never for exempt people.

Each decision is in a file beside the outbox, written before the action and after it. So a process that is killed
in between repeats the action, which is harmless: each one ends rights that have ended then. While the file cannot
be written (a full disk), the decisions are in memory, and rights are taken away nevertheless.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from oauth_core.process import private_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from oauth_core.settings.detecting import ActionName
    from portcullis.detection.automatic import Target

FILE_NAME = "responses.json"
"""The file beside the outbox."""

WINDOW_SECONDS = 3600.0
"""The time in which the number of responses is limited."""
GIVE_UP_SECONDS = 86_400.0
"""After this time a response that fails is given up."""
_FIRST_WAIT, _LONGEST_WAIT = 30.0, 3600.0
_KEPT_SECONDS = 9 * 86_400.0
"""Longer than the rules look back, so that an old finding leads to no second response."""
MOST_KEPT = 5_000
_VERSION = 1
_GONE = "the settings no longer have this response"


class State(StrEnum):
    """The state of a response."""

    WAITING = "waiting"
    DONE = "done"
    NOTHING = "nothing to end"
    HELD = "not done"
    FAILED = "failed"


_FINAL = frozenset({State.DONE, State.NOTHING, State.HELD, State.FAILED})


@dataclass(frozen=True)
class Result:
    """The result of one attempt."""

    state: State
    """`WAITING` for an attempt that failed."""
    text: str = ""


@dataclass(frozen=True)
class Response:
    """One response and what became of it. Times are seconds since the epoch."""

    rule: str
    action: ActionName
    value: str
    last: str
    """The recorded time of the last event that led to it."""
    began: float
    state: State = State.WAITING
    text: str = ""
    attempts: int = 0
    next: float = 0.0
    ended: float | None = None

    @property
    def sentence(self) -> str:
        """The response in the words of an alert."""
        more = f": {self.text}" if self.text else ""
        state = "failed, and is tried again" if self.state is State.WAITING else self.state
        return f"{self.action} {self.value}: {state}{more}"


class LedgerError(Exception):
    """The file of responses cannot be read. The message has its path and says why."""


def exempt(never: frozenset[str], people: Iterable[str], clients: Iterable[str]) -> str:
    """Return why a response must not concern these people and clients, or an empty text."""
    found = sorted({*(one.lower() for one in people), *clients} & never)
    return f"{found[0]} is in detection.never" if found else ""


def _key(one: Response | Target) -> tuple[str, str, str]:
    return one.rule, one.action, one.value


def _once_each(wanted: Iterable[Target]) -> list[Target]:
    """Return one target for each action on a value, with the people, clients and last event of all of them.

    A caller can cause many findings about one value, which would otherwise use the limit up.
    """
    found: dict[tuple[str, str, str], Target] = {}
    for one in wanted:
        other = found.get(_key(one), one)
        found[_key(one)] = replace(
            other,
            last=max(other.last, one.last),
            people=tuple(dict.fromkeys((*other.people, *one.people))),
            clients=tuple(dict.fromkeys((*other.clients, *one.clients))),
            hindrance=other.hindrance and one.hindrance,  # one finding that proves enough is enough
        )
    return list(found.values())


def _took_effect(one: Response, now: float) -> bool:
    """Return whether a response counts for the limit at this time."""
    return one.state is State.DONE and one.ended is not None and one.ended > now - WINDOW_SECONDS


@dataclass
class Ledger:
    """The responses of the past, by rule, action and value; in the file `path`, as far as it can be written."""

    path: Path
    known: dict[tuple[str, str, str], Response] = field(default_factory=dict)
    fault: str | None = None
    """Why the file was not written."""

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Read the file; without one, there were no responses. Raises `LedgerError`."""
        try:
            document: Any = json.loads(path.read_bytes())
            if document["version"] != _VERSION:
                raise LedgerError(f"{path}: it is of another version of this program")
            rows = [Response(**{**row, "state": State(row["state"])}) for row in document["responses"]]
        except FileNotFoundError:
            return cls(path)
        except OSError as error:
            raise LedgerError(f"{path}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError):
            raise LedgerError(f"{path}: it is damaged; remove it to begin anew") from None
        return cls(path, {_key(row): row for row in rows})

    def write(self, now: float) -> None:
        """Write what is kept. A failure is in `fault`."""
        kept = [
            one for one in self.known.values() if one.state is State.WAITING or one.began > now - _KEPT_SECONDS
        ]
        # Those that count for the limit are kept first: others in great number must not lift it.
        kept.sort(key=lambda one: (_took_effect(one, now), one.state is State.WAITING, one.began))
        self.known = {_key(one): one for one in kept[-MOST_KEPT:]}
        document = {"version": _VERSION, "responses": [asdict(one) for one in self.known.values()]}
        try:
            private_files.write(self.path, json.dumps(document))
        except OSError as error:
            self.fault = f"{self.path}: {error.strerror}"
        else:
            self.fault = None


@dataclass
class Responder:
    """Decides and carries out. `carry_out` does one response as an operator's command does, and must not raise."""

    ledger: Ledger
    actions: Mapping[str, Sequence[ActionName]]
    """The actions of each rule."""
    most: int
    """Responses that may take effect in an hour."""
    never: frozenset[str]
    """Logins, `id:…` and client ids that no response may concern, as given and in lower case."""
    carry_out: Callable[[Response], Result]

    def respond(self, wanted: Sequence[Target], now: float) -> list[Response]:
        """Carry out what is new in `wanted`. Return those that changed."""
        planned = [self._planned(one, now) for one in _once_each(wanted) if self._is_new(one)]
        if not planned:
            return []
        for one in planned:
            self.ledger.known[_key(one)] = one
        # On the disk before anything happens: a killed process leaves them waiting.
        self.ledger.write(now)
        return self._attempts(planned, now)

    def retry(self, now: float) -> list[Response]:
        """Attempt what waits and is due, if the settings still have its action. Return those that ended."""
        due = [one for one in self.ledger.known.values() if one.state is State.WAITING and one.next <= now]
        gone = [self._held(one, _GONE, now) for one in due if one.action not in self.actions.get(one.rule, ())]
        for one in gone:
            self.ledger.known[_key(one)] = one
        if gone:
            self.ledger.write(now)
        wanted = [one for one in due if self.ledger.known[_key(one)].state is State.WAITING]
        return [*gone, *(done for done in self._attempts(wanted, now) if done.state in _FINAL)]

    def of(self, wanted: Sequence[Target]) -> list[Response]:
        """Return what is known of these targets."""
        return [self.ledger.known[_key(one)] for one in wanted if _key(one) in self.ledger.known]

    def next_due(self) -> float | None:
        """Return when the next attempt is due."""
        return min((one.next for one in self.ledger.known.values() if one.state is State.WAITING), default=None)

    def _is_new(self, target: Target) -> bool:
        known = self.ledger.known.get(_key(target))
        return known is None or (known.state in _FINAL and target.last > known.last)

    def _planned(self, target: Target, now: float) -> Response:
        made = Response(target.rule, target.action, target.value, target.last, now)
        hindrance = target.hindrance
        if not hindrance:
            hindrance = exempt(self.never, target.people, target.clients)
        return self._held(made, hindrance, now) if hindrance else made

    @staticmethod
    def _held(one: Response, why: str, now: float) -> Response:
        return replace(one, state=State.HELD, text=why, ended=now)

    def _attempts(self, planned: Sequence[Response], now: float) -> list[Response]:
        """Attempt those that wait, as far as the limit allows; return all.

        After a failure the others wait too: if Redis does not answer, each attempt would take its whole patience.
        """
        effects = sum(_took_effect(one, now) for one in self.ledger.known.values())
        found, are_written, failure = [], True, ""
        for one in planned:
            done = one
            if one.state is State.WAITING and effects >= self.most:
                text = f"{effects} responses took effect in the last hour, which is the limit; do it by hand"
                done, are_written = self._held(one, text, now), False
                self.ledger.known[_key(done)] = done
            elif one.state is State.WAITING and failure:
                done, are_written = replace(one, text=failure, next=now + _FIRST_WAIT), False
                self.ledger.known[_key(done)] = done
            elif one.state is State.WAITING:
                done = self._attempt(one, now)
                effects += done.state is State.DONE
                failure = done.text if done.state is State.WAITING else ""
            found.append(done)
        if not are_written:
            self.ledger.write(now)
        return found

    def _attempt(self, one: Response, now: float) -> Response:
        result = self.carry_out(one)
        attempts = one.attempts + 1
        if result.state is State.WAITING and now - one.began >= GIVE_UP_SECONDS:
            result = Result(State.FAILED, result.text)
        done = replace(
            one,
            state=result.state,
            text=result.text,
            attempts=attempts,
            next=now + min(_FIRST_WAIT * 2.0 ** min(attempts, 16), _LONGEST_WAIT),
            ended=now if result.state in _FINAL else None,
        )
        self.ledger.known[_key(done)] = done
        self.ledger.write(now)
        return done
