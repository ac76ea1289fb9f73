"""Locations of addresses: what databases say, broken ones, and what searches and alerts show."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.audit import EventKind
from portcullis.alerts.looking import Gateway, Looker
from portcullis.alerts.outbox import Outbox
from portcullis.audit.locations import Location, Locations, parts_of
from portcullis.audit.sealing import Sealing
from portcullis.cli.main import cli
from tests.support.audit_sealing import START, SealedWorld
from tests.support.audit_segments import SegmentWriter, write_segment
from tests.support.location_databases import (
    BERLIN,
    LONDON,
    LONDON_NETWORK,
    TOKYO,
    cities,
    providers,
    write_database,
)
from tests.support.property_tests import examples
from tests.unit.detection_rules import at, shipped
from tests.unit.location_cases import AT_HOME, sign_in

if TYPE_CHECKING:
    from collections.abc import Iterator

SPECIAL = (
    *("10.0.0.1", "192.168.1.1", "172.16.0.1", "127.0.0.1", "169.254.1.1", "100.64.0.1", "255.255.255.255"),
    *("81.2.69.1/64", "81.2.69.1/24", "fd00:1:2:3::/64", "2a00:23c4:7:8::/48", "2a00:23c4:7:8::/64/64"),
    *("::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "2001:db8::1", "203.0.113.7"),
)


def test_an_address_has_what_all_databases_say_about_it(tmp_path: Path) -> None:
    files = cities(tmp_path / "cities.mmdb"), providers(tmp_path / "providers.mmdb")
    with Locations(files) as locations:
        for address in (BERLIN, f"::ffff:{BERLIN}"):
            assert locations.of(address) == Location("DE", "AS3320", "Provider 3320", 52.5, 13.4, 20.0)
        assert locations.of(BERLIN).text == "DE AS3320"
        assert locations.of(LONDON_NETWORK).text == "GB AS2856"
        assert locations.of("9.9.9.9") == Location()
        assert locations.faults == []


@pytest.mark.parametrize("address", [*SPECIAL, "", "unix", "1.2.3", None, 7, True])
def test_a_private_address_has_no_location_also_where_a_database_has_one(tmp_path: Path, address: object) -> None:
    every = write_database(tmp_path / "all.mmdb", {"0.0.0.0/0": {"country": {"iso_code": "XX"}}})
    with Locations([every]) as locations:
        assert locations.of(BERLIN).country == "XX"
        assert locations.of(address) == Location()


@pytest.mark.parametrize(
    ("record", "parts"),
    [
        ({"country": "us", "asn": "AS15169", "as_name": "Google"}, ("US", "AS15169", "Google")),
        ({"country_code": "NL"}, ("NL", None, None)),
        ({"country": {"iso_code": "Germany"}}, (None, None, None)),
        ({"country": {"iso_code": 49}, "autonomous_system_number": "3320"}, (None, None, None)),
        ({"autonomous_system_number": 7, "autonomous_system_organization": 5}, (None, "AS7", None)),
        ({"location": {"latitude": 95.0, "longitude": 3.0}}, (None, None, None)),
        ({"location": "here", "country": []}, (None, None, None)),
    ],
)
def test_records_of_other_makers_and_strange_values_are_read(
    record: dict[str, Any], parts: tuple[Any, ...]
) -> None:
    found = Location(**parts_of(record))
    assert (found.country, found.as_number, found.as_name) == parts
    assert found.latitude is None


@given(st.binary(max_size=4000))
def test_a_file_of_any_bytes_is_a_fault_and_no_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.mmdb"
        path.write_bytes(data)
        with Locations([path]) as locations:
            assert locations.of(BERLIN) == Location()
            assert len(locations.faults) == 1
            assert "is no MaxMind-format database, or it is damaged" in locations.faults[0]


@examples(30)
@given(st.data())
def test_a_damaged_database_never_ends_a_look_up_with_an_error(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = cities(Path(folder) / "cities.mmdb")
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
        with Locations([path]) as locations:
            for address in (BERLIN, LONDON, TOKYO, "9.9.9.9"):
                locations.of(address)


def test_a_missing_file_is_named_and_the_other_database_is_used(tmp_path: Path) -> None:
    with Locations([tmp_path / "none.mmdb", providers(tmp_path / "providers.mmdb")]) as locations:
        assert locations.of(BERLIN).as_number == "AS3320"
        assert locations.faults == [
            f"the location database {tmp_path}/none.mmdb cannot be used: there is no such file"
        ]


def test_a_path_at_which_the_system_looks_for_no_file_is_a_fault_of_this_database_alone(tmp_path: Path) -> None:
    longer_than_names = tmp_path / ("x" * 300)
    with Locations([longer_than_names, providers(tmp_path / "providers.mmdb")]) as locations:
        assert locations.of(BERLIN).as_number == "AS3320"
        [fault] = locations.faults
    assert fault.startswith(f"the location database {longer_than_names} cannot be used")


# -- in searches -----------------------------------------------------------------------------------------------


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    given = [
        at(EventKind.SIGN_IN_SUCCEEDED, user="mona", user_id=7, source=source) for source in (BERLIN, "10.0.0.1")
    ]
    write_segment(tmp_path / "audit", batches=[given])
    return tmp_path / "audit"


def search(audit_dir: Path, *words: str) -> str:
    return CliRunner().invoke(cli, ["audit", *words, "--audit-dir", str(audit_dir)]).output


def test_searches_and_timelines_show_locations_and_the_event_stays_as_written(
    record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert " DE" not in search(record, "search")
    monkeypatch.setenv("DETECTION_COUNTRY_DATABASE", str(cities(tmp_path / "cities.mmdb")))
    monkeypatch.setenv("DETECTION_NETWORK_DATABASE", str(providers(tmp_path / "providers.mmdb")))
    assert f"{BERLIN} DE AS3320" in search(record, "search")
    assert f"from={BERLIN} DE AS3320" in search(record, "timeline", "mona")
    first, second = map(json.loads, search(record, "search", "--json").splitlines())
    assert (first["country"], first["as_number"], first["as_name"]) == ("DE", "AS3320", "Provider 3320")
    assert "country" not in second


def test_the_settings_file_of_this_folder_names_the_databases_too(record: Path, tmp_path: Path) -> None:
    path = cities(tmp_path / "cities.mmdb")
    text = 'issuer = "http://localhost:8080"\n[[services]]\nname = "time"\ncommand = ["mcp-server-time"]\n'
    (tmp_path / "portcullis.toml").write_text(
        f'{text}[detection]\ncountry_database = "{path}"\n', encoding="utf-8"
    )
    assert f"{BERLIN} DE" in search(record, "search")


def test_a_broken_database_is_named_and_the_search_continues(
    record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.mmdb"
    broken.write_bytes(b"broken")
    monkeypatch.setenv("DETECTION_COUNTRY_DATABASE", str(broken))
    shown = search(record, "search")
    assert BERLIN in shown
    assert f"the location database {broken} cannot be used" in shown


# -- in alerts -------------------------------------------------------------------------------------------------


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "alerts.sqlite3")
    yield made
    made.close()


def test_a_database_that_is_replaced_is_used_by_the_next_look_and_a_broken_one_stops_no_other_rule(
    tmp_path: Path, outbox: Outbox
) -> None:
    world, path = SealedWorld(tmp_path), tmp_path / "cities.mmdb"
    path.write_bytes(b"broken")
    now = START.timestamp() + 3600
    looker = Looker(
        world.audit_dir,
        [shipped()["new_country"], shipped()["refresh_token_reuse"]],
        {"hook": "low"},
        Gateway("https://gate.example", "node-1"),
        lambda: Sealing(world.audit_dir, world.key.public),
        window=3600,
        interval=60,
        locations=[path],
        now=lambda: now,
        monotonic=lambda: now,
        processor=lambda: 0.0,
    )
    writer = SegmentWriter(world.audit_dir)
    writer.write(*AT_HOME, at(EventKind.REFRESH_REUSED, 30, grant_id="g1"))
    world.seal()
    looker.step(outbox)
    assert [one.alert.rule for one in outbox.newest(9)] == ["refresh_token_reuse"]
    assert f"the location database {path} cannot be used" in (outbox.last_look()[1] or "")
    cities(path)
    writer.write(sign_in(59, LONDON))
    world.seal()
    now += 60
    looker.step(outbox)
    assert outbox.last_look()[1] is None
    [alert] = [one.alert for one in outbox.newest(9) if one.alert.rule == "new_country"]
    assert alert.values["country"] == {"shown": ["GB"], "count": 1}
    assert "countries: GB" in alert.text()


def test_without_a_database_the_rules_that_need_one_are_left_out_without_a_fault(
    tmp_path: Path, outbox: Outbox
) -> None:
    assert {name for name, rule in shipped().items() if rule.needs_location} == {
        *("new_country", "new_country_of_client", "new_network_of_client", "new_network_of_person"),
        *("impossible_travel", "impossible_travel_of_client", "many_countries"),
    }
    world = SealedWorld(tmp_path)
    SegmentWriter(world.audit_dir).write(*AT_HOME, sign_in(50, LONDON))
    world.seal()
    result = CliRunner().invoke(
        cli,
        ["audit", "detect", "--audit-dir", str(world.audit_dir), "--rule", "new_country", "--since", "2026-11-30"],
    )
    assert (result.exit_code, "0 events read" in result.stderr) == (0, True)
