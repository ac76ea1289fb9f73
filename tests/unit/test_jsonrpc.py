"""The id in the answer of a refusal, for any body, and the error with it."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oauth_core.policy.jsonrpc_errors import error_body, id_of, id_of_message

WHOLE = b'{"method":"tools/call","params":{"name":"a","arguments":{"id":9}},"jsonrpc":"2.0","id":"x-1"}'


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (WHOLE, "x-1"),
        (b' {"id" : 5 , "method": "tools/call", "params": {"name": "a', 5),
        (b'{"id":-7,"id":8}', -7),
        (b'{"jsonrpc":"2.0","id":3,"params":{"x":NaN}}', 3),
        (b'\xff{"id":1}', None),
        (b'{"id":12', None),
        (b'{"params":{"name":"a', None),
        (b'{"params":{"id":5}}', None),
        (b'{"id":null}', None),
        (b'{"id":true}', None),
        (b'{"id":1.5}', None),
        (b'{"id":"\\ud800"}', None),
        (b'{"id":' + b"9" * 5000 + b"}", None),
        (b'{"id":"' + b"x" * 300 + b'"}', None),
        (b'[{"id":1}]', None),
        (b'{"a":' + b"[" * 100_000, None),
        (b"", None),
        (b"{", None),
    ],
)
def test_the_id_is_that_of_the_message_or_none(body: bytes, found: str | int | None) -> None:
    assert id_of(body) == found


@given(st.binary(max_size=200) | st.integers(0, len(WHOLE)).map(lambda end: WHOLE[:end]))
def test_any_body_gets_a_readable_error(body: bytes) -> None:
    answer = json.loads(error_body(403, "access_denied", "No.", id_of(body)))
    assert answer["jsonrpc"] == "2.0"
    assert answer["id"] in {None, "x-1"} or body != WHOLE


@given(st.text(max_size=300) | st.integers())
def test_an_id_is_returned_unchanged(request_id: str | int) -> None:
    body = json.dumps({"jsonrpc": "2.0", "method": "ping", "id": request_id}).encode()
    found = id_of(body)
    assert found is None or (found == request_id and type(found) is type(request_id))


_MEMBERS = st.permutations(["id", "jsonrpc", "method", "params"]).flatmap(
    lambda names: st.builds(
        lambda values: {name: values[name] for name in names},
        st.fixed_dictionaries(
            {
                "id": st.text(max_size=20) | st.integers() | st.integers(0, 10**17),
                "jsonrpc": st.just("2.0"),
                "method": st.just("ping") | st.text(max_size=9),
                "params": st.sampled_from([{}, {"id": 5}, {"a": {"id": 6}}, {"a": '","id":7}'}, {'x,"id': 8}]),
            }
        ),
    )
)


@given(_MEMBERS, st.booleans(), st.sampled_from(["", " ", "\n"]), st.booleans())
@example({"params": {}, "id": 3}, True, "", True)
@example({"params": {"id": 4}}, True, "", True)
def test_the_places_where_clients_write_the_id_make_no_difference(
    message: dict[str, object], is_compact: bool, blank: str, is_ascii: bool
) -> None:
    separators = (",", ":") if is_compact else None
    body = f"{blank}{json.dumps(message, ensure_ascii=is_ascii, separators=separators)}{blank}".encode()
    expected = message.get("id")
    if isinstance(expected, int) and abs(expected) >= 1 << 64:
        expected = None
    assert id_of(body) == expected
    assert id_of_message(body) == expected
