"""The format of refresh tokens, and the sealed successor for a client that repeats a request."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.crypto.credentials import new_identifier
from oauth_core.crypto.sealing import UnsealError
from oauth_core.tokens.refresh_tokens import RefreshToken, first_token, parse

TOKEN = first_token(new_identifier())


def test_a_written_token_is_parsed_unchanged() -> None:
    assert parse(str(TOKEN)) == TOKEN


@given(st.one_of(st.text(), st.text("abc-_.=\n", min_size=80, max_size=100)))
def test_any_other_text_is_no_token(text: str) -> None:
    found = parse(text)
    assert found is None or str(found) == text


@pytest.mark.requirement("oauth21:refresh-secret")
@given(st.integers(0, 88), st.characters())
def test_a_changed_token_is_another_token_or_none(position: int, character: str) -> None:
    text = str(TOKEN)
    changed = text[:position] + character + text[position + 1 :]
    found = parse(changed)
    if changed != text and found is not None:
        assert str(found) == changed
        known = (TOKEN.grant_id, TOKEN.family_hash, TOKEN.secret_hash)
        assert (found.grant_id, found.family_hash, found.secret_hash) != known


@pytest.mark.parametrize("spelling", ["{}\n", " {}", "{} ", "{}.", "{}=", ".{}", "{}\x00", "{0}.{0}"])
def test_only_one_spelling_is_accepted(spelling: str) -> None:
    assert parse(spelling.format(TOKEN)) is None


def test_a_successor_has_the_same_family_and_a_fresh_secret() -> None:
    successor = TOKEN.successor()
    assert (successor.grant_id, successor.family) == (TOKEN.grant_id, TOKEN.family)
    assert successor.secret != TOKEN.secret
    assert parse(str(successor)) == successor


def test_stored_values_reveal_neither_family_nor_secret() -> None:
    stored = TOKEN.family_hash + TOKEN.secret_hash + TOKEN.seal_successor(TOKEN.successor())
    assert TOKEN.family not in stored
    assert TOKEN.secret not in stored


def test_the_used_token_unseals_its_successor() -> None:
    successor = TOKEN.successor()
    assert TOKEN.unseal_successor(TOKEN.seal_successor(successor)) == successor


def test_no_other_token_unseals_it() -> None:
    successor = TOKEN.successor()
    sealed = TOKEN.seal_successor(successor)
    for other in (successor, TOKEN.successor(), RefreshToken(new_identifier(), TOKEN.family, TOKEN.secret)):
        with pytest.raises(UnsealError):
            other.unseal_successor(sealed)


@given(st.one_of(st.text(), st.binary().map(lambda raw: base64.b64encode(raw).decode())))
def test_any_damaged_seal_is_an_unseal_error(sealed: str) -> None:
    with pytest.raises(UnsealError):
        TOKEN.unseal_successor(sealed)


def test_neither_a_token_nor_its_errors_show_secrets() -> None:
    with pytest.raises(UnsealError) as caught:
        TOKEN.unseal_successor("damaged")
    for shown in (repr(TOKEN), repr(caught.value), f"{[TOKEN]}"):
        assert TOKEN.secret not in shown
        assert TOKEN.family not in shown
