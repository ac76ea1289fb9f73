"""Keeps a baseline for each person and each client that acts as itself, in one bounded SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from oauth_core.audit import EventKind
from oauth_core.process import private_files
from portcullis.audit import moments
from portcullis.audit.reading import Reading, events
from portcullis.detection.baselines import Baseline, Judgement
from portcullis.detection.needs import Need, NeededEvents

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from portcullis.audit.reading import StoredEvent
    from portcullis.audit.sealing import Sealing

FILE_NAME = "profiles.sqlite3"
"""The file beside the outbox."""
KEPT_HOURS = 90 * 24
"""A profile goes after so many hours without a call."""
MOST_PROFILES = 50_000
"""People and clients that are kept. Beyond it, those without calls for the longest time go."""
HISTORY_HOURS = 14 * 24
"""The first run learns from so many hours of the record."""
HOUR_SECONDS = 3600
_LATE_SECONDS = 600
"""An hour is judged so long after its end, because writers store events late."""
_MOST_COUNTED = 200_000
"""People and clients that are counted in one hour."""
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS profiles (subject TEXT PRIMARY KEY, hour INTEGER NOT NULL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS profiles_by_hour ON profiles (hour);
CREATE TABLE IF NOT EXISTS learnt (one INTEGER PRIMARY KEY CHECK (one = 1), hour INTEGER NOT NULL);
"""


class ProfilesError(Exception):
    """The file of profiles cannot be used. The message has its path and says why."""


@dataclass(frozen=True)
class Caller:
    """A person, by the number of the account, or a client that acts as itself."""

    user_id: int | None
    client_id: str | None

    @property
    def key(self) -> str:
        """The key of the profile."""
        return f"user {self.user_id}" if self.user_id is not None else f"client {self.client_id}"


@dataclass
class Activity:
    """The calls of one caller in one hour."""

    caller: Caller
    login: str | None
    calls: int
    first: StoredEvent
    last: StoredEvent
    is_sealed: bool = True


@dataclass(frozen=True)
class Unusual:
    """An hour that is unusual for its caller."""

    activity: Activity
    judgement: Judgement
    baseline: Baseline
    """As it was before this hour."""


def hour_of(seconds: float) -> int:
    """Return the number of an hour from the epoch on."""
    return int(seconds) // HOUR_SECONDS


class Profiles:
    """The profiles in the file `path`. An hour is learnt whole or not at all, and once."""

    def __init__(self, path: Path, *, is_lasting: bool = True) -> None:
        """With `is_lasting` every hour is flushed to the disk. Raises `ProfilesError`."""
        self._path = path
        try:
            os.close(private_files.descriptor(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW))
            self._database = sqlite3.connect(path, isolation_level=None)
            if not is_lasting:
                self._database.executescript("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;")
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version not in {0, _VERSION}:
                raise ProfilesError(f"{path}: it is of another version ({version}) of this program")
            self._database.executescript(f"{_SCHEMA} PRAGMA user_version = {_VERSION};")
        except (OSError, sqlite3.Error) as error:
            raise ProfilesError(f"{path}: {getattr(error, 'strerror', None) or error}") from None

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def next_hour(self, now: float) -> int | None:
        """Return the next hour that can be learnt, or `None` if it has not ended long enough ago."""
        latest = hour_of(now - _LATE_SECONDS) - 1
        row = self._database.execute("SELECT hour FROM learnt").fetchone()
        following = latest - HISTORY_HOURS if row is None else max(int(row[0]) + 1, latest - HISTORY_HOURS)
        return following if following <= latest else None

    def judge(self, hour: int, activities: Mapping[str, Activity]) -> tuple[list[Unusual], dict[str, Baseline]]:
        """Judge the calls of an hour. Return what is unusual, and the baselines that have learnt it."""
        found, learnt = [], {}
        for key, activity in activities.items():
            row = self._database.execute("SELECT document FROM profiles WHERE subject = ?", (key,)).fetchone()
            before, baseline = (_read(row), _read(row))
            judgement = before.judge(activity.calls, hour)
            if judgement.is_excessive or judgement.is_new_hour:
                found.append(Unusual(activity, judgement, before))
            baseline.learn(activity.calls, hour)
            learnt[key] = baseline
        return found, learnt

    def keep(self, hour: int, learnt: Mapping[str, Baseline]) -> None:
        """Store that this hour was learnt. Raises `ProfilesError`."""
        rows = [(key, hour, json.dumps(one.document())) for key, one in learnt.items()]
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany("INSERT OR REPLACE INTO profiles VALUES (?, ?, ?)", rows)
                self._database.execute("INSERT OR REPLACE INTO learnt VALUES (1, ?)", (hour,))
                self._database.execute(
                    "DELETE FROM profiles WHERE subject IN"
                    " (SELECT subject FROM profiles ORDER BY hour DESC, subject LIMIT -1 OFFSET ?)",
                    (MOST_PROFILES,),
                )
                self._database.execute("DELETE FROM profiles WHERE hour < ?", (hour - KEPT_HOURS,))
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise ProfilesError(f"{self._path}: {error}") from None


def activities_of(
    audit_dir: Path, hour: int, sealing: Sealing, reading: Reading, *, with_unsealed: bool = False
) -> tuple[dict[str, Activity], bool]:
    """Return the calls of each caller in an hour, and whether all of the events are sealed, or need not be."""
    since, until = (
        moments.recorded(datetime.fromtimestamp(each * HOUR_SECONDS, UTC)) for each in (hour, hour + 1)
    )
    need = Need(frozenset({str(EventKind.ACCESS_ALLOWED)}))
    found: dict[str, Activity] = {}
    counts: Counter[str] = Counter()
    for event in events(audit_dir, NeededEvents(((need, since),), until), reading):
        is_sealed = sealing.covers(event)
        if not is_sealed and not with_unsealed:
            return {}, False
        caller = _caller_of(event.fields)
        if caller is None or (caller.key not in found and len(found) >= _MOST_COUNTED):
            continue
        counts[caller.key] += 1
        activity = found.get(caller.key)
        if activity is None:
            login = event.fields.get("user")
            name = login if isinstance(login, str) else None
            found[caller.key] = Activity(caller, name, 1, event, event, is_sealed)
            continue
        activity.calls = counts[caller.key]
        activity.is_sealed &= is_sealed
        activity.first = min(activity.first, event, key=lambda one: one.time)
        activity.last = max(activity.last, event, key=lambda one: one.time)
    return found, True


def _caller_of(fields: Mapping[str, Any]) -> Caller | None:
    user_id, client_id = fields.get("user_id"), fields.get("client_id")
    if isinstance(user_id, int):
        return Caller(user_id, None)
    return Caller(None, client_id) if isinstance(client_id, str) else None


def _read(row: tuple[str] | None) -> Baseline:
    if row is None:
        return Baseline()
    try:
        return Baseline.of(json.loads(row[0]))
    except (ValueError, TypeError):
        return Baseline()
