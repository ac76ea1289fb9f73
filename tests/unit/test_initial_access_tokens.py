"""Initial access tokens: what is one, and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.clients import initial_access_tokens, registration_permissions
from oauth_core.clients.registration_permissions import ALL

NOW = 1_800_000_000
ISSUED = initial_access_tokens.new_token(now=NOW, lifetime=60, uses=1, registration_permissions=ALL)


def test_a_token_proves_itself_until_its_time_is_over() -> None:
    assert initial_access_tokens.proves(ISSUED.text, ISSUED.token, now=NOW + 59)
    assert not initial_access_tokens.proves(ISSUED.text, ISSUED.token, now=NOW + 60)
    assert not initial_access_tokens.proves(ISSUED.text, None, now=NOW)


def test_its_text_is_shown_to_nobody_by_accident() -> None:
    secret = ISSUED.text.partition(".")[2]
    assert secret not in repr(ISSUED)
    assert secret not in repr(ISSUED.token)


@given(st.text())
def test_nothing_else_is_read_as_one(text: str) -> None:
    assert not initial_access_tokens.proves(text, ISSUED.token, now=NOW)
    token_id = initial_access_tokens.id_of(text)
    assert token_id is None or text.startswith(f"{token_id}.")


@given(st.integers(0, len(ISSUED.text) - 1), st.characters())
def test_one_changed_character_is_enough(place: int, other: str) -> None:
    changed = ISSUED.text[:place] + other + ISSUED.text[place + 1 :]
    # The id only finds the token; whoever looks it up under another finds another token.
    right = initial_access_tokens.id_of(changed) == ISSUED.token.token_id and changed == ISSUED.text
    found = ISSUED.token if initial_access_tokens.id_of(changed) == ISSUED.token.token_id else None
    assert initial_access_tokens.proves(changed, found, now=NOW) is right


@pytest.mark.parametrize(("lifetime", "uses"), [(0, 1), (-1, 1), (2**40, 1), (60, 0), (60, 10**9)])
def test_it_is_for_a_while_and_for_a_number_of_clients(lifetime: int, uses: int) -> None:
    with pytest.raises(ValueError, match="it must"):
        initial_access_tokens.new_token(now=NOW, lifetime=lifetime, uses=uses, registration_permissions=ALL)


@given(st.lists(st.sampled_from(ALL)))
def test_permissions_have_one_order_and_no_twins(names: list[str]) -> None:
    checked = registration_permissions.check_names(names)
    assert set(checked) == set(names)
    assert checked == tuple(sorted(set(checked), key=ALL.index))


@given(st.text().filter(lambda name: name not in ALL))
def test_other_permissions_do_not_exist(name: str) -> None:
    with pytest.raises(ValueError, match="must be among"):
        registration_permissions.check_names([*ALL, name])
