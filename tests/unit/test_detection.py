"""Each detection rule fires on its events, and not on similar ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.audit import EventKind
from oauth_core.refusals import DenyReason, OAuthReason
from tests.support import location_databases
from tests.unit import location_cases
from tests.unit.detection_rules import Case, Event, at, denied, found_by, refused, several, shipped

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def locations(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The databases of cities and of providers."""
    folder = tmp_path_factory.mktemp("locations")
    return (
        location_databases.cities(folder / "cities.mmdb"),
        location_databases.providers(folder / "providers.mmdb"),
    )


ONE, OTHER = "203.0.113.7", "198.51.100.9"
DAY = 24 * 60
COMMAND = EventKind.SERVICE_DISABLED
WORK = [at(COMMAND, -days * DAY + 4 * 60, operator="alice", service="notes") for days in range(1, 20)]
"""Commands of one operator at ten o'clock on each of nineteen earlier days."""
USED = [
    at(EventKind.TOKEN_ISSUED, -10 * DAY, user="mona", user_id=7, client_id="editor", grant_id="g1"),
    at(EventKind.TOKEN_ISSUED, -9 * DAY, user="mona", user_id=7, client_id="editor", grant_id="g2"),
]
CALLED = several(
    3, EventKind.ACCESS_ALLOWED, start=-5 * DAY, user="mona", user_id=7, service="notes", mcp_name="read_note"
)


def network(number: int) -> str:
    """An address in another network for each number."""
    return f"10.0.{number}.5"


def address(number: int) -> str:
    """Another address of the same network for each number."""
    return f"2001:db8:0:{number:x}::{number:x}"


FIRES: dict[str, list[Case]] = {
    "refresh_token_reuse": [("once", [at(EventKind.REFRESH_REUSED, grant_id="g1", client_id="c1")])],
    "refresh_token_repeated_elsewhere": [("once", [at(EventKind.REFRESH_REPEATED_ELSEWHERE, grant_id="g1")])],
    "grant_used_by_two": [
        (
            "both events of one grant",
            [
                at(EventKind.REFRESH_REPEATED_ELSEWHERE, grant_id="g1"),
                at(EventKind.REFRESH_REUSED, 90, grant_id="g1"),
            ],
        ),
        (
            "the reuse comes first",
            [
                at(EventKind.REFRESH_REUSED, 70, grant_id="g1"),
                at(EventKind.REFRESH_REPEATED_ELSEWHERE, 90, grant_id="g1"),
            ],
        ),
    ],
    "code_replay": [("once", [at(EventKind.CODE_REPLAYED, grant_id="g1", client_id="c1")])],
    "forged_tokens": [
        ("an unknown key", denied(10, DenyReason.UNKNOWN_KEY, source=ONE, every=0.5)),
        (
            "tokens and assertions",
            denied(5, DenyReason.BAD_SIGNATURE, source=ONE)
            + several(
                5,
                EventKind.TOKEN_REFUSED,
                reason=refused(OAuthReason.IDENTITY_BAD_SIGNATURE),
                source=ONE,
                start=60.5,
            ),
        ),
        (
            "assertions with unknown keys and algorithms",
            several(
                10,
                EventKind.TOKEN_REFUSED,
                source=ONE,
                every=0.5,
                reason=lambda number: refused(
                    (OAuthReason.IDENTITY_UNKNOWN_KEY, OAuthReason.IDENTITY_WRONG_ALGORITHM)[number % 2]
                ),
            ),
        ),
    ],
    "token_many_networks": [
        ("three networks", several(3, EventKind.ACCESS_ALLOWED, jti="t1", source=network, every=20)),
        (
            "three networks of IPv6",
            several(3, EventKind.ACCESS_ALLOWED, jti="t1", source=lambda number: f"2001:db8:{number}::1"),
        ),
    ],
    "grant_many_networks": [
        ("five networks", several(5, EventKind.TOKEN_REFRESHED, grant_id="g1", source=network, every=60)),
        (
            "five networks of IPv6, as the authorization server records them",
            several(
                5, EventKind.TOKEN_REFRESHED, grant_id="g1", source=lambda n: f"2001:db8:{n}:7::/64", every=60
            ),
        ),
    ],
    "revoked_token_used": [("five calls", denied(5, DenyReason.REVOKED, jti="t1"))],
    "token_at_other_services": [
        (
            "two services",
            denied(2, DenyReason.WRONG_AUDIENCE, jti="t1", service=lambda number: f"s{number}", every=59),
        )
    ],
    "user_code_guessing": [
        ("ten codes", several(10, EventKind.DEVICE_CODE_REFUSED, source=ONE)),
        ("ten addresses of one network", several(10, EventKind.DEVICE_CODE_REFUSED, source=address)),
    ],
    "guessing_from_many_networks": [
        ("fifty networks", several(50, EventKind.DEVICE_CODE_REFUSED, source=network, every=0.2)),
        (
            "wrong codes, tokens and secrets",
            denied(20, DenyReason.UNKNOWN_KEY, source=network, every=0.1)
            + several(
                20,
                EventKind.TOKEN_REFUSED,
                reason=refused(OAuthReason.CODE_UNKNOWN),
                source=lambda number: network(number + 20),
                every=0.1,
            )
            + several(
                10, EventKind.CLIENT_AUTHENTICATION_FAILED, source=lambda number: network(number + 40), every=0.1
            ),
        ),
    ],
    "client_secret_guessing": [
        (
            "ten secrets from many addresses",
            several(10, EventKind.CLIENT_AUTHENTICATION_FAILED, client_id="c1", source=network),
        ),
    ],
    "client_id_guessing": [
        (
            "five clients",
            several(5, EventKind.CLIENT_AUTHENTICATION_FAILED, client_id=lambda n: f"c{n}", source=ONE),
        ),
    ],
    "secret_guessing": [
        (
            "ten secrets within a second",
            [
                at(EventKind.CLIENT_AUTHENTICATION_FAILED, source=ONE, client_id="c1"),
                at(EventKind.CLIENT_AUTHENTICATION_FAILED, 60.01, source=ONE, count=9),
            ],
        ),
        (
            "ten codes of any kind",
            several(
                8,
                EventKind.TOKEN_REFUSED,
                source=ONE,
                reason=lambda number: refused(
                    (
                        OAuthReason.CODE_UNKNOWN,
                        OAuthReason.CODE_VERIFIER_WRONG,
                        OAuthReason.DEVICE_CODE_UNKNOWN,
                        OAuthReason.REFRESH_TOKEN_NOT_VALID,
                    )[number % 4]
                ),
            )
            + several(2, EventKind.CLIENT_MANAGEMENT_REFUSED, source=ONE),
        ),
    ],
    "new_client": [
        (
            "a client of a known person",
            [*USED, at(EventKind.TOKEN_ISSUED, user="mona", user_id=7, client_id="stranger", grant_id="g3")],
        ),
        (
            "a client that was used more than thirty days ago",
            [
                at(EventKind.TOKEN_ISSUED, -31 * DAY, user="mona", user_id=7, client_id="stranger"),
                *USED,
                at(EventKind.TOKEN_ISSUED, user="mona", user_id=7, client_id="stranger", grant_id="g3"),
            ],
        ),
    ],
    "new_tool": [
        (
            "a tool of a known person",
            [*CALLED, at(EventKind.ACCESS_ALLOWED, user_id=7, service="notes", mcp_name="delete_all")],
        ),
        (
            "a tool of the same name at another service",
            [*CALLED, at(EventKind.ACCESS_ALLOWED, user_id=7, service="mail", mcp_name="read_note")],
        ),
    ],
    "excessive_requests": [("twenty refusals", several(20, EventKind.RATE_LIMITED, source=ONE, every=0.5))],
    "check_errors": [("fifty errors", denied(50, DenyReason.TOKEN_STATE_UNKNOWN, every=0.1, service="notes"))],
    "sign_in_errors": [("ten errors", several(10, EventKind.SIGN_IN_FAILED, source=network))],
    "audit_interrupted": [("once", [at(EventKind.AUDIT_INTERRUPTED, reason="12 events")])],
    "checkpoint_conflict": [
        ("once", [at(EventKind.AUDIT_CHECKPOINT_CONFLICT, key="node-1", reason="rolled back")])
    ],
    "operator_unusual_hour": [
        ("a command in the night", [*WORK, at(COMMAND, 19 * 60, operator="alice", service="notes")]),
    ],
}

SILENT: dict[str, list[Case]] = {
    "refresh_token_reuse": [
        ("a repetition", [at(EventKind.REFRESH_REPEATED, grant_id="g1")]),
        ("before the period", [at(EventKind.REFRESH_REUSED, -1, grant_id="g1")]),
        ("after the period", [at(EventKind.REFRESH_REUSED, DAY, grant_id="g1")]),
    ],
    "refresh_token_repeated_elsewhere": [
        ("from the same address", [at(EventKind.REFRESH_REPEATED, grant_id="g1")])
    ],
    "grant_used_by_two": [
        ("one event twice", several(2, EventKind.REFRESH_REUSED, grant_id="g1")),
        (
            "two grants",
            [at(EventKind.REFRESH_REPEATED_ELSEWHERE, grant_id="g1"), at(EventKind.REFRESH_REUSED, grant_id="g2")],
        ),
        (
            "more than a day between",
            [
                at(EventKind.REFRESH_REPEATED_ELSEWHERE, -DAY + 59, grant_id="g1"),
                at(EventKind.REFRESH_REUSED, 60, grant_id="g1"),
            ],
        ),
        ("no grant", [at(EventKind.REFRESH_REPEATED_ELSEWHERE), at(EventKind.REFRESH_REUSED)]),
    ],
    "code_replay": [
        ("an unknown code", [at(EventKind.TOKEN_REFUSED, reason=refused(OAuthReason.CODE_UNKNOWN))]),
    ],
    "forged_tokens": [
        ("one below", denied(9, DenyReason.UNKNOWN_KEY, source=ONE)),
        (
            "two addresses",
            denied(9, DenyReason.UNKNOWN_KEY, source=ONE) + denied(9, DenyReason.BAD_SIGNATURE, source=OTHER),
        ),
        ("slowly", denied(20, DenyReason.UNKNOWN_KEY, source=ONE, every=2)),
        ("expired tokens", denied(20, DenyReason.EXPIRED, source=ONE, every=0.1)),
        ("no address is known", denied(20, DenyReason.UNKNOWN_KEY, every=0.1)),
    ],
    "token_many_networks": [
        ("two networks", several(20, EventKind.ACCESS_ALLOWED, jti="t1", source=lambda n: network(n % 2))),
        ("one network", several(20, EventKind.ACCESS_ALLOWED, jti="t1", source=lambda n: f"10.0.0.{n}")),
        ("several tokens", several(9, EventKind.ACCESS_ALLOWED, jti=lambda n: f"t{n}", source=network)),
        ("slowly", several(9, EventKind.ACCESS_ALLOWED, jti="t1", source=network, every=31)),
        (
            "IPv4 written as IPv6",
            several(2, EventKind.ACCESS_ALLOWED, jti="t1", source=network)
            + several(2, EventKind.ACCESS_ALLOWED, jti="t1", source=lambda n: f"::ffff:10.0.{n}.9"),
        ),
        ("no addresses", several(9, EventKind.ACCESS_ALLOWED, jti="t1", source=lambda n: f"unknown {n}")),
    ],
    "grant_many_networks": [
        ("four networks", several(40, EventKind.TOKEN_REFRESHED, grant_id="g1", source=lambda n: network(n % 4))),
        ("slowly", several(9, EventKind.TOKEN_REFRESHED, grant_id="g1", source=network, every=91)),
        (
            "intents alone",
            several(9, EventKind.TOKEN_REFRESHED, grant_id="g1", source=network, outcome="intent"),
        ),
    ],
    "revoked_token_used": [
        ("one below", denied(4, DenyReason.REVOKED, jti="t1")),
        ("several tokens", denied(20, DenyReason.REVOKED, jti=lambda n: f"t{n % 6}", every=0.4)),
        ("slowly", denied(20, DenyReason.REVOKED, jti="t1", every=3)),
        ("for another reason", denied(20, DenyReason.EXPIRED, jti="t1")),
    ],
    "token_at_other_services": [
        ("one service often", denied(50, DenyReason.WRONG_AUDIENCE, jti="t1", service="s1")),
        ("two tokens", denied(2, DenyReason.WRONG_AUDIENCE, jti=lambda n: f"t{n}", service=lambda n: f"s{n}")),
        ("slowly", denied(5, DenyReason.WRONG_AUDIENCE, jti="t1", service=lambda n: f"s{n}", every=61)),
        ("services that are not allowed", denied(5, DenyReason.FORBIDDEN_BY_POLICY, jti="t1", service=network)),
    ],
    "user_code_guessing": [
        ("one below", several(9, EventKind.DEVICE_CODE_REFUSED, source=ONE)),
        ("several addresses", several(20, EventKind.DEVICE_CODE_REFUSED, source=network)),
        ("a denial", several(20, EventKind.DEVICE_DENIED, source=ONE, every=0.1)),
    ],
    "client_secret_guessing": [
        ("one below", several(9, EventKind.CLIENT_AUTHENTICATION_FAILED, client_id="c1")),
        ("slowly", several(30, EventKind.CLIENT_AUTHENTICATION_FAILED, client_id="c1", every=1.2)),
        (
            "several clients",
            several(30, EventKind.CLIENT_AUTHENTICATION_FAILED, client_id=lambda n: f"c{n % 9}", every=0.3),
        ),
    ],
    "client_id_guessing": [
        (
            "four clients",
            several(40, EventKind.CLIENT_AUTHENTICATION_FAILED, client_id=lambda n: f"c{n % 4}", source=ONE),
        ),
        (
            "several addresses",
            several(40, EventKind.CLIENT_AUTHENTICATION_FAILED, client_id=lambda n: f"c{n}", source=network),
        ),
    ],
    "secret_guessing": [
        (
            "eight in place of one event",
            [
                at(EventKind.CLIENT_MANAGEMENT_REFUSED, source=ONE),
                at(EventKind.CLIENT_MANAGEMENT_REFUSED, source=ONE, count=8),
            ],
        ),
        (
            "one below",
            several(9, EventKind.TOKEN_REFUSED, source=ONE, reason=refused(OAuthReason.CODE_UNKNOWN)),
        ),
        (
            "another refusal",
            several(30, EventKind.TOKEN_REFUSED, source=ONE, reason=refused(OAuthReason.GRANT_ENDED), every=0.1),
        ),
        (
            "several addresses",
            several(30, EventKind.TOKEN_REFUSED, source=network, reason=refused(OAuthReason.CODE_UNKNOWN)),
        ),
    ],
    "new_client": [
        ("a new person", [at(EventKind.TOKEN_ISSUED, user_id=8, client_id="stranger")]),
        (
            "a person who is known for an hour",
            [
                at(EventKind.TOKEN_ISSUED, 0, user_id=8, client_id="editor"),
                at(EventKind.TOKEN_ISSUED, 60, user_id=8, client_id="stranger"),
            ],
        ),
        ("another person is known", [*USED, at(EventKind.TOKEN_ISSUED, user_id=8, client_id="editor")]),
        ("a known client", [*USED, at(EventKind.TOKEN_ISSUED, user_id=7, client_id="editor")]),
        (
            "only the intent",
            [*USED, at(EventKind.TOKEN_ISSUED, user_id=7, client_id="stranger", outcome="intent")],
        ),
        ("a machine", [*USED, at(EventKind.TOKEN_ISSUED, client_id="machine")]),
    ],
    "new_tool": [
        (
            "a known tool",
            [*CALLED, at(EventKind.ACCESS_ALLOWED, user_id=7, service="notes", mcp_name="read_note")],
        ),
        ("a new person", [*CALLED, at(EventKind.ACCESS_ALLOWED, user_id=8, service="notes", mcp_name="x")]),
        ("a call without a tool", [*CALLED, at(EventKind.ACCESS_ALLOWED, user_id=7, service="notes")]),
        (
            "a call that was refused",
            [*CALLED, at(EventKind.ACCESS_DENIED, user_id=7, service="notes", mcp_name="delete_all")],
        ),
    ],
    "guessing_from_many_networks": [
        ("one below", several(200, EventKind.DEVICE_CODE_REFUSED, source=lambda n: network(n % 49), every=0.05)),
        ("one network", several(200, EventKind.DEVICE_CODE_REFUSED, source=address, every=0.05)),
        ("slowly", several(200, EventKind.DEVICE_CODE_REFUSED, source=network, every=0.21)),
        ("expired tokens", denied(100, DenyReason.EXPIRED, source=network, every=0.1)),
    ],
    "excessive_requests": [
        ("one below", several(19, EventKind.RATE_LIMITED, source=ONE, every=0.1)),
        ("several addresses", several(60, EventKind.RATE_LIMITED, source=lambda n: network(n % 4), every=0.1)),
        ("slowly", several(60, EventKind.RATE_LIMITED, source=ONE, every=0.6)),
    ],
    "check_errors": [
        ("one below", denied(49, DenyReason.TOKEN_STATE_UNKNOWN, every=0.1)),
        ("refusals of callers", denied(200, DenyReason.MISSING_TOKEN, every=0.01)),
        ("slowly", denied(100, DenyReason.INTERNAL_ERROR, every=0.11)),
    ],
    "sign_in_errors": [
        ("one below", several(9, EventKind.SIGN_IN_FAILED)),
        ("refused people", several(30, EventKind.SIGN_IN_REFUSED, every=0.1)),
    ],
    "audit_interrupted": [("a usual event", [at(EventKind.ACCESS_ALLOWED)])],
    "checkpoint_conflict": [("a usual event", [at(EventKind.ACCESS_ALLOWED)])],
    "operator_unusual_hour": [
        ("the usual part of the day", [*WORK, at(COMMAND, 5 * 60, operator="alice")]),
        ("a new operator", [*WORK, at(COMMAND, 19 * 60, operator="bob")]),
        ("an operator of six days", [*WORK[:6], at(COMMAND, 19 * 60, operator="alice")]),
        ("only the intent", [*WORK, at(COMMAND, 19 * 60, operator="alice", outcome="intent")]),
        (
            "a part of the day that was usual a week ago",
            [*WORK, at(COMMAND, -7 * DAY + 19 * 60, operator="alice"), at(COMMAND, 19 * 60, operator="alice")],
        ),
    ],
}


def cases(table: dict[str, list[Case]]) -> list[Any]:
    return [
        pytest.param(name, given, id=f"{name}: {label}") for name, rows in table.items() for label, given in rows
    ]


def test_every_shipped_rule_has_events_that_fire_it_and_others_that_do_not() -> None:
    fires, silent = FIRES | location_cases.FIRES, SILENT | location_cases.QUIET
    assert fires.keys() == silent.keys() == shipped().keys()


@pytest.mark.parametrize(("name", "given"), cases(FIRES | location_cases.FIRES))
def test_the_rule_fires(name: str, given: list[Event], tmp_path: Path, locations: tuple[Path, Path]) -> None:
    [finding] = found_by(name, given, tmp_path, locations=locations)
    assert finding.rule.name == name


@pytest.mark.parametrize(("name", "given"), cases(SILENT | location_cases.QUIET))
def test_the_rule_does_not_fire(
    name: str, given: list[Event], tmp_path: Path, locations: tuple[Path, Path]
) -> None:
    assert found_by(name, given, tmp_path, locations=locations) == []
