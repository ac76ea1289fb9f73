"""Events with locations that fire a detection rule, and others that do not; the databases know the places."""

from __future__ import annotations

from typing import Any

from oauth_core.audit import EventKind
from tests.support.location_databases import BERLIN, HAMBURG, LONDON, LONDON_NETWORK, TOKYO
from tests.unit.detection_rules import Case, Event, at

DAY = 24 * 60
_MONA: dict[str, Any] = {"user": "mona", "user_id": 7}


def sign_in(minutes: float, source: str, **fields: Any) -> Event:
    return at(EventKind.SIGN_IN_SUCCEEDED, minutes, source=source, **{**_MONA, **fields})


def refresh(minutes: float, source: str, **fields: Any) -> Event:
    given = {"client_id": "editor", "grant_id": "g1", **_MONA, **fields}
    return at(EventKind.TOKEN_REFRESHED, minutes, source=source, **given)


def call(minutes: float, source: str, **fields: Any) -> Event:
    given = {"client_id": "editor", "jti": "t1", **_MONA, **fields}
    return at(EventKind.ACCESS_ALLOWED, minutes, source=source, **given)


AT_HOME = [sign_in(-days * DAY, BERLIN) for days in (9, 5, 2)]
WORKED = [refresh(-days * DAY, BERLIN) for days in (9, 5, 2)]
PRIVATE, UNKNOWN, TEXT = "10.1.2.3", "9.9.9.9", "unix"

FIRES: dict[str, list[Case]] = {
    "new_country": [
        ("a sign-in elsewhere", [*AT_HOME, sign_in(60, LONDON)]),
        ("an approved device elsewhere", [*AT_HOME, sign_in(60, LONDON, event="device.approved")]),
        ("a network of IPv6, as the authorization server records it", [*AT_HOME, sign_in(60, LONDON_NETWORK)]),
        ("a mapped address", [*AT_HOME, sign_in(60, f"::ffff:{LONDON}")]),
    ],
    "new_country_of_client": [
        ("a refresh elsewhere", [*WORKED, refresh(60, TOKYO)]),
        ("a first token elsewhere", [*WORKED, refresh(60, TOKYO, event="token.issued")]),
    ],
    "new_network_of_person": [("another provider", [*AT_HOME, sign_in(60, LONDON)])],
    "new_network_of_client": [("another provider", [*WORKED, refresh(60, LONDON)])],
    "impossible_travel": [
        ("around the world in an hour", [sign_in(60, BERLIN), sign_in(120, TOKYO)]),
        ("and back", [sign_in(60, TOKYO), sign_in(100, BERLIN)]),
        ("with IPv6", [sign_in(60, LONDON_NETWORK), sign_in(100, TOKYO)]),
        ("at the same moment", [sign_in(60, BERLIN), sign_in(60, TOKYO)]),
        (
            "with events of private addresses between",
            [
                sign_in(60, BERLIN),
                sign_in(65, PRIVATE),
                sign_in(70, UNKNOWN),
                sign_in(75, TOKYO),
            ],
        ),
    ],
    "impossible_travel_of_client": [
        ("calls with one token", [call(60, BERLIN), call(70, TOKYO)]),
        ("a call and a refresh", [call(60, BERLIN), refresh(70, TOKYO)]),
    ],
    "many_countries": [("three", [call(60, BERLIN), call(90, LONDON, client_id="other"), refresh(120, TOKYO)])],
}

QUIET: dict[str, list[Case]] = {
    "new_country": [
        ("at home", [*AT_HOME, sign_in(60, HAMBURG)]),
        ("a new person", [sign_in(60, BERLIN), sign_in(90, LONDON)]),
        ("an address that is private", [*AT_HOME, sign_in(60, PRIVATE)]),
        ("an address that the database does not know", [*AT_HOME, sign_in(60, UNKNOWN)]),
        ("a text that is no address", [*AT_HOME, sign_in(60, TEXT)]),
        ("no address", [*AT_HOME, at(EventKind.SIGN_IN_SUCCEEDED, 60, **_MONA)]),
        ("there a week ago", [*AT_HOME, sign_in(-7 * DAY, LONDON), sign_in(60, LONDON)]),
        ("a refusal", [*AT_HOME, sign_in(60, LONDON, event="sign_in.refused", outcome="denied")]),
        ("a country that the event itself names", [*AT_HOME, sign_in(60, BERLIN, country="XX")]),
    ],
    "new_country_of_client": [
        ("at home", [*WORKED, refresh(60, HAMBURG)]),
        ("an address that is private", [*WORKED, refresh(60, PRIVATE)]),
        ("a call", [*WORKED, call(60, TOKYO)]),
    ],
    "new_network_of_person": [
        ("another city, the same provider", [*AT_HOME, sign_in(60, HAMBURG)]),
        ("an address that is private", [*AT_HOME, sign_in(60, PRIVATE)]),
    ],
    "new_network_of_client": [
        ("another city, the same provider", [*WORKED, refresh(60, HAMBURG)]),
        ("an address that is private", [*WORKED, refresh(60, PRIVATE)]),
    ],
    "impossible_travel": [
        ("a flight", [sign_in(60, BERLIN), sign_in(60 + 120, LONDON)]),
        ("the next city", [sign_in(60, BERLIN), sign_in(61, HAMBURG)]),
        ("two people", [sign_in(60, BERLIN), sign_in(70, TOKYO, user="lisa", user_id=8)]),
        ("a day later", [sign_in(60, BERLIN), sign_in(60 + DAY, TOKYO)]),
        ("private and unknown addresses", [sign_in(60, BERLIN), sign_in(61, PRIVATE), sign_in(62, UNKNOWN)]),
        ("calls of a client in a cloud", [sign_in(60, BERLIN), call(70, TOKYO)]),
    ],
    "impossible_travel_of_client": [
        ("two clients", [call(60, BERLIN), call(70, TOKYO, client_id="other")]),
        ("refused calls", [call(60, BERLIN), call(70, TOKYO, event="access.denied", outcome="denied")]),
        ("the next city", [call(60, BERLIN), call(61, HAMBURG)]),
    ],
    "many_countries": [
        ("two", [call(60, BERLIN), call(90, LONDON), call(100, HAMBURG)]),
        ("three in a day", [call(60, BERLIN), call(60 + 7 * 60, LONDON), call(60 + 14 * 60, TOKYO)]),
    ],
}
