"""Which rules may have which automatic response, and what the responder does over time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.audit import EventKind
from oauth_core.refusals import DenyReason
from oauth_core.settings.detecting import AutomaticResponse
from portcullis.alerts.responding import FILE_NAME, Ledger, LedgerError, Responder, Response, Result, State
from portcullis.detection.automatic import ACTIONS, PROVEN, Target, faults, proven_by, targets
from portcullis.detection.rules import load
from tests.unit.detection_rules import at, denied, found_by, several, shipped

if TYPE_CHECKING:
    from pathlib import Path

    from oauth_core.settings.detecting import ActionName

NOW = 1_000_000.0


# -- what events prove -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_shipped_rule_on_events_that_any_caller_can_cause_proves_no_identity(name: str) -> None:
    proven = proven_by(shipped()[name])
    callers_alone = {"client_id_guessing", "client_secret_guessing", "excessive_requests", "forged_tokens"}
    callers_alone |= {"guessing_from_many_networks", "secret_guessing", "sign_in_errors", "user_code_guessing"}
    callers_alone |= {"check_errors", "audit_interrupted", "operator_unusual_hour", "checkpoint_conflict"}
    if name in callers_alone:
        assert proven == frozenset()
    if "user_id" in proven:
        names = {event for need in shipped()[name].needs for event in need.names or ("any",)}
        assert names <= {str(kind) for kind, of_kind in PROVEN.items() if "user_id" in of_kind}


@pytest.mark.parametrize(
    ("condition", "proven"),
    [
        ("event: access.allowed", {"user_id", "client_id", "jti"}),
        ("event: ACCESS.allowed", {"user_id", "client_id", "jti"}),
        ("event: access.*", set()),
        ("event|startswith: access.allowed", set()),
        ("event: access.denied", set()),
        ("event: access.denied\n    reason: revoked", {"jti"}),
        ("event: access.denied\n    reason: [revoked, bad_signature]", set()),
        ("event: access.denied\n    reason|contains: revoked", set()),
        ("event: [access.allowed, client.authentication_failed]", set()),
        ("event: [access.allowed, sign_in.succeeded]", {"user_id"}),
        ("user: mona", set()),
        ("outcome: allowed", set()),
    ],
)
def test_the_condition_of_an_operators_rule_decides_what_it_proves(
    tmp_path: Path, condition: str, proven: set[str]
) -> None:
    (tmp_path / "own.yml").write_text(
        "title: Own\nid: 0d3e0a5e-6f2f-4f0e-8f5f-2f1a3b4c5d6e\ndescription: Own.\nlevel: high\n"
        "logsource:\n  product: portcullis\n  service: audit\n"
        f"detection:\n  selection:\n    {condition}\n  condition: selection\n",
        encoding="utf-8",
    )
    [rule] = load([tmp_path])
    assert proven_by(rule) == proven


def test_a_condition_with_a_negation_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text(
        "title: Own\nid: 0d3e0a5e-6f2f-4f0e-8f5f-2f1a3b4c5d6e\ndescription: Own.\nlevel: high\n"
        "logsource:\n  product: portcullis\n  service: audit\n"
        "detection:\n  one:\n    event: access.allowed\n  other:\n    user: mona\n  condition: not one or other\n",
        encoding="utf-8",
    )
    [rule] = load([tmp_path])
    assert proven_by(rule) == frozenset()


def test_faults_name_the_actions_that_a_rule_may_have() -> None:
    rules = list(shipped().values())
    fitting = AutomaticResponse(rule="token_many_networks", action="revoke_token")
    assert faults([fitting], rules) == []
    [fault] = faults([AutomaticResponse(rule="refresh_token_reuse", action="block_person")], rules)
    assert fault.endswith("it may have revoke_grant")
    [fault] = faults([AutomaticResponse(rule="forged_tokens", action="revoke_client")], rules)
    assert fault.endswith("it may have no response")


# -- whom a finding concerns -----------------------------------------------------------------------------------


def test_a_finding_about_two_people_blocks_neither(tmp_path: Path) -> None:
    events = [
        at(EventKind.ACCESS_ALLOWED, number, jti="t", user_id=number % 2, source=f"203.0.{number}.1")
        for number in range(4)
    ]
    [finding] = found_by("token_many_networks", events, tmp_path)
    [target] = targets(finding, ["block_person"])
    assert target.hindrance == "the finding has 2 values of user_id, and the action is for at most 1"


@pytest.mark.parametrize("action", ["revoke_client", "disable_client"])
@pytest.mark.parametrize("person", [True, False])
def test_a_client_is_revoked_or_disabled_only_if_it_acts_for_itself(
    tmp_path: Path, person: bool, action: ActionName
) -> None:
    who: dict[str, Any] = {"user": "mona", "user_id": 7} if person else {}
    events = several(
        3, EventKind.ACCESS_ALLOWED, jti="t", client_id="robot", source=lambda number: f"203.0.{number}.1", **who
    )
    [finding] = found_by("token_many_networks", events, tmp_path)
    [target] = targets(finding, [action])
    assert target.command == ("clients", action.partition("_")[0], "robot")
    assert bool(target.hindrance) is person


def test_each_action_has_its_command(tmp_path: Path) -> None:
    events = denied(5, DenyReason.REVOKED, jti="token-1", user="mona", user_id=7)
    [finding] = found_by("revoked_token_used", events, tmp_path)
    found = {one.action: one.command for one in targets(finding, list(ACTIONS))}
    assert found == {
        "revoke_token": ("tokens", "revoke", "token-1"),
        "revoke_person": ("users", "revoke", "id:7"),
        "block_person": ("users", "block", "id:7"),
        "notify_new_country": ("users", "notify-new-country", "id:7"),
    }


# -- the responder ---------------------------------------------------------------------------------------------


@dataclass
class Scripted:
    """Commands with results from the test, by default success."""

    results: list[Result] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def carry_out(self, response: Response) -> Result:
        self.done.append(response.value)
        return self.results.pop(0) if self.results else Result(State.DONE)


def responder(path: Path, commands: Scripted, *, most: int = 10, never: tuple[str, ...] = ()) -> Responder:
    return Responder(Ledger.read(path), {"rule": ["revoke_grant"]}, most, frozenset(never), commands.carry_out)


def target(value: str = "grant-1", last: str = "2026-11-30T06:00:00.000000Z", **fields: Any) -> Target:
    return Target("rule", "revoke_grant", value, last, **fields)


def test_a_target_is_ended_once_for_one_event_even_after_a_restart(tmp_path: Path) -> None:
    path, commands = tmp_path / FILE_NAME, Scripted()
    first = responder(path, commands)
    assert [one.state for one in first.respond([target()], NOW)] == [State.DONE]
    assert first.respond([target()], NOW + 60) == []
    assert responder(path, commands).respond([target()], NOW + 120) == []
    later = target(last="2026-11-30T06:00:00.000001Z")
    assert [one.state for one in responder(path, commands).respond([later], NOW + 180)] == [State.DONE]
    assert commands.done == ["grant-1"] * 2


def test_the_ledger_is_on_the_disk_before_the_action(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME

    class Killed(Exception):  # noqa: N818
        """Raised in place of the end of the process."""

    def killed(response: Response) -> Result:
        [row] = json.loads(path.read_text(encoding="utf-8"))["responses"]
        assert (row["value"], row["state"]) == ("grant-1", "waiting")
        raise Killed

    with pytest.raises(Killed):
        Responder(Ledger.read(path), {}, 10, frozenset(), killed).respond([target()], NOW)
    commands = Scripted()
    [ended] = responder(path, commands).retry(NOW)
    assert (ended.state, commands.done) == (State.DONE, ["grant-1"])


def test_a_failed_action_is_retried_at_growing_intervals_and_given_up_after_a_day(tmp_path: Path) -> None:
    commands = Scripted([Result(State.WAITING, "Redis does not answer")] * 1000)
    made, now = responder(tmp_path / FILE_NAME, commands), NOW
    [first] = made.respond([target()], now)
    assert first.sentence == "revoke_grant grant-1: failed, and is tried again: Redis does not answer"
    assert made.retry(now + 1) == []
    ended: list[Response] = []
    while not ended:
        due = made.next_due()
        assert due is not None
        assert due > now
        now = due
        ended = made.retry(now)
    assert ended[0].state is State.FAILED
    assert NOW + 86_400 <= now <= NOW + 86_400 + 3600
    assert len(commands.done) < 50
    assert made.next_due() is None


def test_a_waiting_response_is_held_when_the_settings_no_longer_have_it(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    commands = Scripted([Result(State.WAITING, "Redis does not answer")])
    responder(path, commands).respond([target(), target("grant-2")], NOW)
    other = Responder(Ledger.read(path), {"rule": ["revoke_token"]}, 10, frozenset(), commands.carry_out)
    ended = other.retry(NOW + 3600)
    assert [one.text for one in ended] == ["the settings no longer have this response"] * 2
    assert commands.done == ["grant-1"]
    assert {one.state for one in Ledger.read(path).known.values()} == {State.HELD}
    assert other.next_due() is None


def test_after_one_failure_the_other_actions_wait_without_an_attempt(tmp_path: Path) -> None:
    commands = Scripted([Result(State.WAITING, "Redis does not answer")])
    made = responder(tmp_path / FILE_NAME, commands, most=100)
    found = made.respond([target(f"grant-{number}") for number in range(50)], NOW)
    assert {one.state for one in found} == {State.WAITING}
    assert commands.done == ["grant-0"]
    assert {one.state for one in made.retry(NOW + 3600)} == {State.DONE}
    assert len(commands.done) == 51


def test_the_limit_of_an_hour_holds_across_restarts(tmp_path: Path) -> None:
    path, commands = tmp_path / FILE_NAME, Scripted()
    many = [target(f"grant-{number}") for number in range(100)]
    found = responder(path, commands, most=3).respond(many, NOW)
    assert [one.state for one in found].count(State.DONE) == 3
    assert [one.state for one in found].count(State.HELD) == 97
    again = responder(path, commands, most=3)
    assert again.respond(many, NOW + 7200) == [], "an old event leads to nothing later"
    assert [one.state for one in again.respond([target("other")], NOW + 3599)] == [State.HELD]
    assert [one.state for one in again.respond([target("another")], NOW + 3601)] == [State.DONE]
    assert len(commands.done) == 4


def test_many_findings_about_one_value_are_one_response(tmp_path: Path) -> None:
    commands = Scripted()
    made = responder(tmp_path / FILE_NAME, commands, most=2)
    times = [f"2026-11-30T06:00:00.{number:06}Z" for number in (2, 9, 5)]
    found = made.respond([*(target("one", last) for last in times), target("other")], NOW)
    assert [(one.value, one.state) for one in found] == [("one", State.DONE), ("other", State.DONE)]
    assert made.respond([target("one", times[1])], NOW) == [], "it is the last event of all"
    assert commands.done == ["one", "other"]


@pytest.mark.parametrize("hindrances", [("two people", ""), ("", "two people")])
def test_a_finding_that_proves_too_little_does_not_stop_another_one(
    tmp_path: Path, hindrances: tuple[str, str]
) -> None:
    made = responder(tmp_path / FILE_NAME, Scripted())
    [done] = made.respond([target(hindrance=text) for text in hindrances], NOW)
    assert done.state is State.DONE


def test_an_exempt_person_in_one_of_several_findings_keeps_the_response_from_all(tmp_path: Path) -> None:
    made = responder(tmp_path / FILE_NAME, Scripted(), never=("mona",))
    [held] = made.respond([target(), target(people=("Mona",)), target()], NOW)
    assert held.state is State.HELD


def test_responses_in_great_number_do_not_lift_the_limit(tmp_path: Path) -> None:
    path, commands = tmp_path / FILE_NAME, Scripted()
    responder(path, commands, most=1).respond([target("first")], NOW)
    responder(path, commands, most=1).respond([target(f"grant-{number}") for number in range(6000)], NOW + 1)
    responder(path, commands, most=1).respond([target("last")], NOW + 2)
    assert commands.done == ["first"]


def test_a_clock_that_was_set_back_does_not_lift_the_limit(tmp_path: Path) -> None:
    made = responder(tmp_path / FILE_NAME, Scripted(), most=1)
    made.respond([target("one")], NOW)
    assert [one.state for one in made.respond([target("two")], NOW - 86_400)] == [State.HELD]


def test_an_action_without_effect_does_not_count_for_the_limit(tmp_path: Path) -> None:
    commands = Scripted([Result(State.NOTHING, "there is no such grant")] * 3)
    made = responder(tmp_path / FILE_NAME, commands, most=1)
    found = made.respond([target(f"grant-{number}") for number in range(4)], NOW)
    assert [one.state for one in found] == [State.NOTHING] * 3 + [State.DONE]


@pytest.mark.parametrize(
    "given", [{"people": ("Mona", "id:7")}, {"people": ("id:8",)}, {"clients": ("https://app.example/C",)}]
)
def test_an_exempt_identity_is_not_affected(tmp_path: Path, given: dict[str, Any]) -> None:
    commands = Scripted()
    made = responder(tmp_path / FILE_NAME, commands, never=("mona", "id:8", "https://app.example/C"))
    [held] = made.respond([target(**given)], NOW)
    assert held.state is State.HELD
    assert "is in detection.never" in held.sentence
    assert commands.done == []


def test_the_limit_and_the_memory_work_without_a_writable_disk(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    commands = Scripted()
    made = responder(folder / FILE_NAME, commands, most=1)
    folder.rmdir()
    assert [one.state for one in made.respond([target("one"), target("two")], NOW)] == [State.DONE, State.HELD]
    assert made.respond([target("one")], NOW) == []
    faults_seen = [made.ledger.fault is not None]
    folder.mkdir()
    made.respond([target("three")], NOW + 3601)
    faults_seen.append(made.ledger.fault is not None)
    assert faults_seen == [True, False]
    assert {one.value for one in Ledger.read(folder / FILE_NAME).known.values()} == {"one", "two", "three"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 2, "responses": []}', '{"version": 1, "responses": [1]}']
)
def test_an_invalid_file_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LedgerError, match=FILE_NAME):
        Ledger.read(path)


def test_the_file_is_limited_in_size_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    made = responder(path, Scripted(), most=1)
    made.respond([target(f"grant-{number}") for number in range(6000)], NOW)
    assert len(Ledger.read(path).known) == 5000
    assert path.stat().st_mode & 0o777 == 0o600
