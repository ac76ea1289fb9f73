"""Initial access tokens: which texts are accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.clients import initial_access_tokens, registration_permissions
from oauth_core.clients.registration_permissions import ALL

NOW = 1_800_000_000
ISSUED = initial_access_tokens.new_token(now=NOW, lifetime=60, uses=1, registration_permissions=ALL)


def test_a_token_is_valid_until_it_expires() -> None:
    assert initial_access_tokens.proves(ISSUED.text, ISSUED.token, now=NOW + 59)
    assert not initial_access_tokens.proves(ISSUED.text, ISSUED.token, now=NOW + 60)
    assert not initial_access_tokens.proves(ISSUED.text, None, now=NOW)


def test_the_repr_does_not_contain_the_secret() -> None:
    secret = ISSUED.text.partition(".")[2]
    assert secret not in repr(ISSUED)
    assert secret not in repr(ISSUED.token)


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    assert not initial_access_tokens.proves(text, ISSUED.token, now=NOW)
    token_id = initial_access_tokens.id_of(text)
    assert token_id is None or text.startswith(f"{token_id}.")


@given(st.integers(0, len(ISSUED.text) - 1), st.characters())
def test_a_changed_character_makes_a_token_invalid(place: int, other: str) -> None:
    changed = ISSUED.text[:place] + other + ISSUED.text[place + 1 :]
    # The id only finds the token; under another id another token is found.
    right = initial_access_tokens.id_of(changed) == ISSUED.token.token_id and changed == ISSUED.text
    found = ISSUED.token if initial_access_tokens.id_of(changed) == ISSUED.token.token_id else None
    assert initial_access_tokens.proves(changed, found, now=NOW) is right


@pytest.mark.parametrize(("lifetime", "uses"), [(0, 1), (-1, 1), (2**40, 1), (60, 0), (60, 10**9)])
def test_lifetime_and_number_of_uses_have_bounds(lifetime: int, uses: int) -> None:
    with pytest.raises(ValueError, match="it must"):
        initial_access_tokens.new_token(now=NOW, lifetime=lifetime, uses=uses, registration_permissions=ALL)


@given(st.lists(st.sampled_from(ALL)))
def test_permissions_have_one_order_and_no_duplicates(names: list[str]) -> None:
    checked = registration_permissions.check_names(names)
    assert set(checked) == set(names)
    assert checked == tuple(sorted(set(checked), key=ALL.index))


@given(st.text().filter(lambda name: name not in ALL))
def test_unknown_permissions_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must be among"):
        registration_permissions.check_names([*ALL, name])
