"""`audit timeline` follows a token to its grant, its client and its person; `audit show` shows one event."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from portcullis.audit import identities
from portcullis.audit.identities import BelongsTo, IdentityError, IdentityKind
from portcullis.audit.parquet import compaction
from portcullis.audit.parquet.record import Record
from portcullis.cli.main import cli
from tests.support.audit_events import MINUTES, NAMES, write_boots
from tests.support.audit_segments import BOOT, SegmentWriter, event, write_segment
from tests.support.property_tests import examples

if TYPE_CHECKING:
    from click.testing import Result

OWNER: dict[str, Any] = {"user": "octocat", "user_id": 583231}
OTHER: dict[str, Any] = {"user": "mona", "user_id": 7}
GRANT: dict[str, Any] = {"client_id": "client-1", "grant_id": "grant-1"}


def run(folder: Path, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["audit", command, "--audit-dir", str(folder), *arguments])


def numbers(result: Result) -> list[int]:
    """The numbers of the shown events, which are the seconds of their times."""
    assert result.exit_code == 0, result.output
    return [int(json.loads(line)["time"][17:19]) for line in result.stdout.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The record of an authorization server and of a check service, with two people, two clients, two grants."""

    def made(number: int, name: str, outcome: str = "success", **fields: Any) -> dict[str, object]:
        one = event(number, event=name, outcome=outcome, **fields)
        del one["call"]
        return one

    web = [
        made(1, "client.registered", client_id="client-1"),
        made(2, "sign_in.succeeded", **OWNER),
        made(3, "token.issued", jti="token-1", **GRANT, **OWNER),
        made(4, "token.issued", jti="token-9", client_id="client-2", grant_id="grant-2", **OTHER),
        made(6, "token.refreshed", "intent", **GRANT, **OWNER),
        made(6, "token.refreshed", jti="token-2", **GRANT, **OWNER),
        made(9, "refresh.reused", "denied", **GRANT),
        made(11, "token.issued", jti="token-3", client_id="client-2", grant_id="grant-3", **OWNER),
    ]
    check = [
        made(5, "access.allowed", "allowed", jti="token-1", client_id="client-1", service="notes", **OWNER),
        made(7, "access.allowed", "allowed", jti="token-2", client_id="client-1", service="time", **OWNER),
        made(8, "access.allowed", "allowed", jti="token-9", client_id="client-2", service="time", **OTHER),
        made(12, "access.denied", "denied", jti="token-2", client_id="client-1", reason="revoked", **OWNER),
    ]
    command = [
        made(10, "user.blocked", operator="root", **OWNER),
        made(13, "client.revoked", operator="root", client_id="client-2"),
        made(14, "everybody.revoked", operator="root"),
    ]
    for writer, batch in (("oauth_web", web), ("ext_authz.0", check), ("command", command)):
        write_segment(tmp_path, writer, batches=[batch])
    return tmp_path


@pytest.mark.parametrize("identity", ["token-1", "token-2", "token:token-1", "grant:grant-1", "grant-1"])
def test_a_token_is_shown_with_its_grant_and_related_events_of_its_client_and_person(
    folder: Path, identity: str
) -> None:
    assert numbers(run(folder, "timeline", identity, "--json")) == [1, 2, 3, 5, 6, 6, 7, 9, 10, 12, 14]


@pytest.mark.parametrize(
    "identity", ["octocat", "OctoCat", "583231", "login:octocat", "id:583231", "user:octocat"]
)
def test_a_person_is_shown_with_all_grants_and_with_events_that_name_only_the_grant(
    folder: Path, identity: str
) -> None:
    assert numbers(run(folder, "timeline", identity, "--json")) == [2, 3, 5, 6, 6, 7, 9, 10, 11, 12, 14]


def test_a_client_is_shown_with_all_its_people(folder: Path) -> None:
    assert numbers(run(folder, "timeline", "client-2", "--json")) == [4, 8, 11, 13, 14]


def test_the_period_limits_the_shown_events_and_not_the_links(folder: Path) -> None:
    options = ("--since", "2026-11-30T06:00:07Z", "--until", "2026-11-30T06:00:12Z", "--json")
    assert numbers(run(folder, "timeline", "token-1", *options)) == [7, 9, 10]


def test_the_text_has_the_links_the_days_and_the_extent(folder: Path) -> None:
    write_segment(
        folder,
        "oauth_web",
        "20261201T060000Z-0123abcd",
        [[{**event(1), "time": "2026-12-01T06:00:01.000000Z", **OWNER, "event": "session.ended", "call": "x"}]],
    )
    text = run(folder, "timeline", "octocat").stdout
    head, first, second, extent, last = text.split("\n\n")
    assert head.splitlines()[0] == "user octocat"
    assert "client-1, client-2" in head
    assert "grant-1, grant-3" in head
    assert "octocat, #583231" in head
    assert first.splitlines()[0] == "2026-11-30"
    assert second.splitlines()[0] == "2026-12-01"
    assert "06:00:09.000000  refresh.reused" in first
    assert "grant=grant-1" in first
    assert "access.allowed (2)" in extent
    assert "notes (1), time (1)" in extent
    assert "revoked (1)" in extent
    assert "token.refreshed (1)" in extent, "an intent is the same step"
    assert last.startswith("12 events; ")


@examples(60)
@given(st.lists(MINUTES, min_size=1, max_size=3), st.sampled_from(list(IdentityKind)), NAMES, st.booleans())
def test_the_prefilters_leave_out_no_event_of_an_identity(
    boots: list[list[tuple[int, dict[str, Any]]]], kind: IdentityKind, name: str, with_copies: bool
) -> None:
    with tempfile.TemporaryDirectory() as place:
        written = write_boots(Path(place), boots)
        if with_copies:
            compaction.compact(Path(place), now=datetime(2026, 12, 1, 1, tzinfo=UTC), report=lambda _line: None)
        record = Record(Path(place))
        try:
            identity = identities.find(f"{kind.value}:{name}", record.events)
        except IdentityError:
            return
        chosen = BelongsTo(identity)
        found = [one.fields for one in record.events(chosen)]
    assert record.reading.faults == []
    assert sorted(map(json.dumps, found)) == sorted(json.dumps(one) for one in written if chosen.matches(one))
    assert found


def test_an_identity_that_is_not_in_the_record_is_an_error(folder: Path) -> None:
    result = run(folder, "timeline", "nobody-1")
    assert result.exit_code == 1
    assert "the record has no user or client or grant or token 'nobody-1'" in result.output
    assert run(folder, "timeline", "user:client-1").exit_code == 1


def test_an_ambiguous_name_must_be_written_with_its_kind(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[event(1, user="same"), event(2, client_id="same")]])
    result = run(tmp_path, "timeline", "same")
    assert result.exit_code == 1
    assert "write user:same or client:same" in result.output
    assert numbers(run(tmp_path, "timeline", "client:same", "--json")) == [2]


def test_the_id_of_a_client_can_be_a_url(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[event(1, client_id="https://app.example/c"), event(2)]])
    assert numbers(run(tmp_path, "timeline", "https://app.example/c", "--json")) == [1]


def test_a_login_of_two_accounts_is_reported(tmp_path: Path) -> None:
    batch = [event(1, user="alice", user_id=1), event(2, user="alice", user_id=2), event(3, user="al", user_id=1)]
    write_segment(tmp_path, batches=[batch])
    assert "Several accounts had this login" in run(tmp_path, "timeline", "alice").stdout
    assert numbers(run(tmp_path, "timeline", "alice", "--json")) == [1, 2, 3]
    assert numbers(run(tmp_path, "timeline", "id:2", "--json")) == [2]


def test_non_ascii_letters_do_not_match_ascii_ones(tmp_path: Path) -> None:
    kelvin, dotted = "\N{KELVIN SIGN}", "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}X"
    write_segment(tmp_path, batches=[[event(1, user="k"), event(2, user=kelvin), event(3, user=dotted)]])
    compaction.compact(tmp_path, now=datetime(2026, 12, 1, 1, tzinfo=UTC), report=lambda _line: None)
    for login, second in (("K", 1), (kelvin, 2), (dotted, 3)):
        for options in ((), ("--segments-only",)):
            assert numbers(run(tmp_path, "timeline", f"user:{login}", "--json", *options)) == [second]


def test_one_event_is_shown_by_its_place(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "oauth_web", node="node-9")
    writer.write(event(1), event(2))
    writer.open_segment()
    writer.write(event(3, reason="because"), event(4))
    result = run(tmp_path, "show", f"node-9/oauth_web/{BOOT}/3")
    assert result.exit_code == 0, result.output
    shown = dict(line.split(None, 1) for line in result.stdout.splitlines())
    assert shown["call"] == "call-3"
    assert shown["reason"] == "because"
    assert shown["place"] == f"node-9/oauth_web/{BOOT}/3"
    assert shown["segment"].startswith(f"segments/oauth_web/{BOOT}/000002.seg, from byte ")
    assert shown["sealed"].startswith("not sealed")
    for number in (1, 2, 3, 4):
        found = json.loads(run(tmp_path, "show", f"node-9/oauth_web/{BOOT}/{number}", "--json").stdout)
        assert (found["call"], found["sequence"]) == (f"call-{number}", number)


def test_the_place_of_an_event_with_a_forged_node_is_the_one_that_a_search_shows(tmp_path: Path) -> None:
    write_segment(tmp_path, "oauth_web", batches=[[event(1)]], node="a\tb\nsealed  yes")
    [line] = run(tmp_path, "search", "--json").stdout.splitlines()
    assert json.loads(line)["node"] == "-"
    shown = run(tmp_path, "show", "--json", "--", f"-/oauth_web/{BOOT}/1")
    assert json.loads(shown.stdout)["call"] == "call-1"
    assert "is of the node -" in run(tmp_path, "show", f"node-9/oauth_web/{BOOT}/1").output


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (f"node-9/oauth_web/{BOOT}/5", "there is no event 5"),
        (f"node-8/oauth_web/{BOOT}/1", "is of the node node-9"),
        (f"node-9/ext_authz/{BOOT}/1", "there is no boot"),
        ("node-9/oauth_web/1", "NODE/WRITER/BOOT/SEQUENCE"),
        (f"node-9/oauth_web/{BOOT}/0", "NODE/WRITER/BOOT/SEQUENCE"),
    ],
)
def test_a_place_without_an_event_is_an_error(tmp_path: Path, place: str, message: str) -> None:
    write_segment(tmp_path, "oauth_web", batches=[[event(n) for n in range(4)]], node="node-9")
    result = run(tmp_path, "show", place)
    assert result.exit_code == 1
    assert message in result.output


def test_a_caller_cannot_forge_another_field_of_a_step(tmp_path: Path) -> None:
    tool = 'x  from=10.9.9.9  because="y'
    batch = [event(1, event="access.denied", outcome="denied", mcp_name=tool, source="10.0.0.1", **OWNER)]
    write_segment(tmp_path, batches=[batch])
    text = run(tmp_path, "timeline", "octocat").stdout
    [step] = [line for line in text.splitlines() if "access.denied  " in line]
    assert [part for part in step.split("  ") if part.startswith(("from=", "because="))] == ["from=10.0.0.1"]
    assert r'tool="x \x20from=10.9.9.9 \x20because=\"y"' in step
