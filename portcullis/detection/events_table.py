"""The table of events in DuckDB that rules query, and the fields that it adds to those of an event."""

from __future__ import annotations

import json
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb

from oauth_core.audit import FIELDS
from oauth_core.net import address_ranges
from portcullis.audit.filters import tool_of
from portcullis.audit.locations import UNKNOWN, Location

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portcullis.audit.reading import StoredEvent

TABLE = "events"

ADDED = {
    "network": "the network of `source`: 24 bits of an IPv4 address, 48 bits of an IPv6 address",
    "tool": "`mcp_name`, or the name in `call`: a tool, a prompt or a resource",
    "country": "the country of `source` (ISO 3166-1), from the operator's database",
    "as_number": "the autonomous system of `source`, such as `AS3320`, from the operator's database",
    "as_name": "the name of that system",
    "latitude": "the position of `source` in degrees, from a database of cities",
    "longitude": "the same",
    "accuracy": "the kilometres by which that position may be wrong",
    "part_of_day": "`night`, `morning`, `afternoon` or `evening`: six hours each, from midnight UTC on",
    "writer": "the program that recorded the event",
    "node": "the machine that recorded the event",
}
"""The fields that rules can use beside those of the event, and their meanings."""

POSITION = ("latitude", "longitude", "accuracy")
LOCATION = ("country", "as_number", "as_name", *POSITION)
"""The fields of `ADDED` that need a database of locations."""

VALUES = (
    *("user", "user_id", "client_id", "operator", "service", "tool", "source", "network", "country", "as_name"),
    *("grant_id", "jti"),
)
"""The fields whose values a finding lists."""

SHOWN_VALUES = 10
"""Different values of one field that a finding lists. It counts all of them."""

_TEXTS = (
    *("v", "event", "outcome", *(name for name in FIELDS if name != "user_id")),
    *(name for name in ADDED if name not in POSITION),
    "boot",
)
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
_PARTS = ("night", "morning", "afternoon", "evening")
MEMORY = "512MB"
"""The memory of DuckDB. Events beyond it are in the folder."""
_CHUNK = 50_000
"""Events that are written to a file and then read by DuckDB at once: row by row it is a hundred times slower."""


def values_of(field: str) -> str:
    """Return the SQL of two columns: the first values of a field, sorted, and the number of different ones."""
    name = quoted(field)
    return (
        f"list_sort(list(DISTINCT CAST({name} AS VARCHAR)) FILTER ({name} IS NOT NULL))[:{SHOWN_VALUES}]"
        f" AS {quoted(f'{field}_values')}, count(DISTINCT {name}) AS {quoted(f'{field}_count')}"
    )


def quoted(name: str) -> str:
    """Return `name` as DuckDB quotes names."""
    return '"' + name.replace('"', '""') + '"'


class EventsTable:
    """The events of one detection, in memory or, when they are many, partly in a folder for the owner only."""

    def __init__(self, location_of: Callable[[object], Location] = lambda _source: UNKNOWN) -> None:
        self._location_of = location_of
        self._folder = tempfile.TemporaryDirectory(prefix="portcullis-detect-")
        self._chunk: list[str] = []
        self.count = 0
        self._database = duckdb.connect(
            config={
                # A detection on the machine of a gateway must not take its memory and its cores.
                "memory_limit": MEMORY,
                "threads": 1,
                "temp_directory": f"{self._folder.name}/spill",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            }
        )
        columns = {**dict.fromkeys(_TEXTS, "VARCHAR"), "user_id": "VARCHAR", "recorded": "VARCHAR"}
        numbers = dict.fromkeys(POSITION, "DOUBLE")
        self._columns = {**columns, **numbers, "sequence": "BIGINT", "sealed": "BOOLEAN"}
        listed = ", ".join(f'"{name}" {kind}' for name, kind in self._columns.items())
        self._database.execute(f"CREATE TABLE loaded ({listed})")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
        self._folder.cleanup()

    def add(self, event: StoredEvent, *, is_sealed: bool) -> None:
        """Add one event."""
        given = event.fields
        time = event.time
        # Only of callers who are known: a flood of unknown ones must not make the look-ups long.
        location = self._location_of(given.get("source")) if "user_id" in given else UNKNOWN
        row: dict[str, Any] = {
            **{name: given[name] for name in self._columns.keys() & given.keys()},
            **{name: getattr(location, name) for name in LOCATION},
            "network": network_of(str(given.get("source"))),
            "tool": tool_of(given),
            "part_of_day": part_of_day(time),
            "writer": event.writer,
            "node": event.node,
            "boot": event.boot,
            "sequence": event.sequence,
            "recorded": time,
            "sealed": is_sealed,
        }
        self._chunk.append(_encode(row))
        self.count += 1
        if len(self._chunk) >= _CHUNK:
            self._load()

    def _load(self) -> None:
        if not self._chunk:
            return
        path = Path(self._folder.name) / "chunk.jsonl"
        # A caller's text can have halves of surrogate pairs, which JSON can write and DuckDB refuses.
        path.write_bytes("\n".join(self._chunk).encode("utf-8", "replace"))
        columns = ", ".join(f"'{name}': '{kind}'" for name, kind in self._columns.items())
        self._database.execute(
            f"INSERT INTO loaded SELECT * FROM read_json(?, format='newline_delimited', columns={{{columns}}})",  # noqa: S608 - constants
            [str(path)],
        )
        path.unlink()
        self._chunk.clear()

    def close(self) -> int:
        """Make the table `events` of all that was added; return how many have no time that can be read."""
        self._load()
        # From here on no query, whatever its rule file says, reads or writes a file or loads an extension.
        self._database.execute("SET enable_external_access=false")
        self._database.execute("SET lock_configuration=true")
        self._database.execute(
            f"""CREATE TABLE {TABLE} AS SELECT * EXCLUDE (user_id), TRY_CAST(user_id AS BIGINT) AS user_id,
            greatest(1, COALESCE(TRY_CAST("count" AS BIGINT), 1)) AS weight
            FROM (SELECT *, TRY_CAST(recorded AS TIMESTAMP) AS moment FROM loaded) WHERE moment IS NOT NULL"""  # noqa: S608 - constants
        )
        [kept] = self._database.execute(f"SELECT count(*) FROM {TABLE}").fetchone() or (0,)  # noqa: S608
        self._database.execute("DROP TABLE loaded")
        return self.count - int(kept)

    def people_of(self, grants: Sequence[str]) -> dict[str, Any]:
        """Return the values of `user` and `user_id` in the events of these grants, as a query lists them."""
        listed = ", ".join(values_of(name) for name in ("user", "user_id"))
        query = f"SELECT {listed} FROM {TABLE} WHERE list_contains($grants, grant_id)"  # noqa: S608 - constants
        [found] = self.rows(query, grants=list(grants))
        return found

    def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        """Return the rows of a query. Raises `duckdb.Error`."""
        found = self._database.execute(query, values or None)
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@lru_cache(maxsize=65_536)
def network_of(source: str) -> str | None:
    """Return the network of an address, or `None` for a text that is no address."""
    return address_ranges.network_of(source, ipv4_bits=24, ipv6_bits=48)


def part_of_day(time: str) -> str | None:
    """Return the part of the day of a recorded time, in UTC, or `None`."""
    hour = time[11:13]
    return _PARTS[int(hour) // 6] if hour.isascii() and hour.isdecimal() and int(hour) < len(_PARTS) * 6 else None
