"""Sealed ids of sessions: only the subject that began a session at a service can open its id there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.policy.session_binding import (
    LONGEST_SESSION_ID,
    ForeignSession,
    OpenedSession,
    SessionSealer,
    read_session_keys,
    session_key,
    subject_of,
)
from tests.support.tokens import claims

CLAIMS = claims()
OLD, NEW = bytes(32), bytes(range(32))
SEALER = SessionSealer(NEW)
LEGAL = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)
TEXT = st.text(max_size=10)


def sealed(session_id: str, service: str = "fetch", subject: str = "person:7") -> str:
    found = SEALER.seal(service, subject, session_id)
    assert found is not None
    return found


@given(TEXT, TEXT, LEGAL)
def test_every_process_with_the_key_opens_a_legal_id_for_its_service_and_subject(
    service: str, subject: str, session_id: str
) -> None:
    text = sealed(session_id, service, subject)
    assert SessionSealer(NEW).open(service, subject, text) == OpenedSession(text, session_id)
    assert all("!" <= char <= "~" for char in text)


@given(TEXT, TEXT, TEXT, TEXT, LEGAL)
def test_no_other_service_and_no_other_subject_opens_it(
    service: str, subject: str, other_service: str, other_subject: str, session_id: str
) -> None:
    found = SEALER.open(other_service, other_subject, sealed(session_id, service, subject))
    assert (found is ForeignSession.FOREIGN) == ((service, subject) != (other_service, other_subject))


@given(st.integers(0, 90), st.characters(min_codepoint=0x20, max_codepoint=0x7E), st.booleans())
def test_a_changed_id_does_not_open(place: int, char: str, inserts: bool) -> None:
    text = sealed("f" * 40)
    changed = text[:place] + char + text[place + (0 if inserts else 1) :]
    found = SEALER.open("fetch", "person:7", changed)
    assert (found is ForeignSession.FOREIGN) == (changed != text)


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "...", "abc", "a.b.c", "\ud800", "é.é.é", f"{sealed('a')},{sealed('a')}", f"{sealed('a')} "],
)
def test_a_text_that_was_not_sealed_does_not_open(text: str) -> None:
    assert SEALER.open("fetch", "person:7", text) is ForeignSession.FOREIGN


@given(LEGAL)
def test_an_id_that_looks_sealed_is_sealed_as_any_other(session_id: str) -> None:
    twice = sealed(sealed(session_id))
    assert SEALER.open("fetch", "person:7", twice) == OpenedSession(twice, sealed(session_id))


@pytest.mark.parametrize("session_id", ["", " ", "a b", "a\n", "\x7f", "é", "a" * (LONGEST_SESSION_ID + 1)])
def test_an_id_that_a_service_may_not_choose_is_not_sealed(session_id: str) -> None:
    assert SEALER.seal("fetch", "person:7", session_id) is None


def test_the_longest_id_is_sealed() -> None:
    assert len(sealed("~" * LONGEST_SESSION_ID)) == LONGEST_SESSION_ID + 51


def test_a_person_and_a_machine_client_with_one_id_are_two_subjects() -> None:
    person = replace(CLAIMS, sub="7", github_id=7)
    assert subject_of(person) != subject_of(replace(person, github_id=None, github_user=None))


def test_another_token_of_a_person_has_the_same_subject() -> None:
    other = replace(CLAIMS, jti="other", client_id="another", scope="", exp=CLAIMS.exp + 1, github_user="renamed")
    assert subject_of(other) == subject_of(CLAIMS)


# -- keys --------------------------------------------------------------------------------------------------------


def test_a_key_can_be_replaced_while_sessions_go_on() -> None:
    before, between = SessionSealer(OLD), SessionSealer(OLD, NEW)
    after, at_the_end = SessionSealer(NEW, OLD), SessionSealer(NEW)
    old, new = (one.seal("fetch", "person:7", "a") or "" for one in (before, after))
    for sealer in (between, after):
        assert sealer.open("fetch", "person:7", old) == OpenedSession(old, "a")
        assert sealer.open("fetch", "person:7", new) == OpenedSession(new, "a")
    assert before.open("fetch", "person:7", new) is ForeignSession.FOREIGN
    assert at_the_end.open("fetch", "person:7", old) is ForeignSession.FOREIGN


def test_the_key_of_sessions_belongs_to_the_master_key_and_is_not_the_master_key() -> None:
    assert session_key(NEW) == session_key(NEW) != session_key(OLD)
    (key,) = read_session_keys(session_key(NEW))
    assert key not in {NEW, OLD}


def test_keys_are_separated_by_commas() -> None:
    assert read_session_keys(f"{session_key(NEW)}, {session_key(OLD)}") == (
        *read_session_keys(session_key(NEW)),
        *read_session_keys(session_key(OLD)),
    )
    for text in ("", "short", f"{session_key(NEW)},"):
        with pytest.raises(ValueError, match="32 random bytes"):
            read_session_keys(text)
