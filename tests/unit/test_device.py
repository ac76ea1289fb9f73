"""The rules of the device flow: user codes as people type them, and the answers to a polling device."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.crypto.credentials import new_word
from oauth_core.flows.device import (
    ALPHABET,
    LENGTH,
    Approved,
    Denied,
    Expired,
    Pending,
    TooFast,
    format_user_code,
    grant_from,
    is_open,
    parse_user_code,
    poll,
)
from oauth_core.model import DeviceAuthorization, DeviceDecision, DevicePace, User

DEVICE = DeviceAuthorization("grant", "client", ("mcp.time",), ("https://mcp.example.com/time",), 1000, 1600)
OCTOCAT = User(583231, "octocat")
PACE = DevicePace(5)

codes = st.text(st.sampled_from(ALPHABET), min_size=LENGTH, max_size=LENGTH)


# -- user codes --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("rfc8628:charset")
@given(codes, st.data())
def test_a_code_is_accepted_in_every_way_a_person_may_type_it(code: str, data: st.DataObject) -> None:
    typed = "".join(
        data.draw(st.sampled_from(["", " ", "-", "_", "."])) + data.draw(st.sampled_from([letter, letter.lower()]))
        for letter in code
    )
    assert parse_user_code(typed) == code


@given(codes)
def test_a_displayed_code_is_parsed_unchanged(code: str) -> None:
    assert parse_user_code(format_user_code(code)) == code


@given(st.text())
def test_any_other_text_is_no_code_and_no_error(typed: str) -> None:
    code = parse_user_code(typed)
    assert code is None or (len(code) == LENGTH and set(code) <= set(ALPHABET))


@pytest.mark.parametrize(
    "typed",
    ["", "BCDF-GHJ", "BCDF-GHJKL", "ACDF-GHJK", "BCDF-GHJ0", "\uff22CDF-GHJK", "BCDF\u2028GHJK", "B" * 5000],
)
def test_a_text_that_resembles_a_code_is_refused(typed: str) -> None:
    assert parse_user_code(typed) is None


def test_a_new_code_can_be_parsed_and_two_differ() -> None:
    one, other = new_word(ALPHABET, LENGTH), new_word(ALPHABET, LENGTH)
    assert (parse_user_code(one), parse_user_code(other)) == (one, other)
    assert one != other


def test_the_alphabet_has_no_vowels_and_no_letters_that_resemble_digits() -> None:
    assert len(set(ALPHABET)) == 20
    assert not set(ALPHABET) & set("AEIOUY0125")


# -- polling -----------------------------------------------------------------------------------------------------


def test_the_first_poll_may_be_immediate() -> None:
    assert poll(DEVICE, None, PACE, now=1000) == Pending(DevicePace(5, polled_at=1000))


def test_a_device_that_waits_for_the_interval_keeps_it() -> None:
    assert poll(DEVICE, None, DevicePace(5, 1000), now=1005) == Pending(DevicePace(5, 1005))


@pytest.mark.requirement("rfc8628:slow-down")
def test_a_device_that_polls_too_early_gets_an_interval_of_five_seconds_more() -> None:
    first = poll(DEVICE, None, DevicePace(5, 1001), now=1004)
    assert first == TooFast(DevicePace(10, 1004))
    assert poll(DEVICE, None, first.pace, now=1007) == TooFast(DevicePace(15, 1007))
    assert poll(DEVICE, None, first.pace, now=1014) == Pending(DevicePace(10, 1014))


@pytest.mark.parametrize("interval", [5, 10, 15])
def test_one_early_poll_does_not_slow_a_device_down_for_ever(interval: int) -> None:
    pace, answers = DevicePace(5, 1000), []
    for now in (1001, *range(1001 + interval, 1400, interval)):
        verdict = poll(DEVICE, None, pace, now=now)
        assert isinstance(verdict, Pending | TooFast)
        pace = verdict.pace
        answers.append(type(verdict))
    assert answers[0] is TooFast
    assert pace.interval == 10, "only an early poll extends it"
    assert answers[1:].count(Pending) >= len(answers[1:]) // 2
    assert interval == 5 or TooFast not in answers[1:]


def test_a_poll_a_moment_early_is_accepted() -> None:
    assert poll(DEVICE, None, DevicePace(10, 1000), now=1009) == Pending(DevicePace(10, 1009))


def test_the_interval_never_exceeds_the_lifetime_of_the_code() -> None:
    assert poll(DEVICE, None, DevicePace(600, 1500), now=1501) == TooFast(DevicePace(600, 1501))


def test_a_clock_that_was_set_back_permits_no_faster_polling() -> None:
    assert isinstance(poll(DEVICE, None, DevicePace(5, 1010), now=1005), TooFast)


def test_a_decision_is_returned_at_once_even_to_a_device_that_polls_too_early() -> None:
    hasty = DevicePace(60, 1000)
    assert poll(DEVICE, DeviceDecision(OCTOCAT), hasty, now=1001) == Approved(OCTOCAT)
    decision = DeviceDecision(OCTOCAT, "sealed", ("acme",), 1000)
    assert poll(DEVICE, decision, hasty, now=1001) == Approved(OCTOCAT, "sealed", ("acme",), 1000)
    assert poll(DEVICE, DeviceDecision(), hasty, now=1001) == Denied()


@pytest.mark.parametrize("decision", [None, DeviceDecision(), DeviceDecision(OCTOCAT)])
def test_an_expired_code_overrides_every_decision(decision: DeviceDecision | None) -> None:
    assert poll(DEVICE, decision, PACE, now=1599) != Expired()
    assert poll(DEVICE, decision, PACE, now=1600) == Expired()


def test_only_an_undecided_unexpired_device_is_open() -> None:
    assert is_open(DEVICE, None, now=1599)
    assert not is_open(DEVICE, None, now=1600)
    assert not is_open(DEVICE, DeviceDecision(), now=1000)
    assert not is_open(DEVICE, DeviceDecision(OCTOCAT), now=1000)


def test_the_grant_has_the_request_of_the_device_and_the_person_who_allowed_it() -> None:
    grant = grant_from(DEVICE, Approved(OCTOCAT, "sealed", ("acme",)), now=1100, lifetime=500)
    assert (grant.grant_id, grant.client_id, grant.user) == ("grant", "client", OCTOCAT)
    assert (grant.scopes, grant.resources) == (DEVICE.scopes, DEVICE.resources)
    assert (grant.created_at, grant.expires_at) == (1100, 1600)
    assert (grant.sealed_github_token, grant.groups) == ("sealed", ("acme",))
    assert grant_from(replace(DEVICE, grant_id="g2"), Approved(OCTOCAT), now=1, lifetime=1).grant_id == "g2"
