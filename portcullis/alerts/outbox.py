"""The outbox: alerts on disk, what waits for which destination, and what is silenced.

One SQLite file for its owner only. Commands and the running program use it at the same time. It is bounded: see
`MOST_ALERTS`, `MOST_OF_RULE` and `MOST_CAUSES`.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from oauth_core.process import private_files
from portcullis.alerts.alert import Alert
from portcullis.detection.levels import reaches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

FILE_NAME = "alerts.sqlite3"
"""The file beside the folder of the audit record, if the settings name no other."""

MOST_ALERTS = 5_000
"""Alerts that are kept. Beyond it the oldest ones go, first those that do not wait."""
MOST_OF_RULE = 10
"""Alerts of one rule in a window. A further alert says that there are more causes, and these are counted only."""
MOST_CAUSES = 50_000
"""Causes whose last event is remembered, so that an event is not counted again."""
KEPT_SECONDS = 30 * 86_400.0
"""Alerts that wait for nothing are removed after this time."""
_CAUSE_SECONDS = 9 * 86_400.0
"""Longer than the longest window, and longer than a look goes back."""

WAITING, SENT, FAILED, SILENCED = "waiting", "sent", "failed", "silenced"
MORE = "*"
"""The cause of the alert that stands for all further causes of a rule."""

LOOKED, LOOK_FAULT = "looked", "fault"
"""Notes: the time of the last look, and its fault."""

_FURTHER_CAUSES = (
    "CASE WHEN alerts.cause = '*' THEN"
    " (SELECT count(*) FROM causes AS one"
    " WHERE one.rule = alerts.rule AND one.alert = alerts.id AND one.cause <> '*')"
    " ELSE 0 END"
)
"""Of the alert `MORE`, the number of its causes: an expression in SQL."""
_VERSION = 1
_BUSY_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE alerts (
    id TEXT PRIMARY KEY, raised REAL NOT NULL, rule TEXT NOT NULL, cause TEXT NOT NULL, level TEXT NOT NULL,
    document TEXT NOT NULL, more INTEGER NOT NULL DEFAULT 0, silence TEXT
);
CREATE INDEX alerts_of_rule ON alerts (rule, raised);
CREATE TABLE deliveries (
    alert TEXT NOT NULL REFERENCES alerts (id) ON DELETE CASCADE, destination TEXT NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, next REAL NOT NULL, first REAL, ended REAL, fault TEXT,
    PRIMARY KEY (alert, destination)
);
CREATE INDEX deliveries_that_wait ON deliveries (destination, state, next);
CREATE TABLE causes (
    rule TEXT NOT NULL, cause TEXT NOT NULL, last TEXT NOT NULL, seen REAL NOT NULL, alert TEXT NOT NULL,
    PRIMARY KEY (rule, cause)
);
CREATE TABLE silences (
    id TEXT PRIMARY KEY, rule TEXT NOT NULL, person TEXT, client TEXT, began REAL NOT NULL, ends REAL NOT NULL,
    operator TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE looks (rule TEXT PRIMARY KEY, since TEXT NOT NULL);
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class OutboxError(Exception):
    """The outbox cannot be used. The message has its path and says why."""


@dataclass(frozen=True)
class Silence:
    """Alerts that are not sent until `ends`: those of a rule, or only those of one person or client."""

    id: str
    rule: str
    person: str | None
    """A login or the number of an account."""
    client: str | None
    began: float
    ends: float
    operator: str
    reason: str

    def covers(self, alert: Alert) -> bool:
        """Return whether the alert is silenced: it must concern this person or client and no other one."""
        if self.rule != alert.rule:
            return False
        if self.person is not None and not (
            _is_only(alert.values.get("user"), self.person) or _is_only(alert.values.get("user_id"), self.person)
        ):
            return False
        return self.client is None or _is_only(alert.values.get("client_id"), self.client)


@dataclass(frozen=True)
class Delivery:
    """An alert on its way to one destination. Times are seconds since the epoch."""

    alert: Alert
    destination: str
    state: str
    attempts: int
    next: float
    """When the next attempt is due."""
    first: float | None
    """The first attempt."""
    ended: float | None
    fault: str | None


@dataclass(frozen=True)
class Listed:
    """An alert with what became of it."""

    alert: Alert
    raised: float
    more: int
    """Further findings of the cause in the window, which made no alert."""
    causes: int
    """The causes for which the alert stands, if it stands for the further causes of its rule; else 0."""
    silence: str | None
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True)
class Found:
    """A finding for the outbox: its alert, its cause, and the time of its last event, as events have it."""

    alert: Alert
    cause: str
    last: str


class Outbox:
    """The outbox in the file `path`. One object is for one thread. Raises `OutboxError`.

    `counted` is called for each new finding with its rule, and whether it became an alert.
    """

    def __init__(self, path: Path, counted: Callable[[str, bool], None] = lambda *_: None) -> None:
        self.path = path
        self._counted = counted
        try:
            # Made first, so that at no time other users can read it. SQLite gives its journal the same mode.
            os.close(private_files.descriptor(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW))
            self._database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise OutboxError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
        try:
            self._prepare()
        except OutboxError:
            self._database.close()
            raise

    def _prepare(self) -> None:
        self._rows("PRAGMA foreign_keys = ON")
        self._rows("PRAGMA synchronous = FULL")
        with self._changing():
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise OutboxError(f"{self.path}: it is of another version ({version}) of this program")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # -- into the outbox ---------------------------------------------------------------------------------------

    def add(self, found: Found, lowest: Mapping[str, str], *, now: float, window: float) -> bool:
        """Add a finding; return whether it became an alert.

        It does not if its last event was seen already, or if the cause has had an alert in the last `window`
        seconds. `lowest` has the lowest level of each destination.
        """
        is_alert = self._add(found, lowest, now, window)
        if is_alert is not None:
            self._counted(found.alert.rule, is_alert)
        return bool(is_alert)

    def _add(self, found: Found, lowest: Mapping[str, str], now: float, window: float) -> bool | None:
        """Add a finding, as `add` does; `None` if it was seen already."""
        alert, cause = found.alert, found.cause
        with self._changing():
            known = self._row("SELECT last, alert FROM causes WHERE rule = ? AND cause = ?", alert.rule, cause)
            if known is not None and found.last <= known[0]:
                return None
            silence = self._silence_of(alert, now)
            former = self._open_alert(None if known is None else known[1], now - window, silence)
            if former is None and self._count_of_rule(alert.rule, now - window) >= MOST_OF_RULE:
                of_more = self._row("SELECT alert FROM causes WHERE rule = ? AND cause = ?", alert.rule, MORE)
                former = self._open_alert(None if of_more is None else of_more[0], now - window, silence)
                if former is None:
                    alert, cause = _more_causes(alert), MORE
            if former is not None:
                self._database.execute("UPDATE alerts SET more = more + 1 WHERE id = ?", (former,))
                self._see(found, former, now)
                return False
            self._insert(alert, cause, silence, now)
            self._see(found, alert.id, now)
            if cause == MORE:
                self._see(replace(found, cause=MORE), alert.id, now)
            if silence is None:
                self._address(
                    alert.id, [name for name, level in lowest.items() if reaches(alert.level, level)], now
                )
            return True

    def _open_alert(self, alert_id: str | None, since: float, silence: Silence | None) -> str | None:
        """The alert of this id, if a further finding of its cause makes no other one."""
        row = self._row("SELECT raised, silence FROM alerts WHERE id = ?", alert_id)
        if row is None or row[0] <= since:
            return None
        # A silenced alert was not sent, so it keeps none back after its silence.
        return alert_id if row[1] is None or silence is not None else None

    def _count_of_rule(self, rule: str, since: float) -> int:
        row = self._row(
            "SELECT count(*) FROM alerts WHERE rule = ? AND raised > ? AND silence IS NULL", rule, since
        )
        return 0 if row is None else int(row[0])

    def _insert(self, alert: Alert, cause: str, silence: Silence | None, now: float) -> None:
        self._database.execute(
            "INSERT INTO alerts (id, raised, rule, cause, level, document, silence) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                alert.id,
                now,
                alert.rule,
                cause,
                alert.level,
                json.dumps(alert.document()),
                None if silence is None else silence.id,
            ),
        )

    def _see(self, found: Found, alert_id: str, now: float) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO causes (rule, cause, last, seen, alert) VALUES (?, ?, ?, ?, ?)",
            (found.alert.rule, found.cause, found.last, now, alert_id),
        )

    def _address(self, alert_id: str, destinations: Sequence[str], now: float) -> None:
        self._database.executemany(
            "INSERT OR REPLACE INTO deliveries (alert, destination, state, next) VALUES (?, ?, ?, ?)",
            [(alert_id, name, WAITING, now) for name in destinations],
        )

    def prune(self, now: float) -> None:
        """Remove what is too old or too much."""
        waits = "EXISTS (SELECT 1 FROM deliveries WHERE alert = alerts.id AND state = 'waiting')"
        with self._changing():
            self._database.execute(f"DELETE FROM alerts WHERE raised < ? AND NOT {waits}", (now - KEPT_SECONDS,))  # noqa: S608
            self._database.execute(
                "DELETE FROM alerts WHERE id IN"  # noqa: S608 - constants
                f" (SELECT id FROM alerts ORDER BY {waits} DESC, raised DESC, rowid DESC LIMIT -1 OFFSET ?)",
                (MOST_ALERTS,),
            )
            self._database.execute("DELETE FROM causes WHERE seen < ?", (now - _CAUSE_SECONDS,))
            self._database.execute(
                "DELETE FROM causes WHERE rowid IN"
                " (SELECT rowid FROM causes ORDER BY seen DESC LIMIT -1 OFFSET ?)",
                (MOST_CAUSES,),
            )
            self._database.execute("DELETE FROM silences WHERE ends < ?", (now - KEPT_SECONDS,))

    # -- out of the outbox -------------------------------------------------------------------------------------

    def next_due(self, destination: str, now: float) -> Delivery | None:
        """Return the delivery to this destination that is due for the longest time."""
        which = "destination = ? AND state = ? AND next <= ? ORDER BY next, alert LIMIT 1"
        rows = self._deliveries(which, destination, WAITING, now)
        return rows[0] if rows else None

    def next_time(self, destination: str) -> float | None:
        """Return when the next delivery to this destination is due, or `None` if none waits."""
        row = self._row(
            "SELECT min(next) FROM deliveries WHERE destination = ? AND state = ?", destination, WAITING
        )
        return None if row is None else row[0]

    def waiting(self) -> dict[str, tuple[int, float]]:
        """Return for each destination how many alerts wait, and when the oldest of these was made."""
        rows = self._rows(
            "SELECT destination, count(*), min(raised) FROM deliveries JOIN alerts ON alerts.id = alert"
            " WHERE state = ? GROUP BY destination",
            WAITING,
        )
        return {name: (count, raised) for name, count, raised in rows}

    def wait_until(self, delivery: Delivery, moment: float) -> None:
        """Keep the delivery back until then, without an attempt."""
        self._change_delivery(delivery, "next = ?", moment)

    def taken(self, delivery: Delivery, now: float) -> None:
        """Note that the destination took the alert."""
        first = now if delivery.first is None else delivery.first
        changes = "state = ?, attempts = attempts + 1, first = ?, ended = ?, fault = NULL"
        self._change_delivery(delivery, changes, SENT, first, now)

    def refused(self, delivery: Delivery, fault: str, now: float, *, again: float | None) -> None:
        """Note a failed attempt. The next one is at `again`; without one, the delivery has failed."""
        first = now if delivery.first is None else delivery.first
        state, ended = (FAILED, now) if again is None else (WAITING, None)
        changes = "state = ?, attempts = attempts + 1, first = ?, ended = ?, next = ?, fault = ?"
        self._change_delivery(delivery, changes, state, first, ended, now if again is None else again, fault)

    def _change_delivery(self, delivery: Delivery, changes: str, *values: object) -> None:
        """Change a delivery that still waits: an operator may have silenced or resent it meanwhile."""
        place = "WHERE alert = ? AND destination = ? AND state = ?"
        with self._changing():
            self._database.execute(
                f"UPDATE deliveries SET {changes} {place}",  # noqa: S608 - constants
                (*values, delivery.alert.id, delivery.destination, WAITING),
            )

    def hurry(self, destination: str, now: float) -> None:
        """Let all that waits for this destination be due now: it takes alerts again."""
        with self._changing():
            self._database.execute(
                "UPDATE deliveries SET next = min(next, ?) WHERE destination = ? AND state = ?",
                (now, destination, WAITING),
            )

    def keep_destinations(self, names: Sequence[str], now: float) -> None:
        """Give up what waits for destinations that are not in the settings any more."""
        known = ", ".join("?" * len(names))
        with self._changing():
            self._database.execute(
                "UPDATE deliveries SET state = ?, ended = ?, fault = 'it is not in the settings'"  # noqa: S608
                f" WHERE state = ? AND destination NOT IN ({known})",
                (FAILED, now, WAITING, *names),
            )

    def resend(self, alert_id: str, destinations: Sequence[str], now: float) -> None:
        """Let the alert wait for these destinations again."""
        with self._changing():
            self._address(alert_id, destinations, now)

    # -- what is there -----------------------------------------------------------------------------------------

    def find(self, alert_id: str) -> Listed | None:
        """Return the alert of this id, or `None`."""
        found = self._listed("WHERE id = ?", alert_id)
        return found[0] if found else None

    def newest(self, limit: int) -> list[Listed]:
        """Return the newest alerts, the newest first."""
        return self._listed("ORDER BY raised DESC, rowid DESC LIMIT ?", limit)

    def _listed(self, which: str, *values: object) -> list[Listed]:
        columns = f"id, raised, document, more, {_FURTHER_CAUSES}, silence"
        rows = self._rows(f"SELECT {columns} FROM alerts {which}", *values)  # noqa: S608 - constants
        return [
            Listed(
                replace(Alert.of(json.loads(document)), causes=causes),
                raised,
                more,
                causes,
                silence,
                tuple(self._deliveries("alert = ? ORDER BY destination", alert_id)),
            )
            for alert_id, raised, document, more, causes, silence in rows
        ]

    def _deliveries(self, which: str, *values: object) -> list[Delivery]:
        columns = f"document, {_FURTHER_CAUSES}, destination, state, attempts, next, first, ended, fault"
        rows = self._rows(
            f"SELECT {columns} FROM deliveries JOIN alerts ON alerts.id = alert WHERE {which}",  # noqa: S608 - constants
            *values,
        )
        return [Delivery(replace(Alert.of(json.loads(row[0])), causes=row[1]), *row[2:]) for row in rows]

    # -- silences ----------------------------------------------------------------------------------------------

    def silence(self, silence: Silence) -> int:
        """Begin a silence. Alerts that wait and that it covers are not sent; returns how many these are."""
        covered = 0
        with self._changing():
            self._database.execute(
                "INSERT INTO silences (id, rule, person, client, began, ends, operator, reason)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    silence.id,
                    silence.rule,
                    silence.person,
                    silence.client,
                    silence.began,
                    silence.ends,
                    silence.operator,
                    silence.reason,
                ),
            )
            waiting = self._deliveries("state = ? AND rule = ?", WAITING, silence.rule)
            for alert_id in {each.alert.id for each in waiting if silence.covers(each.alert)}:
                covered += 1
                self._database.execute(
                    "UPDATE deliveries SET state = ?, ended = ? WHERE alert = ? AND state = ?",
                    (SILENCED, silence.began, alert_id, WAITING),
                )
        return covered

    def end_silence(self, silence_id: str, now: float) -> bool:
        """End a silence; return whether it was in force."""
        with self._changing():
            ended = self._database.execute(
                "UPDATE silences SET ends = ? WHERE id = ? AND ends > ?", (now, silence_id, now)
            )
            return ended.rowcount > 0

    def silences(self, now: float) -> list[Silence]:
        """Return the silences in force, the one that ends first at the beginning."""
        columns = "id, rule, person, client, began, ends, operator, reason"
        rows = self._rows(f"SELECT {columns} FROM silences WHERE ends > ? ORDER BY ends, id", now)  # noqa: S608
        return [Silence(*row) for row in rows]

    def _silence_of(self, alert: Alert, now: float) -> Silence | None:
        return next((each for each in self.silences(now) if each.covers(alert)), None)

    # -- how far the rules have looked -------------------------------------------------------------------------

    def looked_since(self, rules: Sequence[str]) -> dict[str, str]:
        """Return for each of these rules the recorded time from which it looks next, if it has looked before."""
        known = dict(self._rows("SELECT rule, since FROM looks"))
        return {rule: known[rule] for rule in rules if rule in known}

    def look_from(self, rules: Sequence[str], since: str) -> None:
        """Set the recorded time from which these rules look next."""
        with self._changing():
            self._database.executemany(
                "INSERT OR REPLACE INTO looks (rule, since) VALUES (?, ?)", [(rule, since) for rule in rules]
            )

    def last_look(self) -> tuple[str | None, str | None]:
        """Return the time of the last look and its fault, each `None` if there is none."""
        return self.note(LOOKED), self.note(LOOK_FAULT)

    def note(self, name: str) -> str | None:
        """Return the note of this name: a text that the program keeps over restarts."""
        row = self._row("SELECT value FROM notes WHERE name = ?", name)
        return None if row is None else str(row[0])

    def set_note(self, name: str, value: str | None) -> None:
        """Set a note, or remove it."""
        with self._changing():
            self._database.execute("DELETE FROM notes WHERE name = ?", (name,))
            if value is not None:
                self._database.execute("INSERT INTO notes (name, value) VALUES (?, ?)", (name, value))

    # -- SQLite ------------------------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One transaction, which is on the disk at the end of the block, or did not happen."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise OutboxError(f"{self.path}: {error}") from None

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            with closing(self._database.execute(query, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise OutboxError(f"{self.path}: {error}") from None

    def _row(self, query: str, *values: object) -> tuple[Any, ...] | None:
        rows = self._rows(query, *values)
        return rows[0] if rows else None


def lock_of(path: Path) -> Path:
    """Return the lock file of the program that delivers from the outbox at `path`."""
    return path.with_name(f"{path.name}.lock")


def new_id() -> str:
    """Return a new identifier of an alert or a silence."""
    return secrets.token_hex(6)


def _more_causes(alert: Alert) -> Alert:
    """The alert in place of those of further causes of its rule."""
    return Alert(
        id=alert.id,
        raised=alert.raised,
        rule=alert.rule,
        title=f"{alert.title}: more than {MOST_OF_RULE} causes",
        level=alert.level,
        reason=f"{MOST_OF_RULE} alerts of this rule were made in a short time. Further causes are counted, and "
        f"make no alert of their own. {alert.reason}",
        subject="",
        gateway=alert.gateway,
        node=alert.node,
        false_alarms=alert.false_alarms,
        extent=(f"portcullis audit detect --rule {alert.rule} --since -1d",),
        advice=alert.advice,
    )


def _is_only(values: Mapping[str, Any] | None, wanted: str) -> bool:
    return (
        values is not None
        and values["count"] == 1
        and [each.lower() for each in values["shown"]] == [wanted.lower()]
    )
