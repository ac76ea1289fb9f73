"""Where addresses are: looked up in MaxMind-format databases that the operator has, never on the path of a check.

The events stay as they were written. `maxminddb` is part of the extra `audit`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import maxminddb

from oauth_core.net import address_ranges

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MOST_CACHED = 65_536
_LONGEST_NAME = 100
_COUNTRY_CODE = 2
_USUAL_ACCURACY = 100.0
"""Kilometres by which a position may be wrong, where the database does not say it."""


@dataclass(frozen=True, slots=True)
class Location:
    """The location of an address, as far as the databases know it."""

    country: str | None = None
    """ISO 3166-1, two capital letters."""
    as_number: str | None = None
    """The autonomous system, such as `AS3320`."""
    as_name: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    accuracy: float | None = None
    """Kilometres by which the position may be wrong."""

    @property
    def text(self) -> str:
        """The country and the provider on one line; empty if neither is known."""
        return " ".join(part for part in (self.country, self.as_number) if part is not None)

    def document(self) -> dict[str, str]:
        """The country and the provider as members of a JSON object, as far as they are known."""
        members = {"country": self.country, "as_number": self.as_number, "as_name": self.as_name}
        return {name: value for name, value in members.items() if value is not None}


UNKNOWN = Location()


@dataclass
class Locations:
    """Databases that are open. Close it after use; a file that was replaced is read when it is opened again.

    `faults` says which database cannot be used; the others go on. Files are read and not mapped into memory,
    because a mapped file that becomes shorter ends the process.
    """

    files: Sequence[Path] = ()
    faults: list[str] = field(default_factory=list)
    _readers: list[tuple[Path, maxminddb.Reader]] = field(default_factory=list)
    _cache: OrderedDict[str, Location] = field(default_factory=OrderedDict)

    def __enter__(self) -> Locations:
        for path in self.files:
            try:
                if not path.is_file():
                    self.faults.append(f"the location database {path} cannot be used: there is no such file")
                    continue
                self._readers.append((path, maxminddb.open_database(path, maxminddb.MODE_FILE)))
            except Exception as error:  # noqa: BLE001 - a broken file raises errors of many kinds
                self._fault(path, error)
        return self

    def __exit__(self, *_: object) -> None:
        for _path, reader in self._readers:
            reader.close()
        self._readers.clear()

    def of(self, source: object) -> Location:
        """Return the location of an address. That of a private address, or of another text, is not known."""
        if not self._readers or not isinstance(source, str):
            return UNKNOWN
        known = self._cache.get(source)
        if known is None:
            known = self._cache[source] = self._look_up(source)
            if len(self._cache) > _MOST_CACHED:
                self._cache.popitem(last=False)
        return known

    def _look_up(self, source: str) -> Location:
        address = address_ranges.public_address(source)
        if address is None:
            return UNKNOWN
        found: dict[str, Any] = {}
        for path, reader in list(self._readers):
            try:
                record = reader.get(address)
                parts = parts_of(record) if isinstance(record, dict) else {}
            except Exception as error:  # noqa: BLE001 - as above
                self._readers.remove((path, reader))
                reader.close()
                self._fault(path, error)
                continue
            found = parts | found
        return Location(**found) if found else UNKNOWN

    def _fault(self, path: Path, error: Exception) -> None:
        reason = "it is no MaxMind-format database, or it is damaged"
        if isinstance(error, PermissionError):
            reason = "it cannot be read"
        self.faults.append(f"the location database {path} cannot be used: {reason}")


def parts_of(record: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Location` that a record has: in the form of MaxMind and DB-IP, or that of IPinfo."""
    found: dict[str, Any] = {}
    country = record.get("country", record.get("country_code"))
    if isinstance(country, dict):
        country = country.get("iso_code")
    code = _text(country)
    if len(code) == _COUNTRY_CODE and code.isascii() and code.isalpha():
        found["country"] = code.upper()
    number, name = record.get("autonomous_system_number"), record.get("autonomous_system_organization")
    if isinstance(number, int) and not isinstance(number, bool) and number > 0:
        found["as_number"] = f"AS{number}"
    elif (text := _text(record.get("asn"))[:16])[2:].isdecimal():
        found["as_number"], name = text.upper(), record.get("as_name", name)
    if _text(name):
        found["as_name"] = _text(name)[:_LONGEST_NAME]
    place = record.get("location")
    return found | (_position(place) if isinstance(place, dict) else {})


def _position(place: dict[str, Any]) -> dict[str, float]:
    latitude, longitude, accuracy = (place.get(name) for name in ("latitude", "longitude", "accuracy_radius"))
    if not (isinstance(latitude, int | float) and isinstance(longitude, int | float)):
        return {}
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):  # noqa: PLR2004 - degrees
        return {}
    radius = float(accuracy) if isinstance(accuracy, int | float) and accuracy >= 0 else _USUAL_ACCURACY
    return {"latitude": float(latitude), "longitude": float(longitude), "accuracy": radius}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
