"""MaxMind-format databases for tests, of public addresses that the tests choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BERLIN, HAMBURG, LONDON, TOKYO = "81.2.69.1", "81.2.70.1", "5.62.60.1", "1.0.16.1"
"""Addresses that no private network has."""
LONDON_NETWORK = "2a00:23c4:7:8::/64"
"""An IPv6 address in London, as `oauth_web` records it: the network of 64 bits."""
CITIES = {
    BERLIN: ("DE", 52.5, 13.4),
    HAMBURG: ("DE", 53.5, 10.0),
    LONDON: ("GB", 51.5, -0.1),
    TOKYO: ("JP", 35.7, 139.7),
    LONDON_NETWORK: ("GB", 51.5, -0.1),
}


def write_database(path: Path, records: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write a database with a record for each address or network. The old file is replaced by a new one."""
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, int_type="auto", float_type="f64")
    for place, record in records.items():
        writer.insert_network(IPSet([place]), dict(record))  # type: ignore[no-untyped-call]
    made = path.with_suffix(".new")
    writer.to_db_file(str(made))
    return made.replace(path)


def cities(path: Path, accuracy: int = 20, **more: tuple[str, float, float]) -> Path:
    """Write a database of `CITIES`."""
    records = {
        address: {
            "country": {"iso_code": country},
            "location": {"latitude": latitude, "longitude": longitude, "accuracy_radius": accuracy},
        }
        for address, (country, latitude, longitude) in (CITIES | more).items()
    }
    return write_database(path, records)


def providers(path: Path) -> Path:
    """Write a database of the providers of the same addresses: two are of one provider."""
    numbers = {BERLIN: 3320, HAMBURG: 3320, LONDON: 2856, LONDON_NETWORK: 2856, TOKYO: 2497}
    return write_database(
        path,
        {
            address: {"autonomous_system_number": number, "autonomous_system_organization": f"Provider {number}"}
            for address, number in numbers.items()
        },
    )
